package hosts

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// exitRestart is how systemd-nspawn says that its container wants to start again.
const exitRestart = 133

// mostDeaths is how often in a row a host may die young. A machine would go on for ever; a test wants to know.
const mostDeaths = 20

// bootAgainAndAgain is the host's firmware and boot loader. It closes off when the power is off.
func (h *Host) bootAgainAndAgain(off chan<- struct{}) {
	defer close(off)
	for deaths := 0; deaths < mostDeaths; {
		end, err := h.boot()
		switch {
		case err != nil:
			h.giveUp(err)
			return
		case end == PoweredOff || end == CutOff:
			return
		case end == Died:
			deaths++
		default:
			deaths = 0
		}
	}
	h.giveUp(fmt.Errorf("host %s died %d times in a row; the end of its console:\n%s", h.options.Name, mostDeaths, h.Console()))
}

func (h *Host) giveUp(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.trouble = err
}

// boot starts the host once and waits for the end of it.
func (h *Host) boot() (End, error) {
	// Each boot has a group of its own: the guard of the one before may still be about to end its.
	group, err := newCgroup(fmt.Sprintf("%s-%d", h.machine, len(h.Boots())))
	if err != nil {
		return "", fmt.Errorf("making the control group of host %s: %w", h.options.Name, err)
	}
	defer group.remove()
	c, err := h.powerUp(group)
	if c == nil {
		return CutOff, err
	}
	code := c.wait()

	h.mu.Lock()
	defer h.mu.Unlock()
	h.current = nil
	last := &h.boots[len(h.boots)-1]
	last.Ended = time.Now()
	switch {
	case h.cutting:
		last.End = CutOff
	case code == exitRestart:
		last.End = Restarted
	case code == 0:
		last.End = PoweredOff
	default:
		last.End = Died
	}
	return last.End, nil
}

// powerUp chooses an entry and starts it, unless the power was cut meanwhile: then there is no container.
func (h *Host) powerUp(group cgroup) (*container, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cutting {
		return nil, nil
	}
	boot, first, err := h.load()
	if err != nil {
		return nil, err
	}
	args := []string{
		"--quiet", "--register=no", "--keep-unit", "--directory=" + string(h.disk), "--machine=" + h.machine, "--uuid=" + h.uuid,
		"--kill-signal=SIGRTMIN+3", "--resolv-conf=off", "--timezone=off", "--link-journal=no",
	}
	for inside, folder := range h.options.Mounts {
		args = append(args, "--bind="+folder+":"+inside)
	}
	c, err := startContainer(group, filepath.Join(h.folder, "console.log"), append(append(args, "--"), first...)...)
	if err != nil {
		return nil, err
	}
	h.current = c
	h.boots = append(h.boots, boot)
	return c, nil
}

// load is the boot loader: it says what is booted, and the first process with its arguments.
func (h *Host) load() (Boot, []string, error) {
	if h.options.Plain {
		return Boot{At: time.Now()}, []string{"/usr/lib/systemd/systemd"}, nil
	}
	chosen, err := choose(h.disk.entries())
	if err != nil {
		return Boot{}, nil, err
	}
	deployment := chosen.option("elemental.deployment")
	init := cmp.Or(chosen.option("init"), "/elemental/bin/elemental")
	return Boot{Deployment: deployment, Entry: chosen.file, At: time.Now()}, []string{init, "init", "elemental.deployment=" + deployment}, nil
}

// container is a running systemd-nspawn.
type container struct {
	cmd   *exec.Cmd
	group cgroup
	log   *os.File
	alive *os.File // closed when this process ends, however it does
}

func startContainer(group cgroup, console string, args ...string) (*container, error) {
	log, err := os.OpenFile(console, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	guard, alive, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	defer func() { _ = guard.Close() }()
	cmd := exec.Command("sh", append([]string{"-c", group.joining(), "sh", "systemd-nspawn"}, args...)...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{guard}
	// Its own process group keeps the terminal's Ctrl-C away from it: the test decides when it ends.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("starting systemd-nspawn: %w", err), log.Close(), alive.Close())
	}
	return &container{cmd: cmd, group: group, log: log, alive: alive}, nil
}

// wait returns the exit code; -1 after a signal.
func (c *container) wait() int {
	_ = c.cmd.Wait() // The code says it all.
	_ = c.log.Close()
	_ = c.alive.Close()
	c.group.kill() // A first process may end before the others.
	return c.cmd.ProcessState.ExitCode()
}

// powerOff asks systemd-nspawn, which asks the host's systemd.
func (c *container) powerOff() { _ = c.cmd.Process.Signal(syscall.SIGTERM) }

// cut ends all processes at once.
func (c *container) cut() {
	if leader, err := c.leader(); err == nil {
		_ = syscall.Kill(leader, syscall.SIGKILL) // The kernel ends all others of its PID namespace.
	}
	c.group.kill()
	_ = c.cmd.Process.Kill()
}

// leader finds the host's first process, as this machine numbers it.
func (c *container) leader() (int, error) {
	folders, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0, err
	}
	for _, folder := range folders {
		status, err := os.ReadFile(filepath.Join(folder, "status"))
		if err != nil {
			continue // It has ended.
		}
		fields := map[string][]string{}
		for line := range strings.Lines(string(status)) {
			key, value, _ := strings.Cut(line, ":")
			fields[key] = strings.Fields(value)
		}
		inside := fields["NSpid"]
		if strings.Join(fields["PPid"], "") == strconv.Itoa(c.cmd.Process.Pid) && len(inside) > 1 && inside[len(inside)-1] == "1" {
			return strconv.Atoi(filepath.Base(folder))
		}
	}
	return 0, errors.New("it has no first process yet")
}
