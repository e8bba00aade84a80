package packages

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"elemental/core"
	"elemental/ports"
)

// stage carries out a request. Killed at any moment, it is seen to be unfinished by the note that it leaves.
func (p *Plugin) stage(ctx context.Context, in ports.Request, progress func(ports.Progress)) error {
	want, err := readRequest(in.OSVersion)
	if err != nil {
		return err
	}
	if in.Hash == "" {
		return nil
	}
	tools, err := p.detect(p.run)
	if err != nil {
		return err
	}
	boot, err := p.boot()
	if err != nil {
		return err
	}
	if err := p.open(ctx, tools, boot); err != nil {
		return err
	}
	err = p.carryOut(ctx, tools, want, progress)
	if ctx.Err() != nil {
		return ctx.Err() // It was interrupted, and the note stays.
	}
	carried := in.Hash
	if err != nil {
		carried = ""
	}
	if noting := p.close(ctx, tools, boot, carried); err == nil {
		err = noting
	}
	return err
}

// open notes that a transaction begins. The note of one that was killed in this boot stays, for what the host had to
// be restarted for before that one is no longer to be seen.
func (p *Plugin) open(ctx context.Context, tools manager, boot string) error {
	s, err := readState(p.folder)
	if err != nil {
		return err
	}
	if s.Open != nil && s.Open.Boot == boot {
		return nil
	}
	before, err := tools.RestartReasons(ctx)
	if err != nil {
		return fmt.Errorf("asking whether the host must restart: %w", err)
	}
	s.Open = &begun{Boot: boot, Before: before}
	return s.write(p.folder)
}

// close notes that the transaction has ended, and whether the host must restart for it. A transaction that failed may
// have changed packages all the same.
func (p *Plugin) close(ctx context.Context, tools manager, boot, carried string) error {
	s, err := readState(p.folder)
	if err != nil {
		return err
	}
	now, err := tools.RestartReasons(ctx)
	if err != nil {
		return fmt.Errorf("asking whether the host must restart: %w", err)
	}
	var before []string
	if s.Open != nil && s.Open.Boot == boot {
		before = s.Open.Before
	}
	ours := slices.Clone(s.Restart.at(boot))
	for _, reason := range now {
		if !slices.Contains(before, reason) && !slices.Contains(ours, reason) {
			ours = append(ours, reason)
		}
	}
	foreign := slices.DeleteFunc(slices.Clone(before), func(reason string) bool { return slices.Contains(ours, reason) })
	s.Open, s.Carried, s.Changed = nil, carried, boot
	s.Restart, s.Foreign = pending{Boot: boot, Because: ours}, pending{Boot: boot, Because: foreign}
	return s.write(p.folder)
}

// retryable says that a failure lies with the world, so that going on would only meet it again.
func retryable(err error) bool {
	var failure core.Failure
	return errors.As(err, &failure) && failure.Class == core.FailureRetryable
}

// carryOut does what is asked, and looks whether it is so.
func (p *Plugin) carryOut(ctx context.Context, tools manager, want request, progress func(ports.Progress)) error {
	if err := tools.Repair(ctx, progress); err != nil {
		if ctx.Err() != nil || retryable(err) {
			return err
		}
		// What is asked for may mend it. If it does not, it fails with a reason of its own.
		fmt.Fprintf(p.run.log, "what an earlier transaction left could not be repaired: %v\n", err)
	}
	if want.Refresh {
		if err := tools.Refresh(ctx, progress); err != nil {
			return err
		}
	}
	have, err := tools.Inventory(ctx, want.names())
	if err != nil {
		return fmt.Errorf("looking at the packages of this host: %w", err)
	}
	plan, needed := planFor(want, have, tools.Same)
	if !needed {
		return nil
	}
	if err := tools.Apply(ctx, plan, progress); err != nil {
		return err
	}
	if have, err = tools.Inventory(ctx, want.names()); err != nil {
		return fmt.Errorf("looking at the packages of this host: %w", err)
	}
	if missing := differences(want, have, tools.Same); len(missing) > 0 {
		return core.Failure{
			Class: core.FailureFailed, Reason: "NotApplied",
			Message: fmt.Sprintf("%s said that it succeeded, and yet %s: see the agent's log on the host", tools.Name(), strings.Join(missing, "; ")),
		}
	}
	return nil
}
