package deploy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"elemental/core"
	"elemental/ports"
)

// ReasonRolledBack is the reason of not confirming a running trial that was rolled back by hand.
const ReasonRolledBack = "RolledBack"

// Unstage takes back what waits for its first boot, and forgets trials that fell. What they wrote stays on the disk
// until the next collection, so that staging it again is cheap.
func (e *Engine) Unstage(ctx context.Context) error {
	unlock, err := e.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	now, err := e.look(ctx)
	if err != nil {
		return err
	}
	return e.dropTrials(ctx, now)
}

// dropTrials takes back what waits for its first boot, and forgets trials that fell.
func (e *Engine) dropTrials(ctx context.Context, now state) error {
	for _, entry := range now.entries {
		if !entry.Trial || entry.Deployment == now.booted {
			continue
		}
		if err := e.Loader.Remove(ctx, entry.Deployment); err != nil {
			return fmt.Errorf("unstaging deployment %s: %w", entry.Deployment, err)
		}
	}
	return nil
}

// Confirm ends the trial of the running system once its health checks hold, and then collects what is no longer
// needed. A system that is not on trial is confirmed already. One that is not healthy stays on trial, and why is
// written down where it survives the fallback. Others may confirm at the same time: the checks hold no lock.
func (e *Engine) Confirm(ctx context.Context, request ports.Request) error {
	now, err := e.look(ctx)
	if err != nil {
		return err
	}
	if err := e.checkBooted(now); err != nil {
		return err
	}
	if !now.onTrial() {
		return nil
	}
	if now.rolledBack() {
		return rolledBackByHand()
	}
	unhealthy := e.healthy(ctx, e.checksOf(now, request))
	if unhealthy != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	unlock, err := e.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if now, err = e.look(ctx); err != nil || !now.onTrial() {
		return err
	}
	switch { // The checks take their time: meanwhile someone may have decided otherwise.
	case now.rolledBack():
		return rolledBackByHand()
	case unhealthy != nil:
		return e.refuse(now, unhealthy)
	default:
		return e.keep(ctx, now)
	}
}

// refuse leaves the running system on trial, and keeps why.
func (e *Engine) refuse(now state, unhealthy error) error {
	reason := fmt.Sprintf("%s (%s)", unhealthy, e.Now().UTC().Format(time.RFC3339))
	if err := e.Blame(now.booted, reason); err != nil {
		e.Log.Warn("the reason of the failure could not be kept", "error", err)
	}
	return core.Failure{Class: core.FailureFailed, Reason: ReasonUnhealthy, Message: unhealthy.Error()}
}

// rolledBack says that the running system is a trial that was given up: it has no tries left, and what the boot
// loader chooses next was raised above it. A trial on its last try has none left either, and is still above all.
func (s state) rolledBack() bool {
	running, ok := s.entry(s.booted)
	return ok && running.Trial && running.Tries == 0 && s.entries[0].Order > running.Order
}

// rolledBackByHand says so. It counts against nothing: whoever rolled back knows, and the restart ends it.
func rolledBackByHand() core.Failure {
	return core.Failure{
		Class: core.FailureRetryable, Reason: ReasonRolledBack,
		Message: "the running system is on trial and was rolled back by hand; restart the host to start the system before it",
	}
}

// keep ends the trial of the running system.
func (e *Engine) keep(ctx context.Context, now state) error {
	if err := e.Loader.Confirm(ctx, now.booted); err != nil {
		return fmt.Errorf("confirming deployment %s: %w", now.booted, err)
	}
	e.Log.Info("confirmed", "deployment", now.booted)
	// From here on nothing is an error: the system is good, and what is left over is tried again next time.
	if err := os.Remove(e.deployment(now.booted, failureFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		e.Log.Warn("forgetting why an earlier boot was not healthy", "error", err)
	}
	if r := now.records[now.booted]; r.UpgradeRecovery && !r.Recovery {
		if err := e.setRecovery(now, now.booted); err != nil {
			e.Log.Warn("renewing the recovery system", "error", err)
		}
	}
	if err := e.collect(ctx); err != nil {
		e.Log.Warn("collecting what is no longer needed", "error", err)
	}
	return nil
}

// Blame keeps why a deployment is about to fall, where the fall does not lose it: whoever observes the fallback is
// told so.
func (e *Engine) Blame(deployment, reason string) error {
	if !deploymentForm.MatchString(deployment) {
		return fmt.Errorf("keeping why a deployment fell: %q is not a deployment", deployment)
	}
	return writeFile(e.deployment(deployment, failureFile), []byte(reason+"\n"), 0o644)
}

// checksOf are the health checks of the running trial: those of the request when it means this deployment, since
// they may have been corrected, else those that it was staged with.
func (e *Engine) checksOf(now state, request ports.Request) []HealthCheck {
	if want, err := readWish(request.OSVersion); err == nil && want != nil && now.wanted(*want) == now.booted {
		return want.HealthChecks
	}
	return now.records[now.booted].HealthChecks
}

// Rollback makes the system before this one the next to be booted. A running trial counts as fallen then.
func (e *Engine) Rollback(ctx context.Context) error {
	now, unlock, err := e.occupy(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := e.checkNoReset(ctx); err != nil {
		return err
	}
	previous, ok := now.previous()
	if !ok {
		return core.Failure{
			Class: core.FailureFailed, Reason: ReasonNoPrevious,
			Message: "there is no system to go back to: no other confirmed deployment is on this disk",
		}
	}
	// A trial is spent first: cut short after that, the boot loader takes the previous one all the same.
	var unkept error
	if running, ok := now.entry(now.booted); ok && running.Trial {
		running.Tried += running.Tries
		running.Tries = 0
		if err := e.Loader.Add(ctx, running); err != nil {
			return fmt.Errorf("giving up the trial of deployment %s: %w", now.booted, err)
		}
		unkept = e.Blame(now.booted, "it was rolled back by hand") // A disk that is full must not stop a rollback.
	}
	previous.Order = now.nextOrder()
	if err := e.Loader.Add(ctx, previous); err != nil {
		return errors.Join(fmt.Errorf("rolling back to deployment %s: %w", previous.Deployment, err), unkept)
	}
	return unkept
}
