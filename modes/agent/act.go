package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"elemental/core"
	"elemental/ports"
)

// act carries out a decision's effects in their order. It says whether the host or the agent's memory may
// have changed, so that it is worth another look at once. An error is the world's, and ends the list; what
// a plugin could not do is no error but a memory, of which the next look decides.
func (a *Agent) act(ctx context.Context, wish ports.Wish, seen sight, d core.Decision) (acted bool, err error) {
	var unsaid error // A report that nothing waits for may fail: it is made again when all else is done.
	for _, effect := range d.Effects {
		switch e := effect.(type) {
		case core.Register:
			a.register(wish)
		case core.Report:
			if err = a.Cluster.Report(ctx, a.report(wish, seen, d)); err == nil {
				told, _ := core.Find(d.Conditions, core.BootstrapReady)
				a.joined = told.Status == core.True
			}
			if !e.Required {
				unsaid, err = err, nil
			}
		case core.Remember:
			acted, err = true, a.save(ctx, e.Journal)
		case core.Call:
			return true, a.call(ctx, wish, seen, d, e.Verb)
		case core.Restart:
			return true, a.endBoot(ctx, seen, e.Why, "the host restarts", a.Machine.Restart)
		case core.PowerOff:
			return true, a.endBoot(ctx, seen, e.Why, "the host turns off", a.Machine.PowerOff)
		}
		if err != nil {
			return acted, err
		}
		seen.Journal = a.memory
	}
	if acted {
		return true, nil
	}
	return false, unsaid
}

// register lets a host that the cluster does not know, or has revoked, ask to join again, where it may.
func (a *Agent) register(wish ports.Wish) {
	said := "this host's ElementalHost does not exist: create it, or correct cluster.host and cluster.namespace in the agent's configuration"
	switch {
	case a.Rejoin != nil && wish.Revoked:
		said = "the identity of this host was revoked; it asks to be let in again"
	case a.Rejoin != nil:
		said = "the cluster does not know this host any more; it asks to join again"
	case wish.Revoked:
		said = "the identity of this host was revoked: give it another one in cluster.kubeconfig, and remove the annotation from its ElementalHost"
	}
	a.Log.Warn(said, "host", a.Host)
	if a.Rejoin != nil {
		a.Rejoin()
	}
}

func (a *Agent) save(ctx context.Context, memory core.Journal) error {
	if err := a.Journal.Save(context.WithoutCancel(ctx), memory); err != nil {
		return fmt.Errorf("remembering what is being done: %w", err)
	}
	a.memory = memory
	return nil
}

// call lets the plugin carry out a verb, and remembers before that it began and after it how it went. A call
// that was cut short because the wish changed, or the agent ends, did not fail.
func (a *Agent) call(ctx context.Context, wish ports.Wish, seen sight, d core.Decision, verb core.Verb) error {
	if err := a.save(ctx, a.memory.Begin(verb, seen.Boot, time.Now(), jitter())); err != nil {
		return err
	}
	seen.Journal = a.memory
	began := time.Now()
	err := a.carryOut(ctx, wish, seen, d, verb)
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		f := failure(err)
		a.tell(fmt.Sprintf("the plugin failed to %s, and is asked again: %s", verb, f.Error()))
		a.Log.Warn("the plugin failed", "verb", string(verb), "class", string(f.Class), "reason", f.Reason, "error", f.Error(), "took", time.Since(began).Round(time.Millisecond))
		return a.save(ctx, a.memory.Fail(verb, f, time.Now(), jitter()))
	}
	a.Log.Info("the plugin is done", "verb", string(verb), "took", time.Since(began).Round(time.Millisecond))
	done := a.memory.Succeed(verb)
	if verb == core.VerbInstallCloudConfig {
		done = done.Installed(seen.CloudConfig)
	}
	return a.save(ctx, done)
}

func (a *Agent) carryOut(ctx context.Context, wish ports.Wish, seen sight, d core.Decision, verb core.Verb) error {
	request := a.request(wish, seen.Boot)
	if verb == core.VerbBootstrap {
		data, err := a.Cluster.BootstrapData(ctx)
		if err != nil {
			return core.Failure{Class: core.FailureRetryable, Message: err.Error()}
		}
		request.Bootstrap = &data
	}
	if err := a.instruct(ctx, &request, verb); err != nil {
		return err
	}
	if verb == core.VerbTriggerReset && a.AllowReset != nil {
		if err := a.AllowReset(); err != nil {
			return err
		}
	}
	progress := a.follower(ctx, wish, seen, d)
	defer progress.stop()
	return a.Plugin.Do(ctx, verb, request, func(p ports.Progress) {
		progress.say(p)
		a.tellProgress(p)
	})
}

// instruct adds to a request what its verb is about, as the host's registration and its own configuration have it.
func (a *Agent) instruct(ctx context.Context, request *ports.Request, verb core.Verb) (err error) {
	switch verb {
	case core.VerbSetHostname:
		request.Hostname = a.Host
	case core.VerbInstallCloudConfig:
		request.CloudConfig = object(a.Orders.CloudConfig)
	case core.VerbTriggerReset, core.VerbReset:
		request.Options, request.Keep = object(a.Orders.Reset), a.Keep
	case core.VerbInstall:
		request.Options, request.CloudConfig = object(a.Orders.Install), object(a.Orders.CloudConfig)
		if a.Names {
			request.Hostname = a.Host
		}
		if a.Files != nil {
			if request.Files, err = a.Files(ctx); err != nil {
				err = core.Failure{Class: core.FailureRetryable, Message: err.Error()}
			}
		}
	default: // The others are about the version alone.
	}
	return err
}

// object is a JSON object as plugins take it; nil where there is none.
func object(text string) []byte {
	if text == "" {
		return nil
	}
	return []byte(text)
}

// endBoot asks for the end of this boot. Where it can't be had now, that is no failure of the version: what is
// staged waits for it.
func (a *Agent) endBoot(ctx context.Context, seen sight, why, what string, ask func(context.Context, string) error) error {
	if err := a.save(ctx, a.memory.Restart(seen.Boot, time.Now())); err != nil {
		return err
	}
	a.Log.Info(what, "why", why)
	err := ask(context.WithoutCancel(ctx), why) // Who knows this host changes nothing about it.
	if err == nil {
		a.tell(what)
		if a.Installs { // Nothing is left to do for whoever installs, however long the end of the boot takes.
			a.Installed()
		}
		return nil
	}
	a.Log.Warn("the end of this boot can't be had", "error", err)
	f := core.Failure{Class: core.FailureRetryable, Reason: "RestartFailed", Message: err.Error()}
	if errors.Is(err, ports.ErrNotReady) {
		f.Reason = "RestartInhibited"
	}
	return a.save(ctx, a.memory.Fail(core.VerbRestart, f, time.Now(), jitter()))
}
