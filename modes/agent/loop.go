package agent

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"elemental/core"
	"elemental/ports"
)

// Agent keeps one host at what its cluster wishes. It is one loop: it takes the newest wish, looks at the
// host, lets the core decide, and carries that out, in a pass at a time.
type Agent struct {
	Host       string
	PluginName string
	Limits     core.Limits

	Cluster    ports.Cluster
	Plugin     ports.Plugin
	Machine    ports.Machine
	Journal    ports.Journal
	Supervisor ports.Supervisor
	Log        *slog.Logger

	PostInstall, PostReset core.Ending

	// Names says that the host is to bear the name of its object. One that was given its identity by hand keeps its own.
	Names bool
	// Orders are what the host's registration tells its plugin.
	Orders ports.Orders
	// Installs lets the plugin install the system.
	Installs bool
	// Tell tells whoever is at the terminal; nil: nobody is.
	Tell func(line string)
	// Installed is called once when nothing is left to install, or the end of this boot was asked for: whoever lets the
	// agent install ends it then.
	Installed func()
	// AllowReset says whether the host lets its cluster reset it; nil: it does.
	AllowReset func() error
	// Keep are the paths of what must outlive a reset: what makes this host itself.
	Keep []string
	// Files are what an installed system needs to be this host; nil: it gets none.
	Files func(context.Context) ([]ports.File, error)

	// Request is the UID of the request by which the host got its identity; empty where it was given by hand.
	Request string
	// Rejoin is called when the cluster does not know this host, or has revoked its identity, and it may ask to join
	// again; nil: it may not.
	Rejoin func()
	// Connected is called once, when the cluster first answered.
	Connected func()

	memory   core.Journal
	silences int
	reset    core.ResetStage // as the plugin last said
	schema   []byte          // as the plugin last described itself
	joined   bool            // the cluster was told that the host is bootstrapped
	said     string          // what was last logged, so that nothing is said twice
}

// aliveEvery is how often the watchdog is fed: well within half of what the unit file allows.
const aliveEvery = 15 * time.Second

// jitter spreads what many hosts would do at once; it is in [0, 1).
func jitter() float64 { return rand.Float64() }

// Run works until the context ends. Whatever it was doing is then cut short and taken up at the next start.
func (a *Agent) Run(ctx context.Context) error {
	a.load(ctx)
	background, stop := context.WithCancel(ctx)
	var others sync.WaitGroup
	defer others.Wait()
	defer stop()
	wishes, wakes := make(chan ports.Wish, 1), make(chan struct{}, 1)
	others.Go(func() { a.follow(background, wishes) })
	others.Go(func() { a.followJoined(background, wakes) })
	others.Go(func() { a.beat(background) })
	if err := a.Supervisor.Ready(); err != nil {
		a.Log.Warn("the service manager does not listen", "error", err)
	}
	defer a.stopping(ctx)
	return a.loop(ctx, wishes, wakes)
}

// stopping tells the service manager that the process ends, whether or not it listens. One that only connects anew must
// not tell it: the service manager would wait for its end from then on, and not ask for it when the host shuts down.
func (a *Agent) stopping(ctx context.Context) {
	if !errors.Is(context.Cause(ctx), errConnectAnew) {
		_ = a.Supervisor.Stopping()
	}
}

// load reads the journal, and notes an attempt that the last process did not live to end.
func (a *Agent) load(ctx context.Context) {
	memory, err := a.Journal.Load(ctx)
	if err != nil {
		a.Log.Warn("the journal is of no use", "error", err)
	}
	facts, err := a.Machine.Facts(ctx)
	if err != nil { // The first look says so, too.
		a.Log.Warn("the host's facts can't be read", "error", err)
	}
	a.memory = memory.Interrupted(facts.BootID, time.Now(), jitter())
}

func (a *Agent) follow(ctx context.Context, wishes chan ports.Wish) {
	known := false
	err := a.Cluster.Follow(ctx, func(w ports.Wish) {
		if !known && a.Connected != nil {
			a.Connected()
		}
		known = true
		select { // Only the newest wish counts.
		case <-wishes:
		default:
		}
		wishes <- w
	})
	if err != nil {
		a.Log.Error("the cluster can't be followed", "error", err)
	}
}

func (a *Agent) followJoined(ctx context.Context, wakes chan<- struct{}) {
	for failures := 1; ctx.Err() == nil; failures++ {
		err := a.Machine.FollowJoined(ctx, func() {
			select {
			case wakes <- struct{}{}:
			default:
			}
		})
		if err == nil {
			return
		}
		a.Log.Warn("the end of bootstrapping may be seen late", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(core.Backoff(failures, jitter())):
		}
	}
}

