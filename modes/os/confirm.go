package hostos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// host is the operating systems of this host.
type host interface {
	// status says what was booted even with an error, where that is known.
	status(ctx context.Context) (Status, error)
	// confirm ends the trial of what runs, if its health checks hold within the patience.
	confirm(ctx context.Context, patience time.Duration) error
	// blame keeps why a trial was not confirmed, where it survives the fallback.
	blame(deployment, reason string) error
}

// confirmation is the wait of one boot for its health.
type confirmation struct {
	host    host
	ready   func() error // what must hold besides the health checks
	timeout time.Duration
	log     io.Writer
}

// step is the time between two looks.
const step = time.Second

// run returns nil when nothing is on trial any more, and when it is told to end, as a host that shuts down does. What
// can't be told in time is an error, as a trial that is not healthy is: the unit that runs this looks for a trial
// first, so that a system that is confirmed is never restarted for it.
func (c confirmation) run(ctx context.Context) error {
	end := time.Now().Add(c.timeout)
	var said string
	for {
		booted, err := c.attempt(ctx, time.Until(end))
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			fmt.Fprintln(c.log, "told to end before this boot was confirmed")
			return nil
		}
		if said != err.Error() {
			said = err.Error()
			fmt.Fprintln(c.log, "not confirmed yet: "+said)
		}
		if time.Until(end) <= 0 {
			return c.giveUp(booted, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(min(step, max(0, time.Until(end)))):
		}
	}
}

// attempt returns nil once nothing is on trial, else what may be, as far as that is known, and why it is not
// confirmed.
func (c confirmation) attempt(ctx context.Context, patience time.Duration) (booted string, err error) {
	status, err := c.host.status(ctx)
	if err != nil || !status.OnTrial {
		return status.Booted, err
	}
	if err := c.ready(); err != nil {
		return status.Booted, err
	}
	return status.Booted, c.host.confirm(ctx, max(step, patience))
}

// giveUp writes down why a boot was not confirmed in time, where it is known which.
func (c confirmation) giveUp(booted string, reason error) error {
	reason = fmt.Errorf("not confirmed within %s: %w", c.timeout, reason)
	if booted == "" {
		return reason
	}
	if err := c.host.blame(booted, reason.Error()); err != nil {
		reason = errors.Join(reason, err)
	}
	return reason
}
