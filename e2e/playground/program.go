package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
)

// program is a child that dies with this process.
type program struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

// startProgram runs a program whose words go to a file.
func startProgram(log, path string, args ...string) (*program, error) {
	file, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	p := &program{cmd: exec.Command(path, args...), log: log, done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = file, file
	// The terminal's Ctrl-C is for this process, which then ends its children in order.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		// To Linux the parent is the thread that forked; this one waits until the child is gone.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer func() { _ = file.Close() }()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // The state says it all.
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", path, err)
	}
	return p, nil
}

// ended says how the program ended; nil while it runs.
func (p *program) ended() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s\n%s", p.cmd.ProcessState, p.tail())
	default:
		return nil
	}
}

func (p *program) kill() {
	_ = p.cmd.Process.Kill() // It may have ended already.
	<-p.done
}

// tail is the end of what it said.
func (p *program) tail() string {
	const most = 20
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-most):], "\n")
}
