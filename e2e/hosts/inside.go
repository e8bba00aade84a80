package hosts

import (
	"bytes"
	"context"
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

// Leader is the process ID, on this machine, of the host's first process.
func (h *Host) Leader() (int, error) {
	h.mu.Lock()
	current := h.current
	h.mu.Unlock()
	if current == nil {
		return 0, fmt.Errorf("host %s is off", h.options.Name)
	}
	pid, err := current.leader()
	if err != nil {
		return 0, fmt.Errorf("looking for the first process of host %s: %w", h.options.Name, err)
	}
	return pid, nil
}

// Exec runs a command inside the host and returns what it printed. The error holds its standard error.
func (h *Host) Exec(ctx context.Context, command ...string) (string, error) {
	leader, err := h.Leader()
	if err != nil {
		return "", err
	}
	args := append([]string{"--target=" + strconv.Itoa(leader), "--mount", "--uts", "--ipc", "--pid", "--cgroup", "--root", "--wd", "--"}, command...)
	cmd := exec.CommandContext(ctx, "nsenter", args...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=dumb", "LANG=C.UTF-8", "SYSTEMD_COLORS=0", "SYSTEMD_PAGER=", "HOME=/root"}
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	cmd.WaitDelay = time.Second
	if err = cmd.Start(); err == nil {
		awake := keepAwake(cmd.Process)
		err = cmd.Wait()
		awake()
	}
	if err != nil {
		return out.String(), fmt.Errorf("running %s on host %s: %w\n%s", strings.Join(command, " "), h.options.Name, err, said.String())
	}
	return out.String(), nil
}

// keepAwake continues a process again and again until it is told to end. A system that shuts down stops all its
// processes before it kills them; nsenter stops with the one that it has started, and nobody would continue it.
func keepAwake(process *os.Process) (end func()) {
	done := make(chan struct{})
	go func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				_ = process.Signal(syscall.SIGCONT) // It may have ended in this moment.
			}
		}
	}()
	return func() { close(done) }
}

// Booted is the deployment that runs, as the host itself says; an error while it has none.
func (h *Host) Booted() (string, error) {
	leader, err := h.Leader()
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/root/run/elemental/deployment", leader))
	if err != nil {
		return "", fmt.Errorf("host %s has not entered its deployment: %w", h.options.Name, err)
	}
	return strings.TrimSpace(string(text)), nil
}

// WaitBooted waits until the host runs a deployment and its systemd has started all that it starts.
func (h *Host) WaitBooted(ctx context.Context, deployment string) error {
	for {
		last := h.booted(ctx, deployment)
		if last == nil {
			return nil
		}
		if err := h.Trouble(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting until host %s runs deployment %s: %w; at last: %w", h.options.Name, deployment, ctx.Err(), last)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (h *Host) booted(ctx context.Context, deployment string) error {
	now, err := h.Booted()
	if err != nil {
		return err
	}
	if now != deployment {
		return fmt.Errorf("it runs deployment %s", now)
	}
	state, err := h.Exec(ctx, "systemctl", "is-active", "multi-user.target")
	if strings.TrimSpace(state) != "active" {
		return errors.Join(fmt.Errorf("its multi-user.target is %q", strings.TrimSpace(state)), err)
	}
	return nil
}

// Restart asks the host's logind for a restart, as an administrator's reboot does. It returns before it
// begins.
func (h *Host) Restart(ctx context.Context) error {
	_, err := h.Exec(ctx, "busctl", "call", "org.freedesktop.login1", "/org/freedesktop/login1",
		"org.freedesktop.login1.Manager", "Reboot", "b", "false")
	if err != nil && strings.Contains(err.Error(), "Connection reset by peer") {
		return nil // The restart was faster than logind's answer.
	}
	return err
}

// KillAgent ends the agent with signal 9; systemd starts it again.
func (h *Host) KillAgent(ctx context.Context) error {
	_, err := h.Exec(ctx, "systemctl", "kill", "--kill-who=main", "--signal=KILL", "elemental-agent.service")
	return err
}

// Journal is the log of all boots of the host, the last lines of it where it is long. It can also be read
// while the host is off.
func (h *Host) Journal(ctx context.Context, units ...string) string {
	folder := "elemental/var/log/journal"
	if h.options.Plain {
		folder = "var/log/journal"
	}
	args := []string{"--directory=" + h.disk.path(folder), "--no-pager", "--quiet", "--no-hostname",
		"--output=short-iso-precise", "--lines=2000"}
	for _, unit := range units {
		args = append(args, "--unit="+unit)
	}
	out, err := exec.CommandContext(ctx, "journalctl", args...).CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%s\nreading the journal of host %s: %v", out, h.options.Name, err)
	}
	return string(out)
}

// Console is the end of what the host wrote to its console, in all its boots.
func (h *Host) Console() string {
	const most = 40
	text, err := os.ReadFile(filepath.Join(h.folder, "console.log"))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-most):], "\n")
}

// Report is what a person needs to know of a host in a test that failed.
func (h *Host) Report(ctx context.Context) string {
	var all strings.Builder
	fmt.Fprintf(&all, "Host %s\n", h.options.Name)
	for i, b := range h.Boots() {
		fmt.Fprintf(&all, "  boot %d at %s: deployment %s by entry %s, %s\n", i+1, b.At.Format(time.TimeOnly), b.Deployment, b.Entry, b.End)
	}
	if entries, err := os.ReadDir(h.disk.entries()); err == nil {
		for _, e := range entries {
			fmt.Fprintf(&all, "  entry %s\n", e.Name())
		}
	}
	fmt.Fprintf(&all, "The end of its console:\n%s\nIts journal of Elemental:\n%s\n", h.Console(),
		h.Journal(ctx, "elemental-agent.service", "elemental-health.service"))
	return all.String()
}
