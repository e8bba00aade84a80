package deploy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"elemental/adapters/deploy/reset"
	"elemental/core"
	"elemental/ports"
)

// The reasons of a reset that does not go on.
const (
	ReasonResetUnderWay    = "ResetUnderWay"
	ReasonResetNotDone     = "ResetNotCarriedOut"
	ReasonResetUntriggered = "ResetNotTriggered"
)

// The steps of a reset, as its progress names them.
const (
	StepPrepare = "prepare"
	StepRemove  = "remove"
	StepCollect = "collect"
)

// ResetStatus is how far the reset of the running system is.
type ResetStatus struct {
	Stage        core.ResetStage `json:"stage"`
	NeedsRestart bool            `json:"needsRestart,omitempty"` // it is carried out by a restart, which was not yet
	Failure      string          `json:"failure,omitempty"`      // why the last restart did not
}

// resetStatus says how far the reset of the running system is, seen from a boot. A reset that was triggered in another
// deployment and not carried out, or whose trees are gone, is none: it is triggered anew if it is still wanted.
func (e *Engine) resetStatus(now state, boot string) (ResetStatus, error) {
	record, found, err := reset.Read(e.Root)
	switch {
	case err != nil:
		e.Log.Warn("the record of a reset can't be read; it counts as none", "error", err)
		return ResetStatus{}, nil
	case found && record.Stage == reset.Done:
		return ResetStatus{Stage: core.ResetDone}, nil
	case !found:
		return ResetStatus{}, nil
	case record.Deployment != now.booted:
		return e.resetOfAnother(record)
	}
	disk, err := reset.Look(e.Root, record)
	if errors.Is(err, reset.ErrLost) {
		e.Log.Warn("a reset can't be carried out any more; it counts as none", "error", err)
		return ResetStatus{}, nil
	}
	if err != nil {
		return ResetStatus{}, err
	}
	status := ResetStatus{Stage: core.ResetUnderWay}
	switch {
	case disk.Fresh():
	case record.Boot == boot || record.Boot == "" || boot == "":
		status.NeedsRestart = true
	default:
		status.Failure = reset.Failure(e.Root)
		if status.Failure == "" {
			status.Failure = "the first process of this host left it undone, and said nothing: it is older than the image plugin; " +
				"renew the elemental that the boot entry starts as init"
		}
	}
	return status, nil
}

// resetOfAnother says how far the reset of a deployment is that does not run. Once the /var that all deployments share is
// the fresh one, it is to be ended here too: what was before holds secrets.
func (e *Engine) resetOfAnother(record reset.Record) (ResetStatus, error) {
	shared, err := reset.Inode(e.path("var"))
	switch {
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return ResetStatus{}, fmt.Errorf("looking for what a reset has exchanged: %w", err)
	case err == nil && shared == record.Var:
		return ResetStatus{Stage: core.ResetUnderWay}, nil
	}
	return ResetStatus{}, nil
}

// removeDropped removes what the first process left of a reset that it dropped.
func (e *Engine) removeDropped() error {
	_, found, err := reset.Read(e.Root)
	if found || err != nil {
		return nil // A record that is damaged may be mended.
	}
	if err := os.RemoveAll(reset.Folder(e.Root)); err != nil {
		return fmt.Errorf("removing what is left of a reset: %w", err)
	}
	return nil
}

// resetHere is resetStatus, seen from the boot that runs.
func (e *Engine) resetHere(now state) (ResetStatus, error) {
	boot, err := e.bootOf(ports.Request{})
	if err != nil {
		return ResetStatus{}, err
	}
	return e.resetStatus(now, boot)
}

// bootOf is the boot that a request speaks of; empty where nobody knows it.
func (e *Engine) bootOf(request ports.Request) (string, error) {
	if request.Boot != "" || e.BootID == nil {
		return request.Boot, nil
	}
	return e.BootID()
}

// checkNoReset refuses what would let another system run than the one that is being reset.
func (e *Engine) checkNoReset(ctx context.Context) error {
	now, err := e.look(ctx)
	if err != nil {
		return err
	}
	status, err := e.resetStatus(now, "")
	if err != nil || status.Stage != core.ResetUnderWay {
		return err
	}
	return core.Failure{
		Class: core.FailureRetryable, Reason: ReasonResetUnderWay,
		Message: "this host is being reset; another system can be chosen once that is done (elemental os status)",
	}
}

