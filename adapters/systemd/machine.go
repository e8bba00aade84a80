// Package systemd is the host that the agent runs on: what is true of the running system, its restart
// through logind, and the service manager that watches over the agent.
package systemd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"

	"elemental/ports"
)

// Sentinel is the file that a bootstrap provider leaves when bootstrapping has succeeded. Its place is
// Cluster API's contract for bootstrap providers.
const Sentinel = "/run/cluster-api/bootstrap-success.complete"

// Machine is this host. It implements ports.Machine.
type Machine struct {
	root        string // of the file system, for tests
	version     string
	credentials string // the folder of what the service manager hands over; empty where it hands over nothing
}

// NewMachine returns this host; version is the agent's own.
func NewMachine(version string) Machine {
	return Machine{root: "/", version: version, credentials: os.Getenv("CREDENTIALS_DIRECTORY")}
}

// Facts reads what is true of the running system.
func (m Machine) Facts(context.Context) (ports.Facts, error) {
	boot, err := m.boot()
	if err != nil {
		return ports.Facts{}, fmt.Errorf("reading the boot ID: %w", err)
	}
	// A system without a machine ID or a release file is odd, and no reason to stop.
	machine, _ := m.line("etc/machine-id")
	var kernel unix.Utsname
	if err := unix.Uname(&kernel); err != nil {
		return ports.Facts{}, fmt.Errorf("reading the kernel's version: %w", err)
	}
	return ports.Facts{
		BootID: boot, MachineID: machine, OSImage: m.release(), AgentVersion: m.version,
		Hostname: hostname(), Serial: m.serial(),
		KernelVersion: string(bytes.TrimRight(kernel.Release[:], "\x00")), Architecture: runtime.GOARCH,
	}, nil
}

// boot is the boot ID. The agent's service is handed it as a credential: it has a /proc of its own, in which the one of
// a host that is a container, mounted over that of its machine, can't be seen.
func (m Machine) boot() (string, error) {
	if m.credentials != "" {
		if text, err := os.ReadFile(filepath.Join(m.credentials, "boot_id")); !errors.Is(err, fs.ErrNotExist) {
			return strings.TrimSpace(string(text)), err
		}
	}
	return m.line("proc/sys/kernel/random/boot_id")
}

// hostname is empty where the kernel gives none, which it always does.
func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	return name
}

// serial is the first number of the hardware that its maker has filled in.
func (m Machine) serial() string {
	for _, name := range []string{"product_serial", "board_serial", "product_uuid"} {
		text, err := m.line(filepath.Join("sys/class/dmi/id", name))
		if err == nil && !placeholder(text) {
			return text
		}
	}
	return ""
}

// placeholder says whether makers write this where they have no number: two hosts would then share it.
func placeholder(serial string) bool {
	switch strings.ToLower(strings.TrimSpace(serial)) {
	case "", "0", "none", "unknown", "default string", "not specified", "not applicable", "system serial number", "to be filled by o.e.m.", "n/a", "0123456789", "123456789":
		return true
	}
	return strings.Trim(serial, "0- .xXfF") == ""
}

func (m Machine) line(name string) (string, error) {
	text, err := os.ReadFile(filepath.Join(m.root, name))
	return strings.TrimSpace(string(text)), err
}

// release is what the system calls itself, as os-release(5) says.
func (m Machine) release() string {
	for _, name := range []string{"etc/os-release", "usr/lib/os-release"} {
		text, err := os.ReadFile(filepath.Join(m.root, name))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			value, found := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME=")
			if !found {
				continue
			}
			if plain, err := strconv.Unquote(value); err == nil {
				return plain
			}
			return strings.Trim(value, `'`)
		}
	}
	return ""
}

// Joined says whether this boot has seen bootstrapping succeed.
func (m Machine) Joined(context.Context) (bool, error) {
	_, err := os.Stat(filepath.Join(m.root, Sentinel))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking for the sentinel of bootstrapping: %w", err)
	}
	return true, nil
}

// FollowJoined watches the sentinel's folder, and that folder's own, since it may not be there yet.
func (m Machine) FollowJoined(ctx context.Context, changed func()) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watching for the sentinel of bootstrapping: %w", err)
	}
	defer func() { _ = watcher.Close() }() // It holds nothing that could be lost.
	folder := filepath.Dir(filepath.Join(m.root, Sentinel))
	if err := watcher.Add(filepath.Dir(folder)); err != nil {
		return fmt.Errorf("watching %s for the sentinel of bootstrapping: %w", filepath.Dir(folder), err)
	}
	before := false
	for {
		_ = watcher.Add(folder) // It fails until the folder is made, which is an event of its parent.
		if now, err := m.Joined(ctx); err == nil && now != before {
			before = now
			changed()
		}
		select {
		case <-ctx.Done():
			return nil
		case _, open := <-watcher.Events:
			if !open {
				return nil
			}
		case err := <-watcher.Errors:
			return fmt.Errorf("watching for the sentinel of bootstrapping: %w", err)
		}
	}
}
