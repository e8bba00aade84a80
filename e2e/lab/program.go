package lab

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
)

// Program is a child that dies with this process.
type Program struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

// StartProgram runs a program whose words go to a file.
func StartProgram(log, path string, args ...string) (*Program, error) {
	file, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	p := &Program{cmd: exec.Command(path, args...), log: log, done: make(chan struct{})}
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

// Ended says how the program ended; nil while it runs.
func (p *Program) Ended() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s\n%s", p.cmd.ProcessState, p.Tail())
	default:
		return nil
	}
}

// Kill ends the program at once.
func (p *Program) Kill() {
	_ = p.cmd.Process.Kill() // It may have ended already.
	<-p.done
}

// Signal sends the program a signal. It may have ended already.
func (p *Program) Signal(signal os.Signal) { _ = p.cmd.Process.Signal(signal) }

// Tail is the end of what it said.
func (p *Program) Tail() string {
	const most = 20
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-most):], "\n")
}
