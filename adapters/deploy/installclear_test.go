package deploy_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"elemental/adapters/deploy"
	"elemental/ports"
)

// What can't be installed costs no system that is there.
func TestTheSystemBeforeStaysWhereNoneCanFollow(t *testing.T) {
	for name, c := range map[string]struct {
		spoil  func(i *installer)
		image  string
		reason string
	}{
		"an image that is nowhere": {func(*installer) {}, "fake://nowhere", ""},
		"no room":                  {func(i *installer) { i.free = 1 << 20 }, "fake://v2", deploy.ReasonDiskFull},
		"a root without a device":  {func(i *installer) { i.Kernel = deploy.KernelRequired }, "fake://v2", deploy.ReasonBadInstallOptions},
	} {
		t.Run(name, func(t *testing.T) {
			i := newInstaller(t)
			i.put("v2", system(t, "two"))
			i.is.NoErr(i.install(i.ask(i.put("v1", system(t, "one")), "")))
			c.spoil(i)
			another := i.ask(c.image, `,"overwrite":true`)
			another.Host = "edge-2"
			err := i.install(another)
			i.is.True(err != nil)
			if c.reason != "" {
				i.is.Equal(failureOf(t, err).Reason, c.reason)
			}
			i.is.Equal(i.read("/var/lib/elemental/agent/identity/key"), "the key")
			i.is.True(i.observe(i.ask("fake://v1", "")).NeedsRestart) // It is still the first host's.
		})
	}
}

// sight is what the agent observes with: it shows nobody the host's files.
func sight(asked ports.Request, boot string) ports.Request {
	asked.Files, asked.Boot = nil, boot
	return asked
}

func TestAHostOfTheSameNameWithAnotherKeyIsAnother(t *testing.T) {
	i := newInstaller(t)
	image := i.put("v1", system(t, "one"))
	i.is.NoErr(i.install(i.ask(image, "")))
	mark, err := os.ReadFile(filepath.Join(i.disk, "elemental/installation.json"))
	i.is.NoErr(err)
	i.is.True(!strings.Contains(string(mark), "the key")) // It is secret.

	anew := func(options string) ports.Request {
		asked := i.ask(image, options)
		asked.Boot, asked.Files[0].Data = "boot-2", []byte("another key")
		return asked
	}
	i.is.True(!i.observe(sight(anew(""), "boot-2")).Installed)
	i.is.Equal(failureOf(t, i.install(anew(""))).Reason, deploy.ReasonHoldsData)
	i.is.True(!i.observe(sight(anew(""), "boot-2")).Installed)
	i.is.NoErr(i.install(anew(`,"overwrite":true`)))
	i.is.Equal(i.read("/var/lib/elemental/agent/identity/key"), "another key")
	i.is.True(i.observe(sight(anew(""), "boot-2")).NeedsRestart)
}

func TestAHostFindsItsSystemInALaterBoot(t *testing.T) {
	i := newInstaller(t)
	asked := i.ask(i.put("v1", system(t, "one")), `,"overwrite":true`)
	i.is.NoErr(i.install(asked))
	i.is.True(i.observe(sight(asked, "boot-1")).NeedsRestart)
	left := filepath.Join(i.disk, "elemental/var/left")
	i.is.NoErr(os.WriteFile(left, nil, 0o600))
	for _, boot := range []string{"boot-2", "boot-3"} {
		seen := i.observe(sight(asked, boot))
		i.is.True(!seen.Installed && !seen.NeedsRestart) // Nobody has shown a key yet.
		asked.Boot = boot
		i.is.NoErr(i.install(asked))
		seen = i.observe(sight(asked, boot))
		i.is.True(seen.Installed && !seen.NeedsRestart)
	}
	i.is.True(exists(t, left)) // It stays as it is.
}
