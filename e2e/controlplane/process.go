package controlplane

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// A process is a server that dies with this process.
type process struct {
	name   string
	log    string
	handle *os.Process
	done   chan struct{}
	err    error // why it ended, once done is closed
}

// startProcess runs a program whose output goes to the log file.
func startProcess(program, log string, args ...string) (*process, error) {
	// Appending keeps what a server said before an outage.
	output, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = diesWithParent()

	p := &process{name: filepath.Base(program), log: log, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// To Linux the parent is the thread that forked, and a Go thread may end long before the
		// process does. This one waits here until the child is gone.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer func() { _ = output.Close() }()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			if p.err == nil {
				p.err = errors.New("exit status 0")
			}
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s (run `make controlplane` to get it): %w", program, err)
	}
	p.handle = cmd.Process
	return p, nil
}

// kill ends the process at once; the servers have no children. Killing none is allowed.
func (p *process) kill() {
	if p == nil {
		return
	}
	// An error means that it has ended already.
	_ = p.handle.Kill()
	<-p.done
}

func (p *process) ended() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// tail returns the last lines of the log.
func (p *process) tail() string {
	const most = 30
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-most):], "\n")
}

const folderPrefix = "elemental-controlplane-"

var folderName = regexp.MustCompile(`^` + folderPrefix + `(\d+)-`)

// sweep removes the folders of processes that were killed and could not clean up.
func sweep(temp string) {
	folders, err := filepath.Glob(filepath.Join(temp, folderPrefix+"*"))
	if err != nil {
		return
	}
	for _, folder := range folders {
		found := folderName.FindStringSubmatch(filepath.Base(folder))
		if found == nil {
			continue
		}
		pid, err := strconv.Atoi(found[1])
		if err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			// Another user's folder stays; its owner sweeps it.
			_ = os.RemoveAll(folder)
		}
	}
}
