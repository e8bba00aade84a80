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

// run returns nil when nothing is on trial any more. It also does when that can't be told in time, since what
// is not known to be a trial is never restarted, and when it is told to end, as a host that shuts down does.
func (c confirmation) run(ctx context.Context) error {
	end := time.Now().Add(c.timeout)
	var said string
	for {
		trial, err := c.attempt(ctx, time.Until(end))
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
			return c.giveUp(trial, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(min(step, max(0, time.Until(end)))):
		}
	}
}

// attempt returns nil once nothing is on trial, else what is, as far as that is known, and why it is not
// confirmed.
func (c confirmation) attempt(ctx context.Context, patience time.Duration) (trial string, err error) {
	status, err := c.host.status(ctx)
	if err != nil || !status.OnTrial {
		return "", err
	}
	if err := c.ready(); err != nil {
		return status.Booted, err
	}
	return status.Booted, c.host.confirm(ctx, max(step, patience))
}

// giveUp writes down why a trial was not confirmed in time.
func (c confirmation) giveUp(trial string, reason error) error {
	if trial == "" {
		fmt.Fprintf(c.log, "it can't be told whether this boot is on trial, so that it is left as it is: %v\n", reason)
		return nil
	}
	reason = fmt.Errorf("not confirmed within %s: %w", c.timeout, reason)
	if err := c.host.blame(trial, reason.Error()); err != nil {
		reason = errors.Join(reason, err)
	}
	return reason
}
