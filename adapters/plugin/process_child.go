package plugin

import (
	"context"
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

	"elemental/ports"
)

// hangTime is how long a program that is killed may take to end. One that waits in the kernel, for a disk or for a file
// system of the network, does not end before that answers.
const hangTime = time.Minute

// Children starts programs as child processes of this one, with no more rights than it has itself. It is for where no
// service manager runs. It implements ports.Launcher.
type Children struct{}

// child is a running program and all its children: a process group of its own. It implements ports.Process.
type child struct {
	command  *exec.Cmd
	patience time.Duration
	exited   chan struct{} // closed when the program has exited and nothing of its group is left, or when it is given up
	ending   sync.Once     // for that
	lost     string        // why it was given up; to be read when it has exited
	left     bool          // it left children behind; to be read when it has exited

	reaping sync.Mutex // held while the process ID may become someone else's
	reaped  bool
}

// Start runs an executable through the descriptor that was checked. A script's interpreter opens it by the
// same descriptor, which is therefore left open in the child.
func (Children) Start(ctx context.Context, program ports.Program) (ports.Process, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	files := make([]*os.File, 0, 4)
	defer func() {
		for _, file := range files {
			_ = file.Close() // They are copies, and the child has its own.
		}
	}()
	for _, d := range []ports.Descriptor{program.Stdin, program.Stdout, program.Stderr, program.File} {
		// A file that is made of another's number would close it when it is collected.
		number, err := unix.FcntlInt(d.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return nil, os.NewSyscallError("fcntl", err)
		}
		files = append(files, os.NewFile(uintptr(number), program.Name))
	}
	command := exec.Command("/proc/self/fd/3")
	command.Args = program.Args
	command.Stdin, command.Stdout, command.Stderr, command.ExtraFiles = files[0], files[1], files[2], files[3:]
	command.Dir, command.Env = program.Dir, program.Environment
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p := &child{command: command, patience: program.Patience, exited: make(chan struct{})}
	begun := make(chan error)
	go p.attend(begun)
	if err := <-begun; err != nil {
		return nil, err
	}
	return p, nil
}

// Exited is closed when nothing of the program's group is left.
func (p *child) Exited() <-chan struct{} { return p.exited }

// Exit says how the program ended.
func (p *child) Exit() ports.Exit {
	if p.lost != "" {
		return ports.Exit{Lost: p.lost}
	}
	status := p.command.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return ports.Exit{Signal: int(status.Signal()), Left: p.left}
	}
	return ports.Exit{Status: status.ExitStatus(), Left: p.left}
}

// attend starts the program and stays until it has exited. It keeps to one thread, since the kernel kills
// the plugin when the thread that started it ends, so that an agent that dies takes its plugin along.
func (p *child) attend(begun chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.command.Start()
	begun <- err
	if err != nil {
		return
	}
	defer p.end("")
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
func (p *child) awaitExit() {
	for {
		err := unix.Waitid(unix.P_PID, p.command.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// signal sends a signal to the plugin and its children, unless they are all gone.
func (p *child) signal(s syscall.Signal) {
	p.reaping.Lock()
	defer p.reaping.Unlock()
	if !p.reaped {
		// The one error there can be is that no one is left.
		_ = syscall.Kill(-p.command.Process.Pid, s)
	}
}

// Kill kills the program and its children at once.
func (p *child) Kill() { p.signal(syscall.SIGKILL) }

// end notes that the program has exited, or why it was given up; only the first time counts.
func (p *child) end(lost string) {
	p.ending.Do(func() {
		p.lost = lost
		close(p.exited)
	})
}

// Stop ends the program and its children: it asks, waits, and kills. What does not end then is given up.
func (p *child) Stop() {
	p.signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(p.patience):
		p.signal(syscall.SIGKILL)
		select {
		case <-p.exited:
		case <-time.After(hangTime):
			p.end(fmt.Sprintf("it was killed and had not ended %s later: it may wait for a disk or for a file system of the network", hangTime))
		}
	}
}

// awaitChildren returns when nothing in the plugin's group runs any more, or after some time.
func (p *child) awaitChildren() {
	for end := time.Now().Add(p.patience); p.childrenLeft() && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
}

// childrenLeft says whether anything in the plugin's group still runs. A zombie does not, the plugin itself among them.
func (p *child) childrenLeft() bool {
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
