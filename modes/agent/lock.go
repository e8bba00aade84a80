package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"elemental/core"
	"elemental/ports"
)

// Two files in the work dir keep processes of this host apart. The kernel lets go of a lock when its process ends.
const (
	agentLock = "agent.lock" // is held by the one agent that keeps the journal
	turnLock  = "turn.lock"  // is held while the plugin changes the host
)

// errLocked says that another process holds a lock.
var errLocked = errors.New("another process holds it")

// lock takes a lock, or says that it can't be had now.
func lock(path string) (release func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = file.Close() // Nothing was written.
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = errLocked
		}
		return nil, &fs.PathError{Op: "locking", Path: path, Err: err}
	}
	return func() { _ = file.Close() }, nil
}

// occupy makes this process the one agent of the host. A work dir that can't be written to is told later, by whoever
// must write there: a host whose disk is full or broken is still to be seen in its cluster.
func occupy(workDir string, log *slog.Logger) (release func(), err error) {
	release, err = lock(filepath.Join(workDir, agentLock))
	switch {
	case errors.Is(err, errLocked):
		return nil, fmt.Errorf("another elemental agent works on this host, in %s; if it is the service, stop it first: systemctl stop elemental-agent", workDir)
	case err != nil:
		log.Warn("whether another agent works on this host is not known", "error", err)
		return func() {}, nil
	}
	return release, nil
}

// turns lets a plugin change the host only while no other process does so through it: an administrator may reset the
// host by hand while its agent runs.
type turns struct {
	ports.Plugin
	file string
}

// How long a turn is waited for, and how often it is asked for.
const (
	turnPatience = 10 * time.Second
	turnStep     = 100 * time.Millisecond
)

// Do waits for its turn, and then lets the plugin do it.
func (t turns) Do(ctx context.Context, verb core.Verb, request ports.Request, progress func(ports.Progress)) error {
	release, err := t.take(ctx)
	if err != nil {
		return err
	}
	defer release()
	return t.Plugin.Do(ctx, verb, request, progress)
}

func (t turns) take(ctx context.Context) (release func(), err error) {
	for end := time.Now().Add(turnPatience); ; {
		release, err = lock(t.file)
		switch {
		case err == nil:
			return release, nil
		case !errors.Is(err, errLocked):
			return nil, core.Failure{Class: core.FailureRetryable, Reason: "NoLock", Message: fmt.Sprintf("the plugin is not asked, since its lock can't be had: %v", err)}
		case time.Now().After(end):
			return nil, core.Failure{Class: core.FailureRetryable, Reason: "Busy", Message: "another elemental process changes this host through its plugin; wait until it ends"}
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(turnStep):
		}
	}
}
