package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"elemental/core"
	"elemental/ports"
	"elemental/ports/portstest"
)

// bench is an agent among fakes, in a bubble of time: what takes hours takes no time here.
type bench struct {
	*is.I
	cluster    portstest.Cluster
	plugin     portstest.Plugin
	machine    portstest.Machine
	journal    portstest.Journal
	supervisor portstest.Supervisor
	restarts   atomic.Int64
	allowReset func() error
	postReset  core.Ending
	rejoin     func() // nil where the identity was given by hand
	log        bytes.Buffer
	stop       func()
	stopFor    func(cause error)
}

// story runs a test with an agent that does not run yet.
func story(t *testing.T, tell func(b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{I: is.New(t), stop: func() {}}
		b.plugin.Restarts = true
		b.machine.OnRestart = func(string) error {
			b.restarts.Add(1)
			return nil
		}
		tell(b)
		b.stop()
	})
}

// start runs an agent, as the service manager does after a boot or a crash.
func (b *bench) start() {
	ctx, cancel := context.WithCancelCause(context.Background())
	ended := make(chan error, 1)
	a := &Agent{
		Host: "host-1", PluginName: "fake", Limits: core.DefaultLimits(), Log: slog.New(slog.NewTextHandler(&b.log, nil)), Rejoin: b.rejoin,
		Cluster: &b.cluster, Plugin: &b.plugin, Machine: &b.machine, Journal: &b.journal, Supervisor: &b.supervisor,
		AllowReset: b.allowReset, PostReset: b.postReset,
	}
	go func() { ended <- a.Run(ctx) }()
	b.stopFor = func(cause error) {
		cancel(cause)
		b.NoErr(<-ended)
		b.stop = func() {}
	}
	b.stop = func() { b.stopFor(context.Canceled) }
	synctest.Wait()
}

// boot is a restart of the host.
func (b *bench) boot() {
	b.stop()
	b.machine.Boot()
	b.start()
}

// after lets time pass until nothing more happens.
func (b *bench) after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (b *bench) last() ports.Report {
	reports := b.cluster.Reports()
	if len(reports) == 0 {
		return ports.Report{}
	}
	return reports[len(reports)-1]
}

func (b *bench) version() core.Condition {
	c, _ := core.Find(b.last().Conditions, core.OSVersionReady)
	return c
}

func (b *bench) phases() []core.Phase {
	var all []core.Phase
	for _, r := range b.cluster.Reports() {
		all = append(all, r.Phase)
	}
	return slices.Compact(all)
}

func TestUpgradeWithRestart(t *testing.T) {
	story(t, func(b *bench) {
		b.plugin.Trial = true
		b.cluster.Ask(`{"version":1}`)
		b.start()
		b.Equal(b.restarts.Load(), int64(1))
		b.Equal(b.version().Reason, core.ReasonWaitingForReboot) // It was said before the restart.
		b.after(time.Minute)
		b.Equal(b.restarts.Load(), int64(1))
		b.plugin.Restart()
		b.boot()
		b.Equal(b.version().Status, core.True)
		b.Equal(b.plugin.Done(), []core.Verb{core.VerbStage, core.VerbConfirm})
		b.Equal(b.last().OSVersion.Outcome, core.OutcomeApplied)
		b.Equal(b.last().OSVersion.Attempts, 1)
		b.after(24 * time.Hour)
		b.Equal(b.restarts.Load(), int64(1))
		b.True(b.cluster.Beats() > 200) // A day of leases, and
		b.True(b.cluster.Beats() < 400) // no more.
	})
}

func TestUpgradeWithoutRestartNeverLeavesRunning(t *testing.T) {
	story(t, func(b *bench) {
		b.plugin.Restarts = false
		b.start()
		b.cluster.Ask(`{"version":1}`)
		b.after(0)
		b.Equal(b.version().Status, core.True)
		b.Equal(b.phases(), []core.Phase{core.PhaseRunning})
		b.cluster.Ask(`{ "version" : 1 }`)
		b.after(0)
		b.Equal(b.plugin.Done(), []core.Verb{core.VerbStage}) // The same again is nothing.
	})
}

func TestTheLastOfManyWishesWins(t *testing.T) {
	story(t, func(b *bench) {
		b.plugin.Restarts = false
		b.start()
		for i := range 20 {
			b.cluster.Ask(fmt.Sprintf(`{"version":%d}`, i))
		}
		b.after(time.Second)
		hash, err := core.HashRequest([]byte(`{"version":19}`))
		b.NoErr(err)
		b.Equal(b.last().OSVersion.Applied, hash)
		b.Equal(b.version().Generation, int64(20))
		b.Equal(b.version().Status, core.True)
	})
}

