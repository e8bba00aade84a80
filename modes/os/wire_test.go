package hostos

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"
	"github.com/urfave/cli/v2"

	"elemental/adapters/deploy"
	"elemental/ports"
)

const (
	running  = "0123456789abcdef0123456789abcdef"
	earlier  = "11111111111111111111111111111111"
	upcoming = "22222222222222222222222222222222"
)

// disk is a host with deployments, of which one runs.
func disk(t *testing.T, entries ...string) deployments {
	t.Helper()
	is := is.New(t)
	config := DefaultConfig()
	config.Root, config.Boot = t.TempDir(), t.TempDir()
	for _, id := range []string{running, earlier, upcoming} {
		is.NoErr(os.MkdirAll(filepath.Join(config.Root, "deployments", id), 0o755))
		is.NoErr(os.WriteFile(filepath.Join(config.Root, "deployments", id, "deployment.json"), []byte(
			`{"id":"`+id+`","digest":"sha256:`+id+id+`","references":[{"reference":"oci://r/os:`+id[:1]+`"}],"version":"v`+id[:1]+`","created":"2030-01-01T00:00:00Z"}`), 0o644))
	}
	is.NoErr(os.MkdirAll(filepath.Join(config.Boot, "loader/entries"), 0o755))
	for i, name := range entries {
		text := "title x\nversion 000000000000000000" + string(rune('9'-i)) + "\nsort-key elemental\noptions x\n"
		is.NoErr(os.WriteFile(filepath.Join(config.Boot, "loader/entries", name), []byte(text), 0o644))
	}
	booted := filepath.Join(t.TempDir(), "deployment")
	is.NoErr(os.WriteFile(booted, []byte(running+"\n"), 0o644))
	d, err := wire(config)
	is.NoErr(err)
	d.engine.Loader = deploy.SystemdBoot{Boot: config.Boot, BootedFile: booted}
	return d
}

func TestRoles(t *testing.T) {
	for name, c := range map[string]struct {
		entries []string
		trial   bool
		roles   string
	}{
		"one is staged":     {[]string{"elemental-" + upcoming + "+3.conf", "elemental-" + running + ".conf", "elemental-" + earlier + ".conf"}, false, "2 staged, 0 booted, 1 previous"},
		"one runs on trial": {[]string{"elemental-" + running + "+2-1.conf", "elemental-" + earlier + ".conf"}, true, "0 booted, 1 previous, 2 unused"},
		"one has fallen":    {[]string{"elemental-" + upcoming + "+0-3.conf", "elemental-" + running + ".conf"}, false, "0 booted, 2 fallen, 1 unused"},
		"one is next":       {[]string{"elemental-" + earlier + ".conf", "elemental-" + running + ".conf", "elemental-" + upcoming + ".conf"}, false, "1 next, 0 booted, 2 previous"},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			status, err := disk(t, c.entries...).status(t.Context())
			is.NoErr(err)
			var roles []string
			for _, d := range status.Deployments {
				roles = append(roles, d.ID[:1]+" "+string(d.Role))
			}
			is.Equal(strings.Join(roles, ", "), c.roles)
			is.Equal(status.OnTrial, c.trial)
			is.Equal(status.Booted, running)
		})
	}
}

func TestStatusIsWritten(t *testing.T) {
	is := is.New(t)
	d := disk(t, "elemental-"+upcoming+"+0-3.conf", "elemental-"+running+"+2-1.conf", "elemental-"+earlier+".conf")
	status, err := d.status(t.Context())
	is.NoErr(err)
	var text, json bytes.Buffer
	is.NoErr(status.writeText(&text))
	is.NoErr(status.writeJSON(&json))
	for _, line := range []string{
		"ROLE       VERSION   IMAGE        DEPLOYMENT     TRIES            NOTE\n",
		"booted     v0        oci://r/os:0   0123456789ab   2 left, 1 used   on trial: not confirmed yet\n",
		"previous   v1        oci://r/os:1   111111111111   -                -\n",
	} {
		is.True(strings.Contains(strings.Join(strings.Fields(text.String()), " "), strings.Join(strings.Fields(line), " ")))
	}
	is.True(strings.Contains(json.String(), `"role": "fallen"`))
	is.True(strings.Contains(json.String(), `"triesUsed": 3`))
}

