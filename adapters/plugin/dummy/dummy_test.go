package dummy

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/matryer/is"

	"elemental/core"
	"elemental/ports"
)

// TestReset goes through a reset, with each verb asked twice.
func TestReset(t *testing.T) {
	is := is.New(t)
	folder := filepath.Join(t.TempDir(), "work")
	do := func(verb core.Verb, request ports.Request) {
		t.Helper()
		for range 2 {
			is.NoErr(New(folder).Do(t.Context(), verb, request, func(ports.Progress) {}))
		}
	}
	look := func() ports.Observation {
		t.Helper()
		o, err := New(folder).Observe(t.Context(), ports.Request{})
		is.NoErr(err)
		return o
	}
	text := func(name string) string {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(folder, name))
		is.NoErr(err)
		return string(text)
	}
	is.Equal(look().Reset, core.ResetNone)
	data := ports.Request{Bootstrap: &ports.BootstrapData{Format: "cloud-config", Data: []byte("#cloud-config\n")}}
	do(core.VerbBootstrap, data)
	do(core.VerbInstallCloudConfig, ports.Request{CloudConfig: []byte(`{"users":[]}`)})
	is.Equal(text("cloud-config.json"), `{"users":[]}`)
	info, err := os.Stat(filepath.Join(folder, "cloud-config.json"))
	is.NoErr(err)
	is.Equal(info.Mode().Perm(), os.FileMode(0o600))
	is.True(look().Primed)

	do(core.VerbTriggerReset, ports.Request{Options: []byte(`{"all":true}`), Keep: []string{"/etc/elemental"}})
	is.Equal(look().Reset, core.ResetUnderWay)
	is.True(!look().NeedsRestart)
	is.Equal(text("reset.json"), `{"stage":"underWay","options":{"all":true},"keep":["/etc/elemental"]}`+"\n")
	do(core.VerbReset, ports.Request{})
	is.Equal(look().Reset, core.ResetDone)
	is.True(!look().Primed)
	left, err := os.ReadDir(folder)
	is.NoErr(err)
	is.Equal(len(left), 1) // nothing is remembered but that it was reset
	do(core.VerbTriggerReset, ports.Request{})
	is.Equal(look().Reset, core.ResetUnderWay) // the next one
	do(core.VerbReset, ports.Request{})

	do(core.VerbBootstrap, data)
	is.Equal(look().Reset, core.ResetNone)
	is.True(look().Primed)
	do(core.VerbInstallCloudConfig, ports.Request{CloudConfig: []byte(`{}`)})
	do(core.VerbInstallCloudConfig, ports.Request{})
	_, err = os.Stat(filepath.Join(folder, "cloud-config.json"))
	is.True(os.IsNotExist(err))
}
