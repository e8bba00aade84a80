package plugin_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/matryer/is"

	"elemental/adapters/plugin"
	"elemental/core"
	"elemental/ports"
)

func TestRefusal(t *testing.T) {
	for _, c := range []struct {
		name    string
		spoil   func(is *is.I, path string)
		reason  string
		message string
	}{
		{"missing", func(is *is.I, path string) { is.NoErr(os.Remove(path)) }, "PluginNotFound", "no such file"},
		{"a folder", func(is *is.I, path string) { is.NoErr(os.Remove(path)); is.NoErr(os.Mkdir(path, 0o755)) }, "PluginRefused", "not a regular file"},
		{"a pipe", func(is *is.I, path string) { is.NoErr(os.Remove(path)); is.NoErr(exec.Command("mkfifo", path).Run()) }, "PluginRefused", "not a regular file"},
		{"not executable", func(is *is.I, path string) { is.NoErr(os.Chmod(path, 0o644)) }, "PluginRefused", "run chmod 0755"},
		{"writable by all", func(is *is.I, path string) { is.NoErr(os.Chmod(path, 0o757)) }, "PluginRefused", "(mode 0757); run chmod go-w"},
		{"writable by its group", func(is *is.I, path string) { is.NoErr(os.Chmod(path, 0o775)) }, "PluginRefused", "may be written by others"},
		{"in a folder that is writable by all", func(is *is.I, path string) { is.NoErr(os.Chmod(filepath.Dir(path), 0o777)) }, "PluginRefused", "the folder of a plugin"},
		{"a link into a folder that is writable by all", func(is *is.I, path string) {
			open := filepath.Join(filepath.Dir(path), "open")
			is.NoErr(os.Mkdir(open, 0o755))
			is.NoErr(os.Chmod(open, 0o777))
			is.NoErr(os.Rename(path, filepath.Join(open, "plugin")))
			is.NoErr(os.Symlink("open/plugin", path))
		}, "PluginRefused", "the folder of a plugin"},
		{"no program", func(is *is.I, path string) { is.NoErr(os.WriteFile(path, []byte("hello"), 0o755)) }, "PluginNotStarted", "exec format error"},
	} {
		t.Run(c.name, func(t *testing.T) {
			is := is.New(t)
			path := write(t, preamble)
			c.spoil(is, path)
			_, err := plugin.NewRunner(plugin.Config{Name: path, WorkDir: t.TempDir()}).Describe(t.Context())
			failure := failureOf(t, err)
			is.Equal(failure.Class, core.FailureFailed)
			is.Equal(failure.Reason, c.reason)
			t.Log(failure.Message)
			is.True(strings.Contains(failure.Message, c.message))
		})
	}
}

func TestForeignOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away")
	}
	is := is.New(t)
	path := write(t, preamble)
	is.NoErr(os.Chown(path, 65534, 65534))
	_, err := plugin.NewRunner(plugin.Config{Name: path, WorkDir: t.TempDir()}).Describe(t.Context())
	is.True(strings.Contains(failureOf(t, err).Message, "belongs to user 65534"))
}

func TestLookup(t *testing.T) {
	is := is.New(t)
	folder := t.TempDir()
	is.NoErr(os.WriteFile(filepath.Join(folder, "mine"), []byte(preamble), 0o755))
	named := func(name string) (ports.Description, error) {
		return plugin.NewRunner(plugin.Config{Name: name, WorkDir: t.TempDir(), Folder: folder, Builtins: []string{"dummy"}}).Describe(t.Context())
	}
	d, err := named("mine")
	is.NoErr(err)
	is.Equal(d.Name, "script")
	d, err = named("dummy")
	is.NoErr(err)
	is.Equal(d.Name, "dummy")
	for _, name := range []string{"other", "", ".", ".."} {
		_, err = named(name)
		is.Equal(failureOf(t, err).Reason, "PluginNotFound")
		is.True(strings.HasSuffix(failureOf(t, err).Message, "or to one of these: dummy, mine"))
	}
	// What the administrator puts into the folder stands above what is built in.
	is.NoErr(os.WriteFile(filepath.Join(folder, "dummy"), []byte(preamble), 0o755))
	d, err = named("dummy")
	is.NoErr(err)
	is.Equal(d.Name, "script")
}

func TestProtocols(t *testing.T) {
	for answer, message := range map[string]string{
		`{"result":{"name":"x","protocols":["elemental.io/plugin/v9"]}}`: "speaks elemental.io/plugin/v9, and this agent speaks elemental.io/plugin/v1",
		`{"result":{"name":"x"}}`:                  "speaks no protocol",
		`{"result":{"name":"x","protocols":"v1"}}`: "the result of describe can't be read",
		`{"result":7}`:                             "the result of describe can't be read",
	} {
		path := write(t, "#!/bin/sh\necho '"+answer+"'\n")
		_, err := plugin.NewRunner(plugin.Config{Name: path, WorkDir: t.TempDir()}).Observe(t.Context(), request(t))
		is.New(t).True(strings.Contains(failureOf(t, err).Message, message))
	}
}

