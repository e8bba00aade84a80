package packages

import (
	"context"
	"fmt"
	"time"

	"elemental/core"
	"elemental/ports"
)

const (
	lockPatience = 5 * time.Minute // how long someone else's work is waited for
	lockInterval = 500 * time.Millisecond
)

// holder is a process that is at work with the package database.
type holder struct {
	PID  int    // 0: nobody is
	Name string // of the program, such as apt-get
	What string // what it holds, such as /var/lib/dpkg/lock-frontend
}

// awaitLock returns when nobody holds what the search looks for. It says whom it waits for; after some minutes that
// is a failure to be retried.
func awaitLock(ctx context.Context, report report, search func() (holder, error)) error {
	ticker := time.NewTicker(lockInterval)
	defer ticker.Stop()
	var last holder
	for end := time.Now().Add(lockPatience); ; {
		found, err := search()
		if err != nil {
			return fmt.Errorf("looking for who is at work with the packages: %w", err)
		}
		if found.PID == 0 {
			return nil
		}
		if found != last {
			last = found
			report(ports.Progress{Step: stepWaiting, Percent: -1, Message: "waiting for " + found.String()})
		}
		if time.Now().After(end) {
			return locked(found.String())
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// locked is the failure that someone else is at work.
func locked(who string) core.Failure {
	return core.Failure{
		Class: core.FailureRetryable, Reason: reasonLocked,
		Message: fmt.Sprintf("%s is at work with the packages of this host; it is tried again when that has ended: end it if it hangs", who),
	}
}

// String names a process so that a person finds it.
func (h holder) String() string {
	return fmt.Sprintf("%s (process %d), which holds %s", h.Name, h.PID, h.What)
}
