package hosts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Process is a host of the other kind: nothing but the agent, with a folder of its own. It needs no root. Its
// restart is one of the agent.
type Process struct {
	name   string
	folder string
	binary string
	config string

	mu      sync.Mutex
	current *exec.Cmd
	starts  int
	stopped bool
	trouble error
	done    chan struct{}
}

// StartProcess starts an agent as config says, with the plugin that config names; dummy where it names none.
// The caller must call Remove.
func StartProcess(binary string, config Config) (*Process, error) {
	if config.Plugin == "" {
		config.Plugin = "dummy"
	}
	folder, err := os.MkdirTemp("", fmt.Sprintf("%s%d-%s-", prefix, os.Getpid(), config.Host))
	if err != nil {
		return nil, fmt.Errorf("starting host %s: %w", config.Host, err)
	}
	p := &Process{name: config.Host, folder: folder, binary: binary, config: filepath.Join(folder, "agent.yaml"), done: make(chan struct{})}
	agent, err := config.agent(filepath.Join(folder, "kubeconfig"), p.WorkDir(), "exit")
	if err == nil {
		err = errors.Join(
			os.WriteFile(p.config, []byte(agent), 0o600),
			os.WriteFile(filepath.Join(folder, "kubeconfig"), []byte(config.Kubeconfig), 0o600),
			os.Mkdir(p.WorkDir(), 0o700))
	}
	if err != nil {
		close(p.done)
		p.Remove()
		return nil, fmt.Errorf("starting host %s: %w", config.Host, err)
	}
	go p.runAgainAndAgain()
	return p, nil
}

// Name is the host's name.
func (p *Process) Name() string { return p.name }

// WorkDir is where the agent and its plugin keep what they keep.
func (p *Process) WorkDir() string { return filepath.Join(p.folder, "work") }

// Starts is how often the agent was started.
func (p *Process) Starts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.starts
}

// Trouble says why the agent ended by itself and does not run again; nil when it runs.
func (p *Process) Trouble() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.trouble
}

// KillAgent ends the agent with signal 9. It is started again.
func (p *Process) KillAgent() { p.signal(syscall.SIGKILL) }

// Remove ends the agent and throws its folder away. It may be called more than once.
func (p *Process) Remove() {
	p.mu.Lock()
	p.stopped = true
	p.mu.Unlock()
	p.signal(syscall.SIGKILL)
	<-p.done
	_ = os.RemoveAll(p.folder) // What stays is swept by the next Start.
}

// Log is the end of what the agent wrote.
func (p *Process) Log() string {
	const most = 100
	text, err := os.ReadFile(filepath.Join(p.folder, "agent.log"))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-most):], "\n")
}

// signal reaches the agent's plugins too, as a control group would.
func (p *Process) signal(signal syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current != nil {
		_ = syscall.Kill(-p.current.Process.Pid, signal)
	}
}

// runAgainAndAgain starts the agent again when it restarts its host or was killed. An agent that ends by
// itself stays down: it says why, and a test wants to know.
func (p *Process) runAgainAndAgain() {
	// The agent dies with the thread that started it, so this one must last as long as the process does.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(p.done)
	for {
		cmd, err := p.start()
		if cmd == nil {
			p.giveUp(err)
			return
		}
		_ = cmd.Wait() // The state says it all.
		p.mu.Lock()
		p.current = nil
		p.mu.Unlock()
		if code := cmd.ProcessState.ExitCode(); code >= 0 && code != exitRestart {
			p.giveUp(fmt.Errorf("the agent of host %s ended (%s); the end of its log:\n%s", p.name, cmd.ProcessState, p.Log()))
			return
		}
	}
}

func (p *Process) giveUp(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.stopped {
		p.trouble = err
	}
}

func (p *Process) start() (*exec.Cmd, error) {
	log, err := os.OpenFile(filepath.Join(p.folder, "agent.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(p.binary, "agent", "--config", p.config)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return nil, nil
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the agent of host %s: %w", p.name, err)
	}
	p.current = cmd
	p.starts++
	return cmd, nil
}

// WaitStarts waits until the agent was started so many times.
func (p *Process) WaitStarts(ctx context.Context, starts int) error {
	for p.Starts() < starts {
		if err := p.Trouble(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for start %d of host %s: %w", starts, p.name, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}
