package policy

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"

	"elemental/core"
)

// folder is one that a policy may lie in.
func folder(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a policy must belong to root")
	}
	return t.TempDir()
}

func write(t *testing.T, path, text string) {
	t.Helper()
	is.New(t).NoErr(os.WriteFile(path, []byte(text), 0o644))
}

func TestRead(t *testing.T) {
	path := filepath.Join(folder(t), "policy.yaml")
	for text, allowed := range map[string]bool{
		"commands: {allow: true}": true, "commands:\n  allow: false\n": false, "": false, "commands: {}": false, "# nothing\n": false,
	} {
		is := is.New(t)
		write(t, path, text)
		p, err := Read(path)
		is.NoErr(err)
		is.Equal(p.AllowCommands() == nil, allowed)
	}
}

func TestMissingIsTheStrictest(t *testing.T) {
	is := is.New(t)
	for _, path := range []string{filepath.Join(folder(t), "policy.yaml"), "/no/such/folder/policy.yaml"} {
		p, err := Read(path)
		is.NoErr(err)
		var denied core.Failure
		is.True(errors.As(p.AllowCommands(), &denied))
		is.Equal(denied.Class, core.FailureInvalid)
		is.Equal(denied.Reason, core.ReasonPolicyDenied)
		is.True(strings.Contains(denied.Message, "commands.allow") && strings.Contains(denied.Message, path))
	}
}

func TestWhatIsNotUnderstoodIsAnError(t *testing.T) {
	path := filepath.Join(folder(t), "policy.yaml")
	for _, text := range []string{"comands: {allow: true}", "commands: {alow: true}", "commands: true", "commands: {allow: true}\n---\nmore: 1", "\x00", strings.Repeat("#", maxSize+1)} {
		is := is.New(t)
		write(t, path, text)
		p, err := Read(path)
		is.True(err != nil && strings.Contains(err.Error(), path))
		is.True(p.AllowCommands() != nil) // Even for who does not look at the error.
	}
}

func TestWhatOthersMayHaveWrittenIsAnError(t *testing.T) {
	for name, spoil := range map[string]func(path string) error{
		"another's file":    func(p string) error { return os.Chown(p, 12345, 0) },
		"the group's file":  func(p string) error { return os.Chmod(p, 0o664) },
		"everyone's file":   func(p string) error { return os.Chmod(p, 0o646) },
		"another's folder":  func(p string) error { return os.Chown(filepath.Dir(p), 12345, 0) },
		"everyone's folder": func(p string) error { return os.Chmod(filepath.Dir(p), 0o777) },
		"a link":            func(p string) error { return errors.Join(os.Rename(p, p+"2"), os.Symlink(p+"2", p)) },
		"a folder":          func(p string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o755)) },
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			path := filepath.Join(folder(t), "policy.yaml")
			write(t, path, "commands: {allow: true}")
			is.NoErr(spoil(path))
			_, err := Read(path)
			is.True(err != nil)
			t.Log(err)
		})
	}
}
