package deploy_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"
	"golang.org/x/sys/unix"

	"elemental/adapters/deploy"
	"elemental/adapters/deploy/reset"
	"elemental/core"
	"elemental/ports"
)

func TestADiskWithoutRoomIsNotReset(t *testing.T) {
	t.Run("as is known before", func(t *testing.T) {
		h := lived(t)
		h.mustStage(h.put("v3", system(t, "3")))
		before := snapshot(t, h.Root)
		next := h.next()
		h.free = 1 << 20
		failure := failureOf(t, h.TriggerReset(t.Context(), resetRequest("a", ""), nil))
		h.is.Equal(failure.Reason, deploy.ReasonDiskFull)
		h.is.True(strings.Contains(failure.Message, "preparing the reset needs"))
		h.is.Equal(snapshot(t, h.Root), before)
		h.is.Equal(h.next(), next) // What is staged stays so.
	})
	t.Run("as is found out", func(t *testing.T) {
		at, _ := smallDisk(t, 160)
		h := newHost(t, func(c *deploy.Config) { c.Root = filepath.Join(at, "elemental") })
		h.install(h.put("v1", system(t, "1", item{name: "var/lib/large", content: noise(12 << 20)})))
		var state unix.Statfs_t
		h.is.NoErr(unix.Statfs(at, &state))
		filler := int(state.Bavail)*int(state.Bsize) - 8<<20 // What is left is less than the fresh /var takes.
		h.is.NoErr(os.WriteFile(filepath.Join(at, "filler"), make([]byte, filler), 0o600))
		before := snapshot(t, h.Root)
		failure := failureOf(t, h.TriggerReset(t.Context(), resetRequest("a", ""), nil))
		h.is.Equal(failure.Reason, deploy.ReasonDiskFull)
		h.is.Equal(snapshot(t, h.Root), before)
		h.expectStage("a", core.ResetNone, false)
		h.is.NoErr(os.Remove(filepath.Join(at, "filler")))
		h.is.NoErr(h.TriggerReset(t.Context(), resetRequest("a", ""), nil))
	})
}

// TestAPowerCutWhileAHostIsReset looks at the disk as a power cut leaves it at each step of all three parts of a reset: the
// next boot finds the old system or the fresh one, whole, and the reset comes to its end.
func TestAPowerCutWhileAHostIsReset(t *testing.T) {
	is := is.New(t)
	at, file := smallDisk(t, 32)
	h, f := crashHost(t, at)
	v1 := h.put("v1", system(t, "1"))
	is.NoErr(h.Install(t.Context(), request(v1), nil))
	one := f.Boot(t)
	h.mustStage(h.put("v2", system(t, "2")))
	two := f.Boot(t)
	is.NoErr(h.Confirm(t.Context(), request("fake://v2")))
	h.write("var/lib/elemental/agent/identity/key", "me")
	h.write("var/lib/mine/data", "mine")
	h.write("deployments/"+two+"/etc/secret", "mine")
	is.NoErr(h.Unstage(t.Context()))
	h.mustStage(h.put("v3", system(t, "3")))
	var cuts []string
	cut := func(name string) {
		to := filepath.Join(filepath.Dir(file), fmt.Sprintf("%02d-%s", len(cuts), name))
		is.NoErr(exec.Command("cp", "--sparse=always", file, to).Run())
		cuts = append(cuts, to)
	}
	steps := func(p ports.Progress) { cut(p.Step) }
	is.NoErr(h.TriggerReset(t.Context(), resetRequest("a", ""), steps))
	cut("triggered")
	f.Boot(t)
	_, err := reset.CarryOut(h.Root, two)
	is.NoErr(err)
	cut("carried-out")
	is.NoErr(h.Reset(t.Context(), resetRequest("b", ""), steps))
	cut("done")

	for n, copied := range cuts {
		t.Run(filepath.Base(copied), func(t *testing.T) { endAfterCut(t, copied, n, one, two) })
	}
}

// endAfterCut starts a host from the disk of a cut, the n-th of all, and brings the reset of two to its end.
func endAfterCut(t *testing.T, disk string, n int, one, two string) {
	is := is.New(t)
	after, g := crashHost(t, mountDisk(t, disk))
	is.True(g.next(t) != one)
	booted := g.Boot(t)
	_, err := reset.CarryOut(after.Root, booted)
	is.NoErr(err)
	old := exists(t, after.path("var/lib/mine/data"))
	if booted == two {
		is.Equal(old, exists(t, after.path("deployments", two, "etc/secret"))) // Never half.
	}
	after.expectFile(after.path("var/lib/elemental/agent/identity/key"), "me")
	if booted != two { // What is staged is booted only where nothing was triggered.
		is.True(n < 2)
		return
	}
	seen, err := after.Observe(t.Context(), ports.Request{Boot: "after"})
	is.NoErr(err)
	if seen.Reset == core.ResetNone {
		is.True(n < 3)
		is.NoErr(after.TriggerReset(t.Context(), resetRequest("after", ""), nil))
		_, err = reset.CarryOut(after.Root, g.Boot(t))
		is.NoErr(err)
	}
	is.NoErr(after.Reset(t.Context(), resetRequest("end", ""), nil))
	after.expectFile(after.path("var/lib/mine"), "")
	after.expectFile(after.path("deployments", two, "etc/secret"), "")
	after.expectFile(after.path("var/lib/elemental/agent/identity/key"), "me")
	is.True(!exists(t, after.path("deployments", one)))
}

// TestAResetCutShortAtAnyStepIsGoneOnWith cancels each verb at each of its steps.
func TestAResetCutShortAtAnyStepIsGoneOnWith(t *testing.T) {
	for _, step := range []string{deploy.StepPrepare, deploy.StepPublish, deploy.StepRemove, deploy.StepCollect} {
		t.Run(step, func(t *testing.T) {
			h := lived(t)
			two := h.next()
			ctx, cancel := context.WithCancel(t.Context())
			short := func(p ports.Progress) {
				if p.Step == step {
					cancel()
				}
			}
			if err := h.TriggerReset(ctx, resetRequest("a", ""), short); err != nil {
				h.is.True(errors.Is(err, context.Canceled))
				h.expectFile(h.path("var/lib/mine/data"), "mine")
				h.is.NoErr(h.TriggerReset(t.Context(), resetRequest("a", ""), nil))
			}
			h.restart()
			if err := h.Reset(ctx, resetRequest("b", ""), short); err != nil {
				h.is.True(errors.Is(err, context.Canceled))
				h.is.NoErr(h.Reset(t.Context(), resetRequest("b", ""), nil))
			}
			h.expectStage("b", core.ResetDone, false)
			h.expectFresh(two)
		})
	}
}
