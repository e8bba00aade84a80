package deploy_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"
	"golang.org/x/sys/unix"

	"elemental/adapters/deploy"
	"elemental/core"
	"elemental/ports"
)

// installer is a host that runs from a medium, and a folder that is its disk.
type installer struct {
	*host
	disk string
}

func newInstaller(t *testing.T, change ...func(*deploy.Config)) *installer {
	t.Helper()
	program := filepath.Join(scratch(t), "elemental")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	i := &installer{disk: scratch(t)}
	i.host = newHost(t, append(change, func(c *deploy.Config) {
		c.Program = program
		c.Own = func() ([]ports.File, error) {
			return []ports.File{{Path: "/etc/elemental/image.yaml", Mode: 0o600, Data: []byte("kernel: none\n")}}, nil
		}
		c.Named = func(hostname string, cloudConfig []byte) ([]ports.File, error) {
			if hostname == "No Name" {
				return nil, core.Failure{Class: core.FailureFailed, Reason: "InvalidHostname", Message: "it can't name a host"}
			}
			return []ports.File{{Path: "/etc/hostname", Mode: 0o644, Data: []byte(hostname + "\n")}, {Path: "/etc/told", Mode: 0o600, Data: cloudConfig}}, nil
		}
	})...)
	return i
}

// ask is the request to install an image as a host; options are those behind root and image.
func (i *installer) ask(image, options string) ports.Request {
	return ports.Request{
		Host: "edge-1", Boot: "boot-1", Hostname: "edge-1", CloudConfig: []byte(`{"users":[]}`),
		Options: []byte(`{"root":"` + i.disk + `","image":"` + image + `"` + options + `}`),
		Files: []ports.File{
			{Path: "/var/lib/elemental/agent/identity/key", Mode: 0o600, Data: []byte("the key")},
			{Path: "/etc/elemental/agent.yaml", Mode: 0o600, Data: []byte("agent: {}\n")},
		},
	}
}

func (i *installer) install(request ports.Request) error {
	return i.Do(i.t.Context(), core.VerbInstall, request, nil)
}

func (i *installer) observe(request ports.Request) ports.Observation {
	i.t.Helper()
	seen, err := i.Observe(i.t.Context(), request)
	i.is.NoErr(err)
	return seen
}

// entries are the files by which the disk could be booted.
func (i *installer) entries() []string {
	i.t.Helper()
	found, err := filepath.Glob(filepath.Join(i.disk, "boot/loader/entries/*"))
	i.is.NoErr(err)
	return found
}

// read reads a file of the deployment that the only entry boots.
func (i *installer) read(at string) string {
	i.t.Helper()
	i.is.Equal(len(i.entries()), 1)
	id := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(i.entries()[0]), "elemental-"), ".conf")
	if below, found := strings.CutPrefix(at, "/var/"); found {
		at = filepath.Join(i.disk, "elemental/var", below)
	} else {
		at = filepath.Join(i.disk, "elemental/deployments", id, at)
	}
	content, err := os.ReadFile(at)
	i.is.NoErr(err)
	return string(content)
}

func TestInstallingIntoARoot(t *testing.T) {
	i := newInstaller(t)
	asked := i.ask(i.put("v1", system(t, "one")), "")
	before := i.observe(asked)
	i.is.True(!before.Installed && !before.NeedsRestart)
	i.is.NoErr(i.install(asked))

	i.is.Equal(i.read("/etc/hostname"), "edge-1\n")
	i.is.Equal(i.read("/etc/elemental/agent.yaml"), "agent: {}\n")
	i.is.Equal(i.read("/etc/elemental/image.yaml"), "kernel: none\n")
	i.is.Equal(i.read("/etc/told"), `{"users":[]}`)
	i.is.Equal(i.read("/var/lib/elemental/agent/identity/key"), "the key")
	info, err := os.Stat(filepath.Join(i.disk, "elemental/var/lib/elemental/agent/identity"))
	i.is.NoErr(err)
	i.is.Equal(info.Mode().Perm(), os.FileMode(0o700))
	i.is.True(!strings.Contains(i.entries()[0], "+")) // It is confirmed: there is nothing to fall back to.
	_, err = os.Stat(filepath.Join(i.disk, "elemental/bin/elemental"))
	i.is.NoErr(err)

	seen := i.observe(asked)
	i.is.True(!seen.Installed && seen.NeedsRestart) // This boot ends for it.
	i.is.NoErr(i.install(asked))                    // It is whole, and stays as it is.
	asked.Boot = "boot-2"
	seen = i.observe(asked)
	i.is.True(seen.Installed && !seen.NeedsRestart) // The next is told.
	i.is.True(strings.Contains(seen.Detail, "start this host from it"))
}

