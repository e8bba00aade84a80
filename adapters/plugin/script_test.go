package plugin_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/matryer/is"

	"elemental/adapters/plugin"
	"elemental/adapters/plugin/dummy"
	"elemental/core"
	"elemental/ports"
)

// TestMain lets the test binary be a program with a built-in plugin, as elemental is, or an agent that
// waits for a plugin.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == "agent" {
		r := plugin.NewRunner(plugin.Config{Name: os.Args[2], WorkDir: os.Args[3]})
		_ = r.Do(context.Background(), core.VerbStage, ports.Request{}, nil)
		os.Exit(1)
	}
	if len(os.Args) == 4 && os.Args[1] == "plugin" {
		open := func(o plugin.Opening) (ports.Plugin, error) { return dummy.New(o.WorkDir), nil }
		if err := plugin.Serve(context.Background(), os.Stdin, os.Stdout, open); err != nil {
			os.Exit(1)
		}
		// os.Exit takes a second in a binary built with the race detector.
		syscall.Exit(0)
	}
	os.Exit(m.Run())
}

// preamble is the beginning of every script: it describes itself and answers observe.
const preamble = `#!/bin/sh
case "$1" in
describe) echo '{"result":{"name":"script","protocols":["elemental.io/plugin/v1"],"verbs":["observe","stage","unstage","confirm","bootstrap","install","installCloudConfig"]}}'; exit;;
observe) echo '{"result":{"verdict":"satisfied"}}'; exit;;
esac
`

// write makes an executable file of its own folder.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "plugin")
	is.New(t).NoErr(os.WriteFile(path, []byte(text), 0o755))
	return path
}

// deadlines are short enough to be waited for, and long enough for a slow machine.
func deadlines() map[core.Verb]plugin.Deadline {
	table := plugin.Deadlines()
	for verb := range table {
		table[verb] = plugin.Deadline{Whole: time.Minute}
	}
	return table
}

// scripted is a runner of one script, what it logs, and its work dir.
type scripted struct {
	*plugin.Runner
	log     *bytes.Buffer
	workDir string
}

func script(t *testing.T, text string, change ...func(*plugin.Config)) scripted {
	t.Helper()
	s := scripted{log: &bytes.Buffer{}, workDir: t.TempDir()}
	config := plugin.Config{
		Name: write(t, preamble+text), WorkDir: s.workDir, Deadlines: deadlines(), Patience: 300 * time.Millisecond,
		Log: slog.New(slog.NewTextHandler(s.log, nil)),
	}
	for _, f := range change {
		f(&config)
	}
	s.workDir = filepath.Join(s.workDir, "plugins", filepath.Base(config.Name))
	s.Runner = plugin.NewRunner(config)
	return s
}

// within gives one verb a deadline of its own.
func within(verb core.Verb, d plugin.Deadline) func(*plugin.Config) {
	return func(c *plugin.Config) { c.Deadlines[verb] = d }
}

// stage asks for a version and returns the failure that comes of it.
func (s scripted) stage(t *testing.T) core.Failure {
	t.Helper()
	return failureOf(t, s.Do(t.Context(), core.VerbStage, request(t), nil))
}

func failureOf(t *testing.T, err error) core.Failure {
	t.Helper()
	var failure core.Failure
	if !errors.As(err, &failure) {
		t.Fatalf("not a core.Failure: %v", err)
	}
	return failure
}

func request(t *testing.T) ports.Request {
	t.Helper()
	document := []byte(`{"osVersion":{"imageUri":"oci://registry/os:1"}}`)
	hash, err := core.HashRequest(document)
	is.New(t).NoErr(err)
	return ports.Request{Host: "host-1", OSVersion: document, Hash: hash}
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never happened: %s", what)
		}
	}
}
