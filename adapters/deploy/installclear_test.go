package deploy_test

import (
	"testing"

	"elemental/adapters/deploy"
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