// TestDescribedOncePerFile counts how often a plugin is asked what it is.
func TestDescribedOncePerFile(t *testing.T) {
	is := is.New(t)
	text := "#!/bin/sh\necho x >> described-$1\n" + strings.TrimPrefix(preamble, "#!/bin/sh\n")
	path, workDir := write(t, text), t.TempDir()
	r := plugin.NewRunner(plugin.Config{Name: path, WorkDir: workDir})
	described := func() int {
		text, err := os.ReadFile(filepath.Join(workDir, "plugins", "plugin", "described-describe"))
		is.NoErr(err)
		return strings.Count(string(text), "x")
	}
	for range 3 {
		_, err := r.Observe(t.Context(), request(t))
		is.NoErr(err)
	}
	is.Equal(described(), 1)
	is.NoErr(os.WriteFile(path+".new", []byte(text+"\n"), 0o755))
	is.NoErr(os.Rename(path+".new", path))
	_, err := r.Observe(t.Context(), request(t))
	is.NoErr(err)
	is.Equal(described(), 2)
}

// TestReplacedBetweenCheckAndStart replaces the file over and over: what runs is always a file that was
// checked, never the one that others may write.
func TestReplacedBetweenCheckAndStart(t *testing.T) {
	is := is.New(t)
	path := write(t, preamble)
	folder := filepath.Dir(path)
	bad, mark := filepath.Join(folder, "bad"), filepath.Join(folder, "mark")
	stop, stopped := make(chan struct{}), make(chan error)
	go func() {
		var err error
		for i := 0; err == nil; i++ {
			select {
			case <-stop:
				stopped <- nil
				return
			default:
			}
			text, mode := preamble, os.FileMode(0o755)
			if i%2 == 0 {
				text, mode = "#!/bin/sh\ntouch "+mark+"\n", 0o777
			}
			if err = os.WriteFile(bad, []byte(text), mode); err == nil {
				if err = os.Chmod(bad, mode); err == nil {
					err = os.Rename(bad, path)
				}
			}
		}
		stopped <- err
	}()
	ran := 0
	for range 100 {
		if _, err := plugin.NewRunner(plugin.Config{Name: path, WorkDir: t.TempDir()}).Describe(t.Context()); err == nil {
			ran++
		}
	}
	close(stop)
	is.NoErr(<-stopped)
	t.Log("ran " + strconv.Itoa(ran) + " of 100 times")
	_, err := os.Stat(mark)
	is.True(os.IsNotExist(err)) // the file that others may write never ran
}

func TestObservation(t *testing.T) {
	observe := func(t *testing.T, verbs, result string) (ports.Observation, error) {
		path := write(t, `#!/bin/sh
case "$1" in
describe) echo '{"result":{"name":"x","protocols":["elemental.io/plugin/v1"],"restarts":true,"verbs":[`+verbs+`]}}';;
*) echo '{"result":`+result+`}';;
esac
`)
		return plugin.NewRunner(plugin.Config{Name: path, WorkDir: t.TempDir()}).Observe(t.Context(), request(t))
	}
	t.Run("everything", func(t *testing.T) {
		is := is.New(t)
		o, err := observe(t, `"observe"`, `{"verdict":"rolledBack","current":{"version":"1"},"staged":{"digest":"sha256:2"},`+
			`"previous":{"reference":"p"},"fallen":{"version":"f"},"needsRestart":true,"reset":"underWay","detail":"why"}`)
		is.NoErr(err)
		is.Equal(o, ports.Observation{
			Installed: true, Reset: core.ResetUnderWay, View: core.View{
				Verdict: core.VerdictRolledBack, NeedsRestart: true, Restarts: true, Detail: "why",
				Current: core.Version{Version: "1"}, Staged: core.Version{Digest: "sha256:2"},
				Previous: core.Version{Reference: "p"}, Fallen: core.Version{Version: "f"},
			},
		})
	})
	t.Run("not installed", func(t *testing.T) {
		is := is.New(t)
		o, err := observe(t, `"observe","install"`, `{"verdict":"outdated"}`)
		is.NoErr(err)
		is.True(!o.Installed)
	})
	for result, message := range map[string]string{
		`{}`:                    `the verdict ""`,
		`{"verdict":"perfect"}`: `the verdict "perfect"`,
		`{"verdict":"satisfied","reset":"maybe"}`: `the reset stage "maybe"`,
		`{"verdict":"satisfied","current":"1"}`:   "the result of observe can't be read",
		`[]`:                                      "the result of observe can't be read",
	} {
		t.Run(result, func(t *testing.T) {
			_, err := observe(t, `"observe"`, result)
			is.New(t).True(strings.Contains(failureOf(t, err).Message, message))
		})
	}
	t.Run("without the verb", func(t *testing.T) {
		_, err := observe(t, `"stage"`, `{}`)
		is.New(t).True(strings.HasSuffix(failureOf(t, err).Message, "has no verb observe; it has stage"))
	})
}