func TestWhatTheClusterAsksForIsInstalled(t *testing.T) {
	i := newInstaller(t)
	asked := i.ask(i.put("v1", system(t, "one")), "")
	asked.OSVersion = request(i.put("v2", system(t, "two"))).OSVersion
	i.is.NoErr(i.install(asked))
	i.is.True(strings.Contains(i.read("/deployment.json"), "fake://v2"))
}

func TestNothingIsInstalledOverWhatIsThere(t *testing.T) {
	refused := func(i *installer, asked ports.Request, what string) {
		i.t.Helper()
		err := i.install(asked)
		var f core.Failure
		i.is.True(errors.As(err, &f))
		i.is.Equal(f.Reason, deploy.ReasonHoldsData)
		i.is.True(strings.Contains(f.Message, what) && strings.Contains(f.Message, i.disk) && strings.Contains(f.Message, "install.overwrite"))
		i.is.True(!i.observe(asked).Installed)
	}
	t.Run("files", func(t *testing.T) {
		i := newInstaller(t)
		i.is.NoErr(os.WriteFile(filepath.Join(i.disk, "precious"), nil, 0o600))
		image := i.put("v1", system(t, "one"))
		refused(i, i.ask(image, ""), "precious")
		i.is.Equal(len(i.entries()), 0)
		i.is.NoErr(i.install(i.ask(image, `,"overwrite":true`)))
		_, err := os.Stat(filepath.Join(i.disk, "precious"))
		i.is.NoErr(err) // Only what is Elemental's own goes.
	})
	t.Run("another host's system", func(t *testing.T) {
		i := newInstaller(t)
		image := i.put("v1", system(t, "one"))
		i.is.NoErr(i.install(i.ask(image, "")))
		left := filepath.Join(i.disk, "elemental/var/left")
		i.is.NoErr(os.WriteFile(left, nil, 0o600))
		another := i.ask(image, "")
		another.Host = "edge-2"
		refused(i, another, "host edge-1")
		another.Options = i.ask(image, `,"overwrite":true`).Options
		i.is.NoErr(i.install(another))
		_, err := os.Stat(left)
		i.is.True(errors.Is(err, os.ErrNotExist))
		another.Boot = "later"
		i.is.True(i.observe(another).Installed)
	})
}

func TestOptionsOfAnInstallation(t *testing.T) {
	i := newInstaller(t)
	for options, want := range map[string]string{
		``:                                   "install: it must say where",
		`[]`:                                 "install: it must be an object",
		`{"root":"/mnt"}`:                    "install.image: there is nothing to install",
		`{"root":"/","image":"x"}`:           "install.root: it is the system that runs",
		`{"root":"mnt","image":"x"}`:         "install.root: \"mnt\" must be a whole path",
		`{"root":"/mnt/../etc","image":"x"}`: "install.root: \"/mnt/../etc\" must be a whole path",
		`{"device":"/dev/sda"}`:              "install.device: the image plugin takes no device as a whole",
		`{"root":"/mnt","powerOff":true}`:    "install.powerOff: the image plugin has no such option: what it says belongs to spec.config.elemental.agent.postInstall.powerOff",
		`{"root":"/mnt","reboot":true}`:      "install.reboot: the image plugin has no such option: what it says belongs to spec.config.elemental.agent.postInstall.reboot",
		`{"root":"/mnt","disk":"/dev/sda"}`:  "install.disk: the image plugin has no such option",
		`{"root":"/mnt","overwrite":"yes"}`:  "install: image and root are texts",
		`{"root":"/no/such/folder","image":"fake://v1"}`: "install.root: /no/such/folder can't be installed to",
	} {
		request := ports.Request{Host: "edge-1", Options: []byte(options)}
		err := i.install(request)
		var f core.Failure
		i.is.True(errors.As(err, &f))
		if !strings.HasPrefix(f.Error(), want) {
			t.Errorf("%s is answered with %q", options, f.Error())
		}
		i.is.Equal(f.Class, core.FailureInvalid)
	}
	_, err := i.Observe(t.Context(), ports.Request{Host: "edge-1"})
	i.is.True(err != nil) // Nobody lets the system be installed.
}

