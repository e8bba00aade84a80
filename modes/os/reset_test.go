package hostos

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"

	"elemental/core"
)

func TestWhatAResetByHandKeeps(t *testing.T) {
	is := is.New(t)
	file := filepath.Join(t.TempDir(), "agent.yaml")
	keep, err := belongings(file)
	is.NoErr(err)
	is.Equal(len(keep), 0) // A host without an agent has nothing to keep for one.
	is.NoErr(os.WriteFile(file, []byte("cluster: {kubeconfig: /etc/cluster/kubeconfig, host: h}\n"), 0o600))
	keep, err = belongings(file)
	is.NoErr(err)
	is.Equal(keep, []string{filepath.Dir(file), "/var/lib/elemental/agent/identity", "/var/lib/elemental/agent/journal.json", "/etc/cluster/kubeconfig"})
	is.NoErr(os.WriteFile(file, []byte("agent: {workdir: /var/lib/other}\n"), 0o600)) // An identity elsewhere would be lost.
	_, err = belongings(file)
	is.True(err != nil && strings.Contains(err.Error(), "what a reset must keep"))
}

func TestStatusTellsOfAReset(t *testing.T) {
	for name, c := range map[string]struct {
		reset Reset
		said  string
	}{
		"none":                 {Reset{}, ""},
		"one that is done":     {Reset{Stage: core.ResetDone}, ""},
		"one before a restart": {Reset{Stage: core.ResetUnderWay, NeedsRestart: true}, "the next restart gives this host"},
		"one after it":         {Reset{Stage: core.ResetUnderWay}, "/var and /etc are fresh"},
		"one that failed":      {Reset{Stage: core.ResetUnderWay, Failure: "the disk says no"}, "did not carry it out: the disk says no."},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			var out bytes.Buffer
			is.NoErr(Status{Booted: running, Reset: c.reset}.writeText(&out))
			is.Equal(strings.Contains(out.String(), "A reset is under way"), c.said != "")
			is.True(strings.Contains(out.String(), c.said))
		})
	}
}