// TestBlame shows that what is written down here is what the engine reads once the trial has fallen.
func TestBlame(t *testing.T) {
	is := is.New(t)
	d := disk(t, "elemental-"+upcoming+"+0-3.conf", "elemental-"+running+".conf")
	is.NoErr(d.blame(upcoming, "not confirmed within 5m0s: no contact"))
	status, err := d.status(t.Context())
	is.NoErr(err)
	at := 0
	for i, found := range status.Deployments {
		if found.ID == upcoming {
			at = i
		}
	}
	is.Equal(status.Deployments[at].Failure, "not confirmed within 5m0s: no contact")
	var text bytes.Buffer
	is.NoErr(status.writeText(&text))
	is.True(strings.Contains(text.String(), "no contact"))
	seen, err := d.engine.Observe(t.Context(), ports.Request{OSVersion: []byte(`{"osVersion":{"imageUri":"oci://r/os:2"}}`)})
	is.NoErr(err)
	is.Equal(seen.Detail, "not confirmed within 5m0s: no contact")
}

// TestConfirmOnDisk confirms a trial for real.
func TestConfirmOnDisk(t *testing.T) {
	is := is.New(t)
	d := disk(t, "elemental-"+running+"+2-1.conf", "elemental-"+earlier+".conf")
	is.NoErr(confirmation{host: d, timeout: time.Minute, log: &bytes.Buffer{}, ready: func() error { return nil }}.run(t.Context()))
	status, err := d.status(context.Background())
	is.NoErr(err)
	is.True(!status.OnTrial)
}

// TestConfirmWithoutAnEntry is a host whose boot partition is not where it is looked for: it may be on trial.
func TestConfirmWithoutAnEntry(t *testing.T) {
	is := is.New(t)
	d := disk(t, "elemental-"+earlier+".conf")
	var log bytes.Buffer
	err := confirmation{host: d, timeout: time.Millisecond, log: &log, ready: func() error { return nil }}.run(t.Context())
	is.True(err != nil)
	is.True(strings.Contains(err.Error(), "mount the boot partition"))
	reason, err := os.ReadFile(filepath.Join(d.engine.Root, "deployments", running, "failure"))
	is.NoErr(err)
	is.True(strings.Contains(string(reason), "mount the boot partition"))
	_, err = d.status(t.Context())
	is.True(err != nil)
	is.NoErr(confirmation{host: disk(t, "elemental-"+running+".conf"), timeout: time.Minute, log: &log, ready: func() error { return errors.New("ill") }}.run(t.Context()))
}

func TestCommands(t *testing.T) {
	is := is.New(t)
	config := filepath.Join(t.TempDir(), "image.yaml")
	is.NoErr(os.WriteFile(config, []byte("root: "+t.TempDir()+"\nboot: "+t.TempDir()+"\n"), 0o600))
	run := func(words ...string) (string, error) {
		var out bytes.Buffer
		app := &cli.App{Commands: []*cli.Command{Command()}, Writer: &out, ErrWriter: &out, ExitErrHandler: func(*cli.Context, error) {}}
		err := app.RunContext(t.Context(), append([]string{"elemental", "os"}, words...))
		return out.String(), err
	}
	out, err := run("status", "--config", config)
	is.NoErr(err)
	is.True(strings.Contains(out, "This host was not started from a deployment."))
	out, err = run("status", "--config", config, "--output", "json")
	is.NoErr(err)
	is.Equal(out, "{\n  \"onTrial\": false,\n  \"deployments\": []\n}\n")
	_, err = run("status", "--config", config, "-o", "xml")
	is.True(err != nil)
	_, err = run("confirm", "--config", config)
	is.NoErr(err)
	// By hand too, what is asked is held against the schema before anything is looked at.
	_, err = run("upgrade", "--config", config, "")
	is.Equal(err.Error(), "osVersion.imageUri: it must not be empty")
	_, err = run("reset", "--config", config)
	is.True(err != nil && strings.Contains(err.Error(), "add --yes"))
	_, err = run("reset", "--config", config, "--yes")
	is.True(err != nil && strings.Contains(err.Error(), "not started from a deployment"))
	// A broken configuration must not restart a host that is not on trial.
	is.NoErr(os.WriteFile(config, []byte("root: ["), 0o600))
	_, err = run("status", "--config", config)
	is.True(err != nil)
	_, err = run("confirm", "--config", config)
	is.NoErr(err)
}