func TestFailuresEndAfterTheirAttempts(t *testing.T) {
	story(t, func(b *bench) {
		b.plugin.Fail(core.VerbStage, core.Failure{Class: core.FailureFailed, Reason: "Broken", Message: "the image is broken"})
		b.cluster.Ask(`{"version":1}`)
		b.start()
		b.Equal(b.last().OSVersion.Failure.Reason, "Broken")
		b.True(!b.last().OSVersion.Next.IsZero())
		b.after(time.Hour)
		b.Equal(b.last().OSVersion.Attempts, 3)
		b.True(b.last().OSVersion.Next.IsZero())
		b.Equal(b.version().Reason, core.ReasonReconciliationFailed)
		b.plugin.Fail(core.VerbStage, nil)
		b.after(24 * time.Hour)
		b.Equal(len(b.plugin.Done()), 0) // It is over until the user asks for something else, or anew.
		b.Equal(b.last().OSVersion.Retry, "")
		b.Equal(string(b.last().Schema), `{"type":"object"}`)
		b.cluster.Wish(func(w *ports.Wish) { w.Retry = "again" })
		b.after(time.Second)
		b.Equal(b.last().OSVersion.Retry, "again") // Whoever waits can tell this outcome from the one before.
		b.Equal(b.restarts.Load(), int64(1))
	})
}

func TestAPluginThatBreaksIsToldAndTriedAgain(t *testing.T) {
	story(t, func(b *bench) {
		b.plugin.Restarts = false
		b.plugin.Fail(core.VerbObserve, errors.New("it crashed"))
		b.cluster.Ask(`{"version":1}`)
		b.start()
		b.Equal(b.version().Reason, core.ReasonReconciliationFailed)
		b.Equal(b.version().Message, "the plugin gives no answer: it crashed")
		b.plugin.Fail(core.VerbObserve, nil)
		b.after(time.Minute)
		b.Equal(b.version().Status, core.True)
	})
}

func TestInvalidRequestsChangeNothing(t *testing.T) {
	story(t, func(b *bench) {
		b.cluster.Ask(`"not an object"`)
		b.start()
		b.after(time.Hour)
		b.Equal(b.version().Reason, core.ReasonInvalidOSVersion)
		b.Equal(len(b.plugin.Done()), 0)
	})
}

func TestFallBackIsToldAndNotTriedAgain(t *testing.T) {
	story(t, func(b *bench) {
		b.cluster.Ask(`{"version":1}`)
		b.start()
		b.plugin.FallBack()
		b.boot()
		b.after(24 * time.Hour)
		b.Equal(b.version().Reason, core.ReasonRolledBack)
		b.Equal(b.restarts.Load(), int64(1))
		b.cluster.Ask(`{"version":2}`)
		b.after(time.Second)
		b.Equal(b.restarts.Load(), int64(2))
	})
}

func TestTheClusterMayBeAway(t *testing.T) {
	story(t, func(b *bench) {
		b.cluster.Away(ports.ErrNotReady)
		b.cluster.Ask(`{"version":1}`)
		b.start()
		b.after(10 * time.Minute)
		b.Equal(b.restarts.Load(), int64(0)) // No restart swallows a status.
		b.cluster.Away(nil)
		b.after(time.Minute)
		b.Equal(b.restarts.Load(), int64(1))
		b.True(len(b.cluster.Reports()) > 0)
	})
}

func TestAnInhibitorHoldsTheRestartUp(t *testing.T) {
	story(t, func(b *bench) {
		var free atomic.Bool
		b.machine.OnRestart = func(string) error {
			if !free.Load() {
				return fmt.Errorf("apt holds an inhibitor lock: %w", ports.ErrNotReady)
			}
			b.restarts.Add(1)
			return nil
		}
		b.cluster.Ask(`{"version":1}`)
		b.start()
		b.after(time.Hour)
		b.Equal(b.last().OSVersion.Outcome, core.OutcomeStaged)
		b.Equal(b.plugin.Done(), []core.Verb{core.VerbStage}) // It is not staged again for that.
		free.Store(true)
		for b.restarts.Load() == 0 {
			b.after(10 * time.Second)
		}
		b.after(4 * time.Minute) // A restart that has begun may take a while.
		b.Equal(b.restarts.Load(), int64(1))
		b.Equal(b.plugin.Done(), []core.Verb{core.VerbStage})
		b.Equal(b.version().Reason, core.ReasonWaitingForReboot)
	})
}