// TriggerReset prepares a reset of the running system beside it, and sees to it that this system is booted next. The
// restart carries it out. Nothing of what runs is changed, and where it fails nothing is.
func (e *Engine) TriggerReset(ctx context.Context, request ports.Request, tell func(ports.Progress)) error {
	options, err := readResetOptions(request.Options)
	if err != nil {
		return err
	}
	boot, err := e.bootOf(request)
	if err != nil {
		return err
	}
	now, unlock, err := e.occupy(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if now.onTrial() {
		return core.Failure{
			Class: core.FailureRetryable, Reason: ReasonOnTrial,
			Message: "the running system is on trial; it can be reset once it is confirmed, or after the host fell back from it",
		}
	}
	status, err := e.resetStatus(now, boot)
	if err != nil {
		return err
	}
	if status == (ResetStatus{Stage: core.ResetUnderWay}) {
		return nil // The trees are exchanged already: it is to be ended.
	}
	keep, err := e.keptBy(now.booted, request.Keep, options)
	if err != nil {
		return err
	}
	return e.trigger(ctx, now, &preparation{engine: e, deployment: now.booted, boot: boot, keep: keep}, tell)
}

// trigger prepares first and changes the boot entries then, so that a disk without room changes nothing. Cut short in
// between, no reset is triggered, and the running system is booted again.
func (e *Engine) trigger(ctx context.Context, now state, p *preparation, tell func(ports.Progress)) (err error) {
	if err := os.RemoveAll(e.path("staging")); err != nil {
		return fmt.Errorf("cleaning the staging folder: %w", err)
	}
	defer func() { // What lies there now may be an earlier reset, with secrets.
		err = errors.Join(err, os.RemoveAll(e.path("staging")))
	}()
	tellStep(tell, StepPrepare, "preparing a fresh /var and /etc")
	if err := p.make(ctx); err != nil {
		return err
	}
	if err := e.dropTrials(ctx, now); err != nil {
		return err
	}
	if err := e.bootAgain(ctx, now); err != nil {
		return err
	}
	tellStep(tell, StepPublish, "")
	if err := p.publish(); err != nil {
		return err
	}
	e.Log.Info("a reset is triggered; the next boot carries it out", "deployment", now.booted)
	return nil
}

// Reset ends a reset after the restart that carried it out: what was before is removed, with all other deployments but
// the recovery system, which gets the fresh /etc too. It may be killed at any moment and asked for again.
func (e *Engine) Reset(ctx context.Context, request ports.Request, tell func(ports.Progress)) error {
	boot, err := e.bootOf(request)
	if err != nil {
		return err
	}
	now, unlock, err := e.occupy(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	status, err := e.resetStatus(now, boot)
	switch {
	case err != nil || status.Stage == core.ResetDone:
		return err
	case status.Stage == core.ResetNone:
		return core.Failure{Class: core.FailureFailed, Reason: ReasonResetUntriggered, Message: "no reset of the running system was triggered"}
	case status.NeedsRestart:
		return core.Failure{
			Class: core.FailureRetryable, Reason: ReasonResetNotDone, Message: "the reset is carried out by a restart of the host, which was not yet",
		}
	case status.Failure != "":
		return core.Failure{
			Class: core.FailureFailed, Reason: ReasonResetNotDone,
			Message: "the last restart did not carry out the reset, and the host is as it was: " + status.Failure + "; mend that and restart the host",
		}
	}
	return e.endReset(ctx, now, tell)
}

// endReset removes what was before. The mark comes last.
func (e *Engine) endReset(ctx context.Context, now state, tell func(ports.Progress)) error {
	tellStep(tell, StepRemove, "removing what was before the reset")
	folder := reset.Folder(e.Root)
	for _, former := range []string{reset.FreshVar(folder), reset.FreshEtc(folder)} {
		if err := os.RemoveAll(former); err != nil {
			return fmt.Errorf("removing what was before the reset: %w", err)
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	tellStep(tell, StepCollect, "removing the other deployments")
	if err := os.RemoveAll(e.path("staging")); err != nil {
		return fmt.Errorf("cleaning the staging folder: %w", err)
	}
	if last := recovery(now.records); last != "" && last != now.booted && e.hasTree(last) {
		if _, err := e.carryEtc(ctx, now.booted, last); err != nil {
			return err
		}
	}
	if err := (&collection{engine: e, now: now, alone: true}).run(ctx); err != nil {
		return fmt.Errorf("removing the other deployments: %w", err)
	}
	if err := syncFileSystem(e.Root); err != nil {
		return err
	}
	content, err := reset.Record{Stage: reset.Done, Deployment: now.booted}.Marshal()
	if err != nil {
		return err
	}
	if err := writeFile(reset.File(folder), content, 0o600); err != nil {
		return err
	}
	e.Log.Info("the host was reset", "deployment", now.booted)
	return nil
}

// Bootstrap ends what a reset has left: from here on the host is no longer one that was reset. Applying bootstrap data
// is not this plugin's.
func (e *Engine) Bootstrap(ctx context.Context) error {
	if err := e.checkNoReset(ctx); err != nil {
		return err
	}
	unlock, err := e.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	record, found, err := reset.Read(e.Root)
	if err != nil || !found || record.Stage != reset.Done {
		return err
	}
	if err := os.RemoveAll(reset.Folder(e.Root)); err != nil {
		return fmt.Errorf("forgetting the reset: %w", err)
	}
	return syncFolder(filepath.Clean(e.Root))
}
