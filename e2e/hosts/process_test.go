package hosts

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"
)

// standIn is a program that restarts its host once, and then waits to be killed; or that ends in trouble.
func standIn(t *testing.T, script string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "agent")
	is.New(t).NoErr(os.WriteFile(file, []byte("#!/bin/sh\n"+script), 0o755))
	return file
}

func TestProcess(t *testing.T) {
	is := is.New(t)
	p, err := StartProcess(standIn(t, `
work=$(dirname "$3")/work
[ "$1 $2" = "agent --config" ] || exit 2
[ -e "$work/restarted" ] && exec sleep 1000
touch "$work/restarted"
exit 133
`), Config{Host: "one", Namespace: "default", Kubeconfig: "none"})
	is.NoErr(err)
	t.Cleanup(p.Remove)
	is.NoErr(p.WaitStarts(t.Context(), 2)) // it restarted its host
	p.KillAgent()
	is.NoErr(p.WaitStarts(t.Context(), 3)) // it was killed
	p.Remove()
	is.NoErr(p.Trouble())
	_, err = os.Stat(p.WorkDir())
	is.True(os.IsNotExist(err)) // nothing stays
}

func TestProcessThatEnds(t *testing.T) {
	is := is.New(t)
	p, err := StartProcess(standIn(t, "echo no such cluster >&2; exit 1\n"), Config{Host: "one"})
	is.NoErr(err)
	t.Cleanup(p.Remove)
	err = p.WaitStarts(t.Context(), 2)
	is.True(err != nil && strings.Contains(err.Error(), "no such cluster"))
}