// beat renews the Lease: at once, since that is how a host is first seen, and then ever again.
func (a *Agent) beat(ctx context.Context) {
	for {
		wait := time.Duration(float64(core.LeaseInterval) * (0.8 + 0.4*jitter()))
		if err := a.Cluster.Heartbeat(ctx); err != nil && ctx.Err() == nil {
			a.Log.Debug("the lease was not renewed", "error", err)
			wait = core.Backoff(1, jitter())
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// loop starts a pass when something changed or a moment has come, and feeds the watchdog meanwhile. A wish
// that makes the running pass pointless ends it.
func (a *Agent) loop(ctx context.Context, wishes <-chan ports.Wish, wakes <-chan struct{}) error {
	var (
		wish    ports.Wish
		heard   bool                       // there is a wish
		due     bool                       // something changed since the last pass began
		running context.CancelFunc         // ends the pass that runs; nil when none does
		done    = make(chan time.Duration) // a pass ended; when to look again
		again   = time.NewTimer(0)
		alive   = time.NewTicker(aliveEvery)
	)
	again.Stop()
	defer alive.Stop()
	for {
		if heard && due && running == nil {
			pass, cancel := context.WithCancel(ctx)
			running, due = cancel, false
			go func(wish ports.Wish) { done <- a.pass(pass, wish) }(wish)
		}
		select {
		case <-ctx.Done():
			if running != nil {
				running()
				<-done
			}
			return nil
		case w := <-wishes:
			if running != nil && supersedes(w, wish) {
				a.Log.Info("the wish changed: what runs is ended")
				running()
			}
			due = due || !heard || changes(w, wish)
			wish, heard = w, true
		case <-wakes:
			due = true
		case <-again.C:
			due = true
		case wait := <-done:
			running()
			running = nil
			again.Stop()
			if wait > 0 {
				again.Reset(wait)
			}
		case <-alive.C:
			if err := a.Supervisor.Alive(); err != nil {
				a.Log.Debug("the watchdog was not fed", "error", err)
			}
		}
	}
}

// changes says whether a wish is another one. What the agent reported comes back as the same.
func changes(next, before ports.Wish) bool {
	return next.Desired != before.Desired || next.Identity != before.Identity || next.Forgotten || next.Registered != before.Registered || next.Revoked != before.Revoked || next.Reported != before.Reported || next.Invalid != before.Invalid
}

// supersedes says whether a wish makes work on the one before pointless.
func supersedes(next, before ports.Wish) bool {
	return next.Version != before.Version || next.Retry != before.Retry || next.Reset != before.Reset ||
		next.Registered != before.Registered || before.Armed && !next.Armed || next.Paused && !before.Paused
}

// mostActs bounds a pass: a host that is never done in so many acts is looked at again later, whatever is
// wrong with it, so that nothing keeps a host busy.
const mostActs = 50

// pass looks and acts until nothing is left to do now, and returns when to look again; 0 is when something
// changes.
func (a *Agent) pass(ctx context.Context, wish ports.Wish) time.Duration {
	for range mostActs {
		if ctx.Err() != nil {
			return 0
		}
		seen, err := a.observe(ctx, wish)
		if err != nil {
			a.Log.Error("the host can't be observed", "error", err)
			return core.Backoff(1, jitter())
		}
		decision := core.Decide(wish.Desired, seen.Observed)
		a.say(decision)
		if a.isInstalled(wish, seen) {
			if err = a.leaveInstalled(ctx, wish, seen, decision); err == nil {
				return 0
			}
			a.Log.Warn("the cluster does not know yet that the system is installed", "error", err)
			return core.Backoff(1, jitter())
		}
		acted, err := a.act(ctx, wish, seen, decision)
		if err != nil && ctx.Err() == nil {
			a.Log.Warn("it is tried again", "because", decision.Because, "error", err)
			return core.Backoff(1, jitter())
		}
		if !acted {
			return decision.Again
		}
	}
	a.Log.Error("the host comes to no rest", "acts", mostActs)
	return core.Backoff(mostActs, jitter())
}

// say logs a decision that is not the one before.
func (a *Agent) say(d core.Decision) {
	version, _ := core.Find(d.Conditions, core.OSVersionReady)
	line := d.Because + "\n" + version.Message
	if line == a.said {
		return
	}
	a.said = line
	a.tell(d.Because)
	a.Log.Info(d.Because, "phase", string(d.Phase), "osVersionReady", string(version.Status), "reason", version.Reason, "message", version.Message)
	if err := a.Supervisor.Status(d.Because); err != nil {
		a.Log.Debug("the service manager does not listen", "error", err)
	}
}

// failure turns an error into what it means for the next attempt. One without a class is a plugin that
// broke.
func failure(err error) core.Failure {
	var f core.Failure
	if errors.As(err, &f) {
		return f
	}
	return core.Failure{Class: core.FailureFailed, Message: err.Error()}
}
