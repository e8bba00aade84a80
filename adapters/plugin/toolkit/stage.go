package toolkit

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"

	"elemental/adapters/plugin/program"
	"elemental/core"
	"elemental/ports"
)

// stage upgrades, whatever is there: a request that is renewed means what its tag now leads to.
func (p *Plugin) stage(ctx context.Context, want wish, hash string, progress func(ports.Progress)) error {
	now, err := p.look(ctx)
	if err != nil {
		return err
	}
	if now.mode == modeRecovery && want.UpgradeRecovery {
		return core.Failure{
			Class: core.FailureFailed, Reason: ReasonInRecovery, Path: "osVersion.upgradeRecovery",
			Message: "this host runs its recovery system, which the elemental-toolkit can't renew from within; leave upgradeRecovery out until the host runs a snapshot again",
		}
	}
	if err := p.checkRoom(now.mode); err != nil {
		return err
	}
	begun := memory{Request: hash, Boot: now.boot}
	if now.running != nil {
		begun.Running = now.running.number
	}
	if now.active != nil {
		begun.Before = now.active.number
	}
	if err := p.remember(begun); err != nil {
		return err
	}
	progress(ports.Progress{Step: "Upgrading", Percent: -1, Message: "the elemental-toolkit upgrades to " + want.ImageURI})
	tail, untouched, err := p.upgrade(ctx, want, hash)
	if untouched {
		return errors.Join(err, p.remember(now.memory))
	}
	if err != nil {
		return err
	}
	if begun.After, err = p.verify(ctx, begun, tail); err != nil {
		return err
	}
	return p.remember(begun)
}

// checkRoom holds the state partition against what an upgrade needs: on one that is full the toolkit writes
// zeros and says that all went well. The recovery system mounts it only for the upgrade.
func (p *Plugin) checkRoom(m mode) error {
	if m == modeRecovery {
		return nil
	}
	var disk unix.Statfs_t
	if err := unix.Statfs(p.config.StatePath, &disk); err != nil {
		return core.Failure{
			Class: core.FailureFailed, Reason: ReasonDiskTooSmall,
			Message: fmt.Sprintf("the room on the elemental-toolkit's state partition can't be told: %s: %v; write where it is mounted as statePath into %s", p.config.StatePath, err, p.config.File),
		}
	}
	if free := disk.Bavail * uint64(disk.Bsize); free < p.config.MinFree {
		return core.Failure{
			Class: core.FailureFailed, Reason: ReasonDiskTooSmall,
			Message: fmt.Sprintf("the elemental-toolkit's state partition at %s has %d MiB free, and an upgrade needs %d MiB; make room there, or correct minFreeMiB in %s",
				p.config.StatePath, free>>20, p.config.MinFree>>20, p.config.File),
		}
	}
	return nil
}

// upgrade runs the toolkit's upgrade to its end, and returns the end of its output. After some failures the host is
// known to be untouched; after the others nobody knows what the next restart would start.
func (p *Plugin) upgrade(ctx context.Context, want wish, hash string) (tail string, untouched bool, err error) {
	args := []string{p.config.Command}
	if want.Debug {
		args = append(args, "--debug")
	}
	result, err := program.Run(ctx, program.Command{
		Args: append(args, "upgrade"), Dir: "/", Timeout: p.config.Timeout,
		Env: []string{
			"HOME=/root",
			"ELEMENTAL_UPGRADE_SYSTEM=" + want.source(),
			"ELEMENTAL_UPGRADE_RECOVERY=" + strconv.FormatBool(want.UpgradeRecovery),
			"ELEMENTAL_UPGRADE_SNAPSHOT_LABELS=" + correlation + "=" + hash,
			// When the host restarts is not for the toolkit's own configuration to say.
			"ELEMENTAL_REBOOT=false", "ELEMENTAL_POWEROFF=false",
		},
		Line: func(line string) { fmt.Fprintln(p.config.Log, line) },
	})
	if err == nil || ctx.Err() != nil {
		return result.Tail, false, err
	}
	failure := p.explainUpgrade(err, want, program.Words(result.Tail, maxTail))
	return "", failure.Reason == ReasonBadSpec || failure.Reason == ReasonPullFailed, failure
}

func (p *Plugin) explainUpgrade(err error, want wish, words string) core.Failure {
	failure := core.Failure{Class: core.FailureFailed, Reason: ReasonUpgradeFailed}
	var exited *program.ExitError
	switch {
	case errors.Is(err, program.ErrTimedOut):
		failure.Reason = ReasonTimedOut
		failure.Message = fmt.Sprintf("the upgrade to %s was not done after %s and was ended; the elemental-toolkit's output ends with: %s", want.ImageURI, p.config.Timeout, words)
		return failure
	case !errors.As(err, &exited):
		failure.Message = fmt.Sprintf("%s upgrade can't be run: %v", p.config.Command, err)
		return failure
	}
	switch exited.Status {
	case exitBadSpec:
		failure.Class, failure.Reason, failure.Path = core.FailureInvalid, ReasonBadSpec, "osVersion"
	case exitUnpack, exitDump:
		failure.Class, failure.Reason, failure.Path = core.FailureRetryable, ReasonPullFailed, "osVersion.imageUri"
	case exitNoState:
		failure.Reason = ReasonNoState
	}
	how := fmt.Sprintf("exited with status %d", exited.Status)
	if exited.Status < 0 {
		how = fmt.Sprintf("was ended by signal %d (%s)", exited.Signal, exited.Signal)
	}
	failure.Message = fmt.Sprintf("the elemental-toolkit's upgrade to %s %s; its output ends with: %s", want.ImageURI, how, words)
	return failure
}

// verify looks for the snapshot that an upgrade says it has made, and returns its number.
func (p *Plugin) verify(ctx context.Context, begun memory, tail string) (int, error) {
	failure := core.Failure{Class: core.FailureFailed, Reason: ReasonNotUpgraded}
	all, err := p.snapshots(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return 0, err
		}
		failure.Message = fmt.Sprintf("the elemental-toolkit says that it has upgraded, and its state can't be read any more; is its disk full? %v", err)
		return 0, failure
	}
	active := newest(all, func(s *snapshot) bool { return s.Active })
	if active != nil && active.Labels[correlation] == begun.Request && active.number != begun.Before {
		return active.number, nil
	}
	failure.Message = fmt.Sprintf("the elemental-toolkit says that it has upgraded, and its state names no new active snapshot with %s %s; is the disk at %s full? Its output ends with: %s",
		correlation, begun.Request, p.config.StatePath, program.Words(tail, maxTail))
	return 0, failure
}