func TestANameThatIsNoneIsNotInstalled(t *testing.T) {
	i := newInstaller(t)
	asked := i.ask(i.put("v1", system(t, "one")), "")
	asked.Hostname = "No Name"
	var failure core.Failure
	i.is.True(errors.As(i.install(asked), &failure))
	i.is.Equal(failure.Reason, "InvalidHostname")
	i.is.Equal(len(i.entries()), 0)
}

func TestFilesOfAnInstallationAreItsOwn(t *testing.T) {
	i := newInstaller(t)
	image := i.put("v1", system(t, "one"))
	for _, path := range []string{"/usr/bin/x", "/etc/../usr/x", "etc/x", "/etc", "/root/.ssh/x"} {
		asked := i.ask(image, "")
		asked.Files = append(asked.Files, ports.File{Path: path, Mode: 0o600})
		err := i.install(asked)
		i.is.True(err != nil && strings.Contains(err.Error(), "below /etc or /var"))
		i.is.Equal(len(i.entries()), 0)
	}
}

// Each step of an installation may be its last: what follows converges.
func TestAnInstallationThatIsCutShortGoesOn(t *testing.T) {
	is := is.New(t)
	for steps := 1; ; steps++ {
		i := newInstaller(t)
		asked := i.ask(i.put("v1", system(t, "one")), "")
		ctx, cut := context.WithCancel(t.Context())
		seen := 0
		err := i.Do(ctx, core.VerbInstall, asked, func(ports.Progress) {
			if seen++; seen == steps {
				cut()
			}
		})
		cut()
		if err == nil && seen < steps {
			is.True(steps > 3) // It was cut short at all.
			return
		}
		if err != nil {
			is.Equal(len(i.entries()), 0) // What is not whole can't be booted.
		}
		is.NoErr(i.install(asked))
		is.Equal(i.read("/var/lib/elemental/agent/identity/key"), "the key")
		is.True(i.observe(asked).NeedsRestart)
	}
}

func TestHowAKernelFindsItsRoot(t *testing.T) {
	is := is.New(t)
	const mounts = `22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 22 8:17 / /mnt/my\040disk rw,relatime shared:9 - ext4 /dev/sdb1 rw
41 22 8:16 / /mnt/disk rw - ext4 /dev/old rw
42 22 8:18 / /mnt/disk rw master:1 - ext4 /dev/sdc2 rw
43 22 0:42 /@root /mnt/part rw - btrfs /dev/sdd1 rw
`
	for at, want := range map[string][2]string{
		"/mnt/disk": {"/dev/sdc2", "/"}, "/mnt/my disk": {"/dev/sdb1", "/"}, "/mnt": {"", ""}, "/mnt/part": {"/dev/sdd1", "/@root"},
	} {
		device, within := deploy.MountedDevice(mounts, at)
		is.Equal([2]string{device, within}, want)
	}
}

func TestAPartOfAFileSystemIsNotInstalledTo(t *testing.T) {
	i := newInstaller(t, func(c *deploy.Config) { c.Kernel = deploy.KernelRequired })
	part := filepath.Join(i.disk, "part")
	i.is.NoErr(os.Mkdir(part, 0o755))
	if err := unix.Mount(part, part, "", unix.MS_BIND, ""); err != nil {
		t.Skipf("nothing can be mounted here: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(part, unix.MNT_DETACH) })
	i.disk = part
	failure := failureOf(t, i.install(i.ask(i.put("v1", system(t, "one")), "")))
	i.is.Equal(failure.Reason, deploy.ReasonBadInstallOptions)
	i.is.True(strings.Contains(failure.Message, "a bind mount"))
}
