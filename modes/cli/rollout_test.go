package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
	"github.com/urfave/cli/v2"

	"elemental/core"
	"elemental/ports"
	"elemental/ports/portstest"
)

func TestRolloutKeepsItsBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		f := newFleet(t, numbered(12)...)
		f.takes = func(name string) time.Duration { return time.Duration(len(name)+int(name[7])%5) * time.Second }
		begun := time.Now()
		out, errs, status := f.upgrade(t.Context(), func(u *upgrade) { u.parallel = 3 })
		is.Equal(status, 0)
		is.Equal(errs, "")
		is.Equal(f.most, 3) // at most, and really so many
		is.Equal(slices.Sorted(slices.Values(f.asked)), numbered(12))
		is.True(time.Since(begun) < 12*12*time.Second/2) // the next is asked as soon as one is done
		is.True(strings.HasPrefix(out, "12 hosts\n"))
		is.True(strings.HasSuffix(out, "\n12 of 12 hosts run it\n"))
	})
}

func TestRolloutStopsAtFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		f := newFleet(t, "a", "b", "c", "d", "e")
		f.ends = map[string]func(*ports.Target){"b": failing(core.ReasonRolledBack, "it fell back to os:1")}
		out, errs, status := f.upgrade(t.Context(), func(u *upgrade) { u.parallel = 2; f.takes = quick("b") })
		is.Equal(status, exitFailed)
		is.Equal(slices.Sorted(slices.Values(f.asked)), []string{"a", "b"}) // and the one that was under way is waited for
		is.Equal(errs, "1 run it, 1 failed: b: RolledBack: it fell back to os:1, 3 not asked: c, d, e")
		is.True(strings.Contains(out, " b RolledBack: it fell back to os:1\n"))
		is.Equal(f.Document(t, core.KindHost, "c"), `{"osVersion":{"imageUri":"oci://r/os:1"}}`)
	})
}

// quick lets one host be faster than the others.
func quick(name string) func(string) time.Duration {
	return func(who string) time.Duration {
		if who == name {
			return time.Second
		}
		return time.Minute
	}
}

func TestRolloutKeepsGoing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		f := newFleet(t, "a", "b", "c", "d")
		f.ends = map[string]func(*ports.Target){"a": failing(core.ReasonRolledBack, "it fell back"), "c": failing(core.ReasonInvalidOSVersion, "no")}
		_, errs, status := f.upgrade(t.Context(), func(u *upgrade) { u.parallel, u.keepGoing = 1, true })
		is.Equal(status, exitFailed)
		is.Equal(f.most, 1)
		is.Equal(f.asked, []string{"a", "b", "c", "d"})
		is.Equal(errs, "2 run it, 2 failed: a, c\n  a: RolledBack: it fell back\n  c: InvalidOSVersion: no")
	})
}

func TestRolloutWithRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		f := newFleet(t, "a", "b", "c")
		f.deny = map[string]error{"b": fmt.Errorf("asking host default/b: %w", ports.ErrDenied)}
		_, errs, status := f.upgrade(t.Context(), func(u *upgrade) { u.parallel = 1 })
		is.Equal(status, exitUnasked)
		is.Equal(errs, "1 run it, 1 failed: b: asking host default/b: denied, 1 not asked: c")
		_, errs, status = f.upgrade(t.Context(), func(u *upgrade) { u.wait, u.keepGoing, u.request.image = false, true, "oci://r/os:3" })
		is.Equal(status, exitUnasked)
		is.Equal(errs, "2 were asked, 1 failed: b: asking host default/b: denied")
	})
}

func TestRolloutTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		f := newFleet(t, "a", "b", "c", "d")
		f.takes = quick("a")
		f.ends = map[string]func(*ports.Target){"b": func(*ports.Target) {}}
		_, errs, status := f.upgrade(t.Context(), func(u *upgrade) { u.parallel, u.timeout = 1, time.Minute })
		is.Equal(status, exitTimedOut)
		is.Equal(errs, "not done after 1m0s: 1 run it, 1 goes on by itself: b, 2 not asked: c, d")
	})
}

func TestRolloutInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		f := newFleet(t, "a", "b", "c", "d")
		ctx, cancel := context.WithCancel(t.Context())
		f.after = func(name string) {
			if name == "c" {
				time.AfterFunc(time.Second, cancel)
			}
		}
		_, errs, status := f.upgrade(ctx, func(u *upgrade) { u.parallel = 2; f.takes = quick("a") })
		is.Equal(status, exitInterrupted)
		is.Equal(errs, "interrupted: 1 run it, 2 go on by themselves: b, c, 1 not asked: d")
		is.Equal(f.Document(t, core.KindHost, "c"), `{"osVersion":{"imageUri":"oci://r/os:2"}}`) // the requests stand
		time.Sleep(time.Hour)                                                                    // The hosts end before the test does.
	})
}

func TestRolloutCutOffWhileAsking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		for n, words := range map[int]string{
			1: "asking host default/edge-001 was cut off: it may have been asked, or not",
			2: "interrupted: 0 run it, 2 may have been asked: edge-001, edge-002",
		} {
			f := newFleet(t, numbered(n)...)
			ctx, cancel := context.WithCancel(t.Context())
			targets, err := f.List(ctx, ports.Selection{Kind: core.KindHost})
			is.NoErr(err)
			time.AfterFunc(time.Second, cancel)
			var out bytes.Buffer
			err = rollout{
				world: world{now: time.Now, out: &out}, operator: f, kind: core.KindHost, wait: true,
				ask: func(ctx context.Context, _ ports.Target) (ports.Target, error) {
					<-ctx.Done()
					return ports.Target{}, fmt.Errorf("asking: %w", ctx.Err())
				},
			}.run(ctx, targets)
			is.Equal(err.Error(), words)
			var named cli.ExitCoder
			is.True(errors.As(err, &named))
			is.Equal(named.ExitCode(), exitInterrupted)
		}
	})
}

func TestRolloutOfWhoIsDeleted(t *testing.T) {
	for name, gone := range map[string]string{"while it works": "a", "before it was asked": "c"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				f := newFleet(t, "a", "b", "c", "d")
				f.after = func(asked string) {
					if asked == "b" {
						time.AfterFunc(time.Second, func() { f.delete(gone) })
					}
				}
				_, errs, status := f.upgrade(t.Context(), func(u *upgrade) { u.parallel = 2 })
				is.Equal(status, exitFailed)
				is.True(strings.Contains(errs, "1 failed: "+gone+": Deleted: the host was deleted"))
				is.True(!slices.Contains(f.asked, "d"))
			})
		})
	}
}

func TestRolloutOfWhoIsGoneBeforeTheWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		f := newFleet(t, "a", "b", "c")
		f.after = func(asked string) {
			if asked == "b" {
				f.delete("c")
			}
		}
		_, errs, status := f.upgrade(t.Context(), func(u *upgrade) { u.parallel = 2 })
		is.Equal(status, exitFailed)
		is.Equal(errs, "2 run it, 1 failed: c: Deleted: the host was deleted")
	})
}

// A watch is slower than an answer: what it shows of before counts for nothing.
func TestRolloutIgnoresThePast(t *testing.T) {
	is := is.New(t)
	before := ports.Target{Name: "a", Standing: core.Standing{Generation: 1, Requested: "old", Retry: "1", Retried: "1", Conditions: ready(core.KindHost, 1)}}
	asked := before
	asked.Generation, asked.Requested = 2, "new"
	m := &member{before: before, asked: asked}
	is.True(m.precedes(before))
	is.True(!m.precedes(asked))
	asked = before
	asked.Retry = "2"
	m = &member{before: before, asked: asked}
	is.True(m.precedes(before))
	is.True(!m.precedes(asked))
	other := asked
	other.Retry = "3"
	is.True(!m.precedes(other)) // someone else has renewed it since
}

func TestRolloutTellsTwinsApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		f := newFleet(t, "a")
		f.ends = map[string]func(*ports.Target){"a": func(h *ports.Target) {
			h.Created, h.Conditions = noon, ready(core.KindHost, h.Generation)
		}}
		_, errs, status := f.upgrade(t.Context(), func(*upgrade) {})
		is.Equal(status, exitFailed)
		is.Equal(errs, "host default/a: Deleted: the host was deleted")
	})
}

func TestRolloutOfMany(t *testing.T) {
	is := is.New(t)
	least := time.Hour
	for range 3 { // The machine under test does other things, too.
		f := newFleet(t, numbered(500)...)
		f.takes = func(string) time.Duration { return 0 }
		begun := time.Now()
		_, errs, status := f.upgrade(t.Context(), func(u *upgrade) { u.timeout = time.Minute })
		least = min(least, time.Since(begun))
		is.Equal(status, 0)
		is.Equal(errs, "")
		is.Equal(f.watches, 1) // and not one for each
	}
	t.Logf("500 hosts take %s", least)
	is.True(least < time.Second)
}

func TestWait(t *testing.T) {
	staging := func(h *ports.Target) {
		h.Phase = core.PhaseReconcilingOSVersion
		h.Conditions = []core.Condition{condition(core.OSVersionReady, core.False, core.ReasonWaitingForOSReconcile, "it is staged", 2)}
	}
	fetching := func(percent int) func(*ports.Target) {
		return func(h *ports.Target) {
			staging(h)
			h.OSVersion.Progress = ports.Progress{Step: "Fetching", Percent: percent, Message: "of 8 MB"}
		}
	}
	done := func(h *ports.Target) {
		h.Phase, h.OSVersion.Progress, h.Conditions = core.PhaseRunning, ports.Progress{}, ready(core.KindHost, 2)
	}
	for _, c := range []struct {
		name   string
		steps  []func(*ports.Target)
		status int
		out    []string
		errs   string
	}{
		{"done", []func(*ports.Target){staging, fetching(10), fetching(20), done}, 0, []string{
			"12:00:00 a Reconciling OS Version: WaitingForOSReconcile: it is staged\n",
			"12:00:00 a Reconciling OS Version: Fetching\n", "host default/a is ready: it runs\n",
		}, ""},
		{"rolled back", []func(*ports.Target){failing(core.ReasonRolledBack, "the boot loader fell back from os:2 to os:1")}, exitFailed, nil,
			"host default/a: RolledBack: the boot loader fell back from os:2 to os:1"},
		{"failed for good", []func(*ports.Target){failing(core.ReasonReconciliationFailed, "no room")}, exitFailed, nil, "OSVersionReconciliationFailed: no room"},
		{"invalid", []func(*ports.Target){failing(core.ReasonInvalidOSVersion, "osVersion.imageUri: no such thing")}, exitFailed, nil, "InvalidOSVersion: osVersion.imageUri: no such thing"},
		{"replaced", []func(*ports.Target){func(h *ports.Target) { h.Requested = "other" }}, exitFailed, nil, "Superseded"},
		{"too slow", []func(*ports.Target){staging}, exitTimedOut, nil, "is not done after 500ms: WaitingForOSReconcile: it is staged"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				d := &desk{Operator: &portstest.Operator{}}
				d.Put(t, ports.Target{Name: "a"}, nil, `{"osVersion":{"imageUri":"oci://r/os:1"}}`)
				timeout := "20s"
				if c.status == exitTimedOut {
					timeout = "500ms"
				}
				for _, step := range c.steps {
					d.steps = append(d.steps, func(d *desk) { d.Change(t, "a", step) })
				}
				out, errs, status := d.types(t, "upgrade host a --image r/os:2 --wait --timeout "+timeout)
				t.Logf("%q", out)
				is.Equal(status, c.status)
				is.True(strings.Contains(errs, c.errs))
				for _, part := range c.out {
					is.Equal(strings.Count(out, part), 1) // each change is shown once
				}
			})
		})
	}
}
