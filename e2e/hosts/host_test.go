package hosts

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/matryer/is"

	"elemental/e2e/registry"
)

// systems makes the images of this test's hosts once.
func systems(t *testing.T) (images *registry.Systems, binary string) {
	t.Helper()
	if testing.Short() {
		t.Skip("starting hosts takes seconds")
	}
	if err := Missing(); err != nil {
		t.Skip(err)
	}
	is := is.New(t)
	checkout, err := filepath.Abs("../..")
	is.NoErr(err)
	binary = os.Getenv("ELEMENTAL_BINARY")
	if binary == "" {
		binary = filepath.Join(t.TempDir(), "elemental")
		build := exec.Command("go", "build", "-o", binary, "elemental")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		out, err := build.CombinedOutput()
		t.Logf("%s", out)
		is.NoErr(err)
	}
	images, err = registry.NewSystems(t.Context(), checkout, binary, os.Stderr)
	is.NoErr(err)
	return images, binary
}

func image(t *testing.T, images *registry.Systems, system registry.System) (v1.Image, string) {
	t.Helper()
	is := is.New(t)
	// What is tested here is the host itself.
	system.Files = append(system.Files, registry.Mask("elemental-agent.service"), registry.Mask("elemental-health.service"))
	made, err := images.Image(system)
	is.NoErr(err)
	digest, err := made.Digest()
	is.NoErr(err)
	return made, DeploymentID(digest.String())
}

func TestHost(t *testing.T) {
	is := is.New(t)
	images, binary := systems(t)
	first, id1 := image(t, images, registry.System{Version: "v1"})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	h, err := Start(ctx, Options{Name: "one", Binary: binary, Image: first, Etc: map[string]string{"elemental/greeting": "hello\n"}})
	is.NoErr(err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(h.Report(context.WithoutCancel(ctx)))
		}
		h.Remove()
		_, err := os.Stat(h.Disk())
		is.True(os.IsNotExist(err)) // nothing stays
	})
	is.NoErr(h.WaitBooted(ctx, id1))
	said, err := h.Exec(ctx, "sh", "-c", "hostname=$(cat /etc/hostname); . /etc/os-release; echo $hostname $IMAGE_VERSION $(cat /etc/elemental/greeting)")
	is.NoErr(err)
	is.Equal(said, "one v1 hello\n")
	_, err = h.Exec(ctx, "touch", "/usr/bin/new")
	is.True(err != nil && strings.Contains(err.Error(), "Read-only file system")) // a deployment is read-only
	firstBoot, err := h.Exec(ctx, "cat", "/proc/sys/kernel/random/boot_id")
	is.NoErr(err)

	is.NoErr(h.Restart(ctx))
	waitFor(ctx, t, "it starts again", func() bool { return len(h.Boots()) == 2 })
	is.NoErr(h.WaitBooted(ctx, id1))
	secondBoot, err := h.Exec(ctx, "cat", "/proc/sys/kernel/random/boot_id")
	is.NoErr(err)
	is.True(firstBoot != secondBoot) // each boot has its own ID

	h.Kill() // A power cut, and power again.
	_, err = h.Leader()
	is.True(err != nil)
	is.NoErr(h.On())
	is.NoErr(h.WaitBooted(ctx, id1))
	is.True(strings.Contains(h.Journal(ctx), "systemd")) // the journal outlives the boots

	is.NoErr(h.Stop(ctx))
	var course []string
	for _, b := range h.Boots() {
		course = append(course, string(b.End))
	}
	is.Equal(strings.Join(course, ", "), "restarted, power cut, powered off")
}

func TestTwoHosts(t *testing.T) {
	is := is.New(t)
	images, binary := systems(t)
	system, id := image(t, images, registry.System{Version: "v1"})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var pair []*Host
	for _, name := range []string{"left", "right"} {
		h, err := Start(ctx, Options{Name: name, Binary: binary, Image: system})
		is.NoErr(err)
		t.Cleanup(h.Remove)
		pair = append(pair, h)
	}
	ids := map[string]bool{}
	for _, h := range pair {
		is.NoErr(h.WaitBooted(ctx, id))
		machine, err := h.Exec(ctx, "cat", "/etc/machine-id")
		is.NoErr(err)
		ids[machine] = true
	}
	is.Equal(len(ids), 2) // strangers to one another
	pair[0].Kill()
	_, err := pair[1].Exec(ctx, "systemctl", "is-active", "multi-user.target")
	is.NoErr(err) // the one does not feel what happens to the other
}
