// Package program runs programs of the host for the built-in plugins: with no terminal, within a time, with
// all their children, and holding no more of what they write than a person would read.
package program

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

const (
	maxStdout = 16 << 20    // bytes of standard output that are kept
	maxTail   = 8 << 10     // bytes of the end of both outputs that are kept
	maxLine   = 16 << 10    // bytes of a line that is handed on; what is above is dropped
	leftover  = time.Second // for reading what an ended program left on its descriptor 3

	// patience is the time between asking a program to end and killing it. A plugin that is itself asked to end has 5 s:
	// in the rest of them it must kill what the program has started, or nobody does.
	patience = 3 * time.Second
)

// Command is one program to run.
type Command struct {
	Args    []string      // the program, a path or a name to be found in PATH, and its arguments
	Env     []string      // NAME=value, on top of the plugin's own environment
	Dir     string        // the current folder; empty: the plugin's own
	Stdin   string        // what it reads; empty: nothing
	Timeout time.Duration // after which it is ended; 0: only with its context

	// Line is called with every line of both outputs as it comes; nil: nobody listens.
	Line func(line string)
	// Status is called with every line that the program writes to its descriptor 3; nil: there is none.
	Status func(line string)
}

// Result is what a program left behind.
type Result struct {
	Stdout []byte // the first 16 MiB of its standard output
	Tail   string // the end of what it wrote to either output
	Exit   int    // its exit status; -1 when a signal ended it
}

// The errors that callers tell apart. Whatever else ended a program is its own exit status or signal.
var (
	ErrMissing  = errors.New("there is no such program on this host")
	ErrTimedOut = errors.New("it took too long and was ended")
)

// ExitError says how a program ended that did not end well.
type ExitError struct {
	Name   string // of the program
	Status int    // -1 when a signal ended it
	Signal syscall.Signal
	Tail   string // the end of what it wrote
}

// Error names the program, how it ended, and the last line that it wrote.
func (e *ExitError) Error() string {
	how := fmt.Sprintf("exited with status %d", e.Status)
	if e.Status < 0 {
		how = fmt.Sprintf("was ended by signal %d (%s)", e.Signal, e.Signal)
	}
	if last := LastLine(e.Tail); last != "" {
		return fmt.Sprintf("%s %s: %s", e.Name, how, last)
	}
	return e.Name + " " + how
}

// Run runs a program to its end. Its error is ErrMissing, ErrTimedOut, the context's, or an *ExitError; the
// result holds what the program wrote in every case.
//
// The program leads a process group of its own, which is asked to end and then killed as a whole. When the
// plugin itself is killed, so is the program, but not what it has started: dpkg, say, may finish its package.
func Run(ctx context.Context, c Command) (Result, error) {
	if len(c.Args) == 0 {
		return Result{}, errors.New("no program was named")
	}
	path, err := exec.LookPath(c.Args[0])
	if err != nil {
		return Result{}, fmt.Errorf("looking for the program %s: %w", c.Args[0], ErrMissing)
	}
	if c.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, c.Timeout, ErrTimedOut)
		defer cancel()
	}
	out := &outputs{listen: c.Line}
	command := exec.CommandContext(ctx, path, c.Args[1:]...)
	command.Args[0] = c.Args[0]
	command.Dir, command.Env = c.Dir, append(os.Environ(), c.Env...)
	command.Stdin = strings.NewReader(c.Stdin)
	command.Stdout, command.Stderr = out.stdout(), out.stderr()
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGTERM) }
	command.WaitDelay = patience
	// The kernel sends the parent's death signal when the thread ends that started the program.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err = runWithStatus(command, c.Status)
	if ctx.Err() != nil && command.Process != nil {
		_ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL) // The error is that no one is left.
	}
	out.end()
	result := Result{Stdout: out.kept.Bytes(), Tail: out.tail(), Exit: exitOf(command)}
	return result, explain(ctx, filepath.Base(path), result, command, err)
}

func exitOf(command *exec.Cmd) int {
	if command.ProcessState == nil {
		return -1
	}
	return command.ProcessState.ExitCode()
}

func explain(ctx context.Context, name string, result Result, command *exec.Cmd, err error) error {
	var exited *exec.ExitError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("running %s: %w", name, context.Cause(ctx))
	case errors.Is(err, exec.ErrWaitDelay):
		return nil // It ended well, and something that it has started holds its outputs open.
	case errors.As(err, &exited):
		e := &ExitError{Name: name, Status: result.Exit, Tail: result.Tail}
		if status, ok := command.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			e.Signal = status.Signal()
		}
		return e
	default:
		return fmt.Errorf("running %s: %w", name, err)
	}
}

// LastLine returns the last line of a text that is not empty.
func LastLine(text string) string {
	text = strings.TrimRight(text, " \t\r\n")
	return strings.TrimSpace(text[strings.LastIndexByte(text, '\n')+1:])
}
