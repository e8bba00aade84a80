package toolkit

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"elemental/core"
	"elemental/ports"
)

// bench is a host that was installed with the toolkit, whose command is a stand-in.
type bench struct {
	*testing.T
	is     *is.I
	folder string // of the stand-in
	run    string
	boots  int
	config Config
	booted time.Time
}

func newBench(t *testing.T) *bench {
	t.Helper()
	for _, variable := range os.Environ() { // The agent gives its plugins none of its own.
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "ELEMENTAL_") {
			t.Setenv(name, "") // which puts it back at the end
			is.New(t).NoErr(os.Unsetenv(name))
		}
	}
	b := &bench{T: t, is: is.New(t), folder: t.TempDir(), run: t.TempDir(), booted: time.Now().Add(time.Hour)}
	script, err := os.ReadFile("testdata/elemental")
	b.is.NoErr(err)
	b.is.NoErr(os.WriteFile(filepath.Join(b.folder, "elemental"), []byte(strings.Replace(string(script), "dir=DIR", "dir="+b.folder, 1)), 0o755))
	b.is.NoErr(os.Mkdir(filepath.Join(b.folder, "snapshots"), 0o755))
	b.write("snapshots/1", "            source: dir:///run/rootfsbase\n            labels:\n                reason: provisioning\n            date: \"2024-09-09T12:31:50Z\"\n")
	b.write("active", "1\n")
	b.config = Config{
		WorkDir: t.TempDir(), File: "/etc/elemental/toolkit.yaml", Command: filepath.Join(b.folder, "elemental"), StatePath: b.folder, MinFree: 1,
		Timeout: 20 * time.Second, RunPath: b.run, Cmdline: filepath.Join(b.folder, "cmdline"), Log: io.Discard,
		Boot:  func() (string, error) { return fmt.Sprint("boot-", b.boots), nil },
		Began: func() (time.Time, error) { return b.booted, nil },
	}
	b.restart(modeActive)
	return b
}

func (b *bench) write(name, text string) {
	b.Helper()
	b.is.NoErr(os.WriteFile(filepath.Join(b.folder, name), []byte(text), 0o644))
}

func (b *bench) read(name string) string {
	b.Helper()
	text, err := os.ReadFile(filepath.Join(b.folder, name))
	if errors.Is(err, os.ErrNotExist) {
		return ""
	}
	b.is.NoErr(err)
	return strings.TrimSpace(string(text))
}

// restart starts the host anew, in a mode that its boot loader has chosen.
func (b *bench) restart(m mode, image ...string) {
	b.Helper()
	b.boots++
	for _, other := range []mode{modeActive, modePassive, modeRecovery} {
		b.is.NoErr(os.RemoveAll(filepath.Join(b.run, string(other)+"_mode")))
	}
	b.is.NoErr(os.WriteFile(filepath.Join(b.run, string(m)+"_mode"), []byte("1"), 0o644))
	b.write("cmdline", "root=LABEL=COS_STATE "+strings.Join(image, "")+" elemental.mode="+string(m)+"\n")
	if m == modeActive {
		b.write("running", b.read("active"))
	}
}

func (b *bench) fault(name string) {
	b.Helper()
	b.write("fault", name)
}

func (b *bench) request(tag string) ports.Request {
	b.Helper()
	document := []byte(`{"osVersion":{"imageUri":"oci://127.0.0.1:5000/os:` + tag + `"}}`)
	hash, err := core.HashRequest(document)
	b.is.NoErr(err)
	return ports.Request{Host: "my-host", OSVersion: document, Hash: hash}
}

func (b *bench) observe(request ports.Request) core.View {
	b.Helper()
	o, err := New(b.config).Observe(b.Context(), request)
	b.is.NoErr(err)
	b.is.True(o.Installed)
	return o.View
}

func (b *bench) do(verb core.Verb, request ports.Request) error {
	return New(b.config).Do(b.Context(), verb, request, func(ports.Progress) {})
}

func (b *bench) stage(request ports.Request) error { return b.do(core.VerbStage, request) }

func (b *bench) failure(err error) core.Failure {
	b.Helper()
	var f core.Failure
	b.is.True(errors.As(err, &f))
	b.Log(f)
	return f
}
