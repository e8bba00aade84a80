package deploy

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// healthy waits until all checks hold, each for no longer than its own time. They are tried side by side.
func (e *Engine) healthy(ctx context.Context, checks []HealthCheck) error {
	ctx, cancel := context.WithTimeout(ctx, e.HealthTimeout)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	for _, check := range checks {
		group.Go(func() error { return e.await(ctx, check) })
	}
	return group.Wait()
}

// The waits between two tries of a check.
const (
	firstCheckWait = 100 * time.Millisecond
	mostCheckWait  = 5 * time.Second
)

// await tries one check until it holds or its time is over.
func (e *Engine) await(ctx context.Context, check HealthCheck) error {
	patience := e.HealthTimeout
	if d, err := time.ParseDuration(check.Timeout); err == nil {
		patience = d
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for wait := firstCheckWait; ; wait = min(2*wait, mostCheckWait) {
		err := check.try(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the health check %s did not hold within %s: %w", check, patience, err)
		case <-time.After(wait):
		}
	}
}

// String names the check.
func (c HealthCheck) String() string {
	return cmp.Or(c.Unit, c.TCP, strings.Join(c.Command, " "))
}

// try carries out the check once.
func (c HealthCheck) try(ctx context.Context) error {
	switch {
	case c.Unit != "":
		return runProgram(ctx, "systemctl", "is-active", "--", c.Unit)
	case c.TCP != "":
		connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.TCP)
		if err != nil {
			return err
		}
		return connection.Close()
	case len(c.Command) > 0:
		return runProgram(ctx, c.Command[0], c.Command[1:]...)
	default:
		return errors.New("it says nothing")
	}
}

// runProgram runs a program in a process group of its own, all of which ends with the context.
func runProgram(ctx context.Context, program string, arguments ...string) error {
	command := exec.CommandContext(ctx, program, arguments...)
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGKILL) }
	command.WaitDelay = time.Second
	var output tail
	command.Stdout, command.Stderr = &output, &output
	if err := command.Run(); err != nil {
		if text := strings.TrimSpace(output.kept.String()); text != "" {
			return fmt.Errorf("%w: %s", err, text)
		}
		return err
	}
	return nil
}

// tail keeps the end of what a program says. The buffer is hidden: its other methods would keep all of it.
type tail struct{ kept bytes.Buffer }

const tailSize = 512

func (t *tail) Write(p []byte) (int, error) {
	t.kept.Write(p[max(0, len(p)-tailSize):])
	if over := t.kept.Len() - tailSize; over > 0 {
		t.kept.Next(over)
	}
	return len(p), nil
}
