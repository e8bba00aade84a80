package hosts

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"elemental/e2e/registry"
)

// TestTrial has no cluster: the health check alone confirms a good system and gives up bad ones.
func TestTrial(t *testing.T) {
	is := is.New(t)
	images, binary := systems(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	store, err := registry.Start()
	is.NoErr(err)
	t.Cleanup(func() { is.NoErr(store.Stop()) })
	named := map[string]string{} // the version of a deployment
	reference := func(system registry.System) (reference, id string) {
		image, err := images.Image(system)
		is.NoErr(err)
		pushed, err := store.Push(ctx, "system:"+system.Version, image)
		is.NoErr(err)
		named[DeploymentID(pushed.Digest)] = system.Version
		return pushed.Reference, DeploymentID(pushed.Digest)
	}

	etc, err := Config{Registry: store.Address()}.Etc()
	is.NoErr(err)
	delete(etc, agentFile) // Without it the agent does not start.
	v1 := registry.System{Version: "v1"}
	firstImage, err := images.Image(v1)
	is.NoErr(err)
	first, id1 := reference(v1)
	h, err := Start(ctx, Options{Name: "trial", Binary: binary, Image: firstImage, Reference: first, Etc: etc})
	is.NoErr(err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(h.Report(context.WithoutCancel(ctx)))
		}
		h.Remove()
	})
	is.NoErr(h.WaitBooted(ctx, id1))
	_, err = h.Exec(ctx, "sh", "-c", "echo changed > /etc/by-hand")
	is.NoErr(err)

	stage := func(reference string) {
		t.Helper()
		request := fmt.Sprintf(`{"protocol":"elemental.io/plugin/v1","verb":"stage","host":"trial","workDir":"/tmp","input":{"osVersionManagement":{"osVersion":{"imageUri":%q}}}}`, reference)
		said, err := h.Exec(ctx, "sh", "-c", "echo '"+request+"' | elemental plugin image stage")
		is.NoErr(err)
		is.True(strings.Contains(said, `{"result"`)) // it is staged
		is.NoErr(h.Restart(ctx))
	}
	second, id2 := reference(registry.System{Version: "v2"})
	stage(second)
	is.NoErr(h.WaitBooted(ctx, id2))
	waitFor(ctx, t, "the trial is confirmed", func() bool { return exists(h, "boot/loader/entries/elemental-"+id2+".conf") })
	said, err := h.Exec(ctx, "cat", "/etc/by-hand")
	is.NoErr(err)
	is.Equal(said, "changed\n") // the administrator's /etc came along

	boots := len(h.Boots())
	for _, bad := range []registry.System{registry.Unhealthy("v3"), registry.InitDies("v4")} {
		ref, _ := reference(bad)
		stage(ref)
		boots += 4
		waitFor(ctx, t, "the host fell back from "+bad.Version, func() bool { return len(h.Boots()) >= boots })
		is.NoErr(h.WaitBooted(ctx, id2))
	}
	var course []string
	for _, b := range h.Boots() {
		course = append(course, named[b.Deployment]+" "+string(b.End))
	}
	is.Equal(strings.Join(course, ", "), "v1 restarted, v2 restarted, "+
		"v3 restarted, v3 restarted, v3 restarted, v2 restarted, v4 died, v4 died, v4 died, v2 ")
}

// waitFor fails the test when a condition does not come true before its context ends.
func waitFor(ctx context.Context, t *testing.T, what string, holds func() bool) {
	t.Helper()
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatalf("waiting until %s: %v", what, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func exists(h *Host, name string) bool {
	_, err := os.Stat(h.disk.path(name))
	return err == nil
}
