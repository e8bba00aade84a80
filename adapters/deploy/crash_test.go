package deploy_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/matryer/is"

	"elemental/adapters/deploy"
	"elemental/core"
)

// victimRoot is the variable that makes this test program stage and be killed.
const victimRoot = "ELEMENTAL_TEST_VICTIM_ROOT"

// crashLayers are the images of the crash tests, the same in every process.
func crashLayers(t *testing.T, version string) [][]byte {
	layers := [][]byte{system(t, version)}
	for n := range 3 {
		var items []item
		for m := range 150 {
			items = append(items, item{name: fmt.Sprintf("data/%d-%d", n, m), content: noise(2000 + 10*n + m)})
		}
		layers = append(layers, layer(t, append(items, item{name: fmt.Sprintf("data/version-%d", n), content: version})...))
	}
	return layers
}

// crashHost is a host whose disk and boot loader outlive a process.
func crashHost(t *testing.T, at string) (*host, firmware) {
	f := firmware{deploy.SystemdBoot{Boot: filepath.Join(at, "boot"), BootedFile: filepath.Join(at, "deployment"), CommandLine: "/dev/null"}}
	if err := os.MkdirAll(f.SystemdBoot.Boot, 0o755); err != nil {
		t.Fatal(err)
	}
	h := newHost(t, func(c *deploy.Config) {
		c.Root, c.Boot, c.Loader = filepath.Join(at, "elemental"), f.SystemdBoot.Boot, f.SystemdBoot
	})
	return h, f
}

// TestVictim stages until it is killed. It is run by the test below.
func TestVictim(t *testing.T) {
	at := os.Getenv(victimRoot)
	if at == "" {
		t.Skip("this is the part of the test of kills that is killed")
	}
	h, _ := crashHost(t, at)
	h.mustStage(h.put("v2", crashLayers(t, "2")...))
}

func TestAKillAtAnyMomentLeavesTheOldSystemOrTheNew(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts many processes")
	}
	is := is.New(t)
	at := t.TempDir()
	h, f := crashHost(t, at)
	v1, v2 := h.put("v1", crashLayers(t, "1")...), h.put("v2", crashLayers(t, "2")...)
	is.NoErr(h.Install(t.Context(), request(v1), nil))
	one := f.Boot(t)
	for round := range 12 {
		ctx, cancel := context.WithCancel(t.Context())
		victim := exec.CommandContext(ctx, os.Args[0], "-test.run", "^TestVictim$")
		victim.Env = append(os.Environ(), victimRoot+"="+at)
		is.NoErr(victim.Start())
		// The kill comes once the staging has got so far, whatever the speed of the machine.
		awaitStaging(t, h, round)
		cancel()
		_ = victim.Wait() // It was killed, or it was fast.
		seen := h.observe(v2)
		switch seen.Verdict {
		case core.VerdictOutdated:
			is.Equal(f.next(t), one)
		case core.VerdictStaged:
			checkCrashTree(t, h, f.next(t), "2")
		default:
			t.Fatalf("round %d: %s", round, seen.Verdict)
		}
		is.Equal(h.observe(v1).Verdict, core.VerdictSatisfied)
		checkCrashTree(t, h, one, "1")
		if round%3 == 2 { // What a kill left does not stand in the way of the next attempt.
			h.mustStage(v2)
			two := f.next(t)
			checkCrashTree(t, h, two, "2")
			is.NoErr(h.Unstage(t.Context()))
			is.NoErr(os.RemoveAll(h.path("deployments", two)))
			is.NoErr(os.RemoveAll(h.path("layers")))
		}
	}
}

// awaitStaging waits until a staging in another process has come to one of its stages, by what is on the disk.
func awaitStaging(t *testing.T, h *host, round int) {
	t.Helper()
	marks := []string{"room", "blobs/0", "objects/*", "layers/*", "deployment/root", "deployment/root/data", "deployment/etc", "deployment/deployment.json"}
	mark := marks[round%len(marks)]
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		found, err := filepath.Glob(h.path("staging", mark))
		if err != nil {
			t.Fatal(err)
		}
		published, err := filepath.Glob(h.path("deployments", "*"))
		if err != nil {
			t.Fatal(err)
		}
		if len(found) > 0 || len(published) > 1 {
			return
		}
		time.Sleep(200 * time.Microsecond) // A poll of a condition.
	}
	t.Fatalf("the staging never came to %s", mark)
}

func checkCrashTree(t *testing.T, h *host, id, version string) {
	t.Helper()
	for n := range 3 {
		if got := h.read(id, "root", "data", fmt.Sprint("version-", n)); got != version {
			t.Fatalf("deployment %s has %q where it should have %q", id, got, version)
		}
		for m := range 150 {
			if got := h.read(id, "root", "data", fmt.Sprintf("%d-%d", n, m)); got != noise(2000+10*n+m) {
				t.Fatalf("deployment %s is damaged: data/%d-%d", id, n, m)
			}
		}
	}
}

// next is the deployment that would be booted.
func (f firmware) next(t *testing.T) string {
	t.Helper()
	entries, err := f.Entries(context.Background())
	if err != nil || len(entries) == 0 {
		t.Fatalf("no boot entries: %v", err)
	}
	return entries[0].Deployment
}
