package hosts

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// Missing says what this machine lacks to start hosts; nil when it lacks nothing.
func Missing() error {
	var lacks []error
	if os.Getuid() != 0 {
		lacks = append(lacks, errors.New("root"))
	}
	for _, program := range []struct{ name, pkg string }{
		{"systemd-nspawn", "systemd-container"}, {"nsenter", "util-linux"}, {"journalctl", "systemd"}, {"tar", "tar"},
	} {
		if _, err := exec.LookPath(program.name); err != nil {
			lacks = append(lacks, fmt.Errorf("%s (apt-get install %s)", program.name, program.pkg))
		}
	}
	if len(lacks) == 0 {
		lacks = append(lacks, mayContain())
	}
	if err := errors.Join(lacks...); err != nil {
		return fmt.Errorf("starting hosts in containers needs: %w", err)
	}
	return nil
}

// mayContain says what keeps even root from starting containers, as it is inside of most containers.
func mayContain() error {
	try := exec.Command("true")
	try.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID}
	if err := try.Run(); err != nil {
		return fmt.Errorf("the right to make namespaces (%w)", err)
	}
	group, err := newCgroup(fmt.Sprintf("%s%d-trial-%d", prefix, os.Getpid(), try.Process.Pid))
	if err != nil {
		return fmt.Errorf("the right to make control groups (%w)", err)
	}
	group.remove()
	return nil
}