func TestARestartThatCannotBeAskedForCostsNoAttempt(t *testing.T) {
	story(t, func(b *bench) {
		asked := 0
		b.machine.OnRestart = func(string) error {
			asked++
			return errors.New("D-Bus is away")
		}
		b.cluster.Ask(`{"version":1}`)
		b.start()
		b.after(10 * time.Hour)
		b.stop()
		b.Equal(b.plugin.Done(), []core.Verb{core.VerbStage})
		b.Equal(b.last().OSVersion.Attempts, 1)
		b.Equal(b.last().OSVersion.Outcome, core.OutcomeStaged)
		b.True(asked > 10)
		b.True(asked < 100) // It is asked for ever more slowly.
	})
}

func TestAHostMadeAnewIsReportedAnew(t *testing.T) {
	story(t, func(b *bench) {
		b.plugin.Restarts = false
		b.cluster.Ask(`{"version":1}`)
		b.start()
		before := len(b.cluster.Reports())
		b.cluster.Wish(func(w *ports.Wish) { w.Identity = "another" })
		b.after(time.Second)
		b.Equal(len(b.cluster.Reports()), before+1)
		b.Equal(b.last().Identity, "another")
	})
}

func TestArmingAnewIsSeenByItsJudgement(t *testing.T) {
	story(t, func(b *bench) {
		b.machine.Join()
		b.plugin.Fail(core.VerbStage, core.Failure{Class: core.FailureFailed, Message: "the image is broken"})
		b.cluster.Ask(`{"version":1}`)
		b.cluster.Wish(func(w *ports.Wish) { w.Armed = true })
		b.start()
		b.after(time.Hour)
		b.Equal(b.last().OSVersion.Attempts, 3)
		b.plugin.Fail(core.VerbStage, nil)
		// The label went to failed and back to pending, and this agent only saw the last of it.
		b.cluster.Wish(func(w *ports.Wish) { w.Judged = "Failed" })
		b.after(time.Second)
		b.Equal(b.last().OSVersion.Outcome, core.OutcomeStaged)
	})
}

func TestBootstrapping(t *testing.T) {
	story(t, func(b *bench) {
		b.cluster.Ask(`{"version":1}`)
		b.cluster.Bootstrap(ports.BootstrapData{Format: "cloud-config", Data: []byte("#cloud-config")})
		b.start()
		b.plugin.Restart()
		b.boot()
		b.Equal(b.restarts.Load(), int64(2)) // One for the version, and then one for the data.
		b.Equal(string(b.plugin.Bootstrapped().Data), "#cloud-config")
		b.boot()
		b.cluster.Ask(`{"version":2}`)
		b.after(time.Minute)
		b.Equal(b.restarts.Load(), int64(2)) // Bootstrapping is not disturbed.
		b.machine.Join()
		b.after(time.Second)
		c, _ := core.Find(b.last().Conditions, core.BootstrapReady)
		b.Equal(c.Status, core.True)
		b.Equal(b.version().Reason, core.ReasonNotPending)
		b.boot() // The sentinel is gone with /run.
		b.after(time.Hour)
		b.Equal(b.restarts.Load(), int64(2))
		b.cluster.Wish(func(w *ports.Wish) { w.Armed = true })
		b.after(time.Second)
		b.Equal(b.version().Reason, core.ReasonWaitingForDrain)
		b.cluster.Wish(func(w *ports.Wish) { w.Drained = true })
		b.after(time.Second)
		b.Equal(b.restarts.Load(), int64(3))
	})
}

func TestTheDiskMayBeFull(t *testing.T) {
	story(t, func(b *bench) {
		b.journal.Fail(errors.New("no space left on device"))
		b.cluster.Ask(`{"version":1}`)
		b.start()
		b.after(time.Hour)
		b.Equal(len(b.plugin.Done()), 0) // What can't be remembered is not begun.
		b.journal.Fail(nil)
		b.after(time.Minute)
		b.Equal(b.restarts.Load(), int64(1))
	})
}

func TestTheWatchdogIsFedAndTheServiceManagerTold(t *testing.T) {
	story(t, func(b *bench) {
		b.start()
		b.after(time.Minute)
		b.stop()
		told := b.supervisor.Told()
		b.Equal(told[0], "READY=1")
		b.Equal(told[len(told)-1], "STOPPING=1")
		b.True(slices.Contains(told, "WATCHDOG=1"))
	})
}

// Told that the process ends, the service manager would not end it when the host shuts down.
func TestTheServiceManagerIsNotToldOfALifeThatAnotherFollows(t *testing.T) {
	story(t, func(b *bench) {
		b.start()
		b.after(time.Minute)
		b.stopFor(errForgotten)
		b.True(!slices.Contains(b.supervisor.Told(), "STOPPING=1"))
	})
}
