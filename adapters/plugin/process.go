package plugin

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is one running plugin and all its children: a process group of its own.
type process struct {
	command               *exec.Cmd
	stdin, stdout, stderr *os.File // our ends

	patience time.Duration
	exited   chan struct{} // closed when the plugin has exited and nothing of its group is left
	left     bool          // it left children behind; to be read when it has exited

	reaping sync.Mutex // held while the process ID may become someone else's
	reaped  bool
}

// start runs an executable through the descriptor that was checked. A script's interpreter opens it by the
// same descriptor, which is therefore left open in the child.
func start(e *executable, verb, workDir string, environment []string, patience time.Duration) (*process, error) {
	command := exec.Command("/proc/self/fd/3", append(e.args, verb)...)
	command.Args[0] = e.path
	command.ExtraFiles = []*os.File{e.file}
	command.Dir = workDir
	command.Env = environment
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p := &process{command: command, patience: patience, exited: make(chan struct{})}
	theirs, err := p.connect()
	if err == nil {
		begun := make(chan error)
		go p.attend(begun)
		err = <-begun
	}
	for _, file := range theirs {
		_ = file.Close()
	}
	if err != nil {
		p.close()
		return nil, fmt.Errorf("starting %s: %w", e.path, err)
	}
	return p, nil
}

// connect makes the three pipes, and returns the plugin's ends of them.
func (p *process) connect() ([]*os.File, error) {
	in, toPlugin, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p.stdin, p.command.Stdin = toPlugin, in
	fromPlugin, out, err := os.Pipe()
	if err != nil {
		return []*os.File{in}, err
	}
	p.stdout, p.command.Stdout = fromPlugin, out
	logOfPlugin, log, err := os.Pipe()
	if err != nil {
		return []*os.File{in, out}, err
	}
	p.stderr, p.command.Stderr = logOfPlugin, log
	return []*os.File{in, out, log}, nil
}

func (p *process) close() {
	for _, file := range []*os.File{p.stdin, p.stdout, p.stderr} {
		if file != nil {
			_ = file.Close() // Nothing is written that anyone relies on.
		}
	}
}

// attend starts the plugin and stays until it has exited. It keeps to one thread, since the kernel kills
// the plugin when the thread that started it ends, so that an agent that dies takes its plugin along.
func (p *process) attend(begun chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.command.Start()
	begun <- err
	if err != nil {
		return
	}
	defer close(p.exited)
	p.awaitExit()
	// As long as the plugin is not reaped, its ID and that of its group are no one else's.
	if p.left = p.childrenLeft(); p.left {
		p.signal(syscall.SIGTERM)
		p.awaitChildren()
		p.signal(syscall.SIGKILL)
		// One that hangs in the kernel dies when it comes back from there, and is not waited for.
		p.awaitChildren()
	}
	p.reaping.Lock()
	defer p.reaping.Unlock()
	_ = p.command.Wait() // The error is the exit status, which is read from ProcessState.
	p.reaped = true
}

// awaitExit returns when the plugin has exited, and leaves it unreaped.
func (p *process) awaitExit() {
	for {
		err := unix.Waitid(unix.P_PID, p.command.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// signal sends a signal to the plugin and its children, unless they are all gone.
func (p *process) signal(s syscall.Signal) {
	p.reaping.Lock()
	defer p.reaping.Unlock()
	if !p.reaped {
		// The one error there can be is that no one is left.
		_ = syscall.Kill(-p.command.Process.Pid, s)
	}
}

// kill kills the plugin and its children at once.
func (p *process) kill() { p.signal(syscall.SIGKILL) }

// stop ends the plugin and its children: it asks, waits, and kills.
func (p *process) stop() {
	p.signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(p.patience):
		p.signal(syscall.SIGKILL)
		<-p.exited
	}
}

// awaitChildren returns when nothing in the plugin's group runs any more, or after some time.
func (p *process) awaitChildren() {
	for end := time.Now().Add(p.patience); p.childrenLeft() && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
}

// childrenLeft says whether anything in the plugin's group still runs. A zombie does not, the plugin itself among them.
func (p *process) childrenLeft() bool {
	group := p.command.Process.Pid
	proc, err := os.Open("/proc")
	if err != nil {
		return false
	}
	defer proc.Close()
	names, err := proc.Readdirnames(-1)
	if err != nil {
		return false
	}
	for _, name := range names {
		id, err := strconv.Atoi(name)
		if err != nil || id == group {
			continue
		}
		if of, err := unix.Getpgid(id); err == nil && of == group && !ended(id) {
			return true
		}
	}
	return false
}

// ended says whether a process is a zombie, or gone.
func ended(id int) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(id) + "/stat")
	if err != nil {
		return true
	}
	// The name stands in parentheses and may hold anything; after it comes the state.
	state := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	return len(state) > 0 && (state[0] == "Z" || state[0] == "X")
}

// exit words how the plugin ended; empty when it ended well.
func (p *process) exit() (reason, words string) {
	status := p.command.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case status.Signaled():
		return "PluginKilled", "was ended by signal " + strconv.Itoa(int(status.Signal())) + " (" + status.Signal().String() + ")"
	case status.ExitStatus() != 0:
		return "PluginExited", "exited with status " + strconv.Itoa(status.ExitStatus())
	default:
		return "", ""
	}
}
