// Package hosts starts real hosts for tests: machines in containers of systemd-nspawn, whose first process is
// Elemental, with a disk, a boot loader that counts tries, their own systemd, D-Bus and logind. They restart
// when they are told to, fall back when a system is broken, and may lose their power at any moment.
//
// For machines without root or systemd-nspawn there are process hosts, which only run the agent.
package hosts

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Options say what a host is.
type Options struct {
	Name      string // host name
	Binary    string // the elemental binary, which is the first process
	Image     v1.Image
	Version   string            // as Image calls itself
	Reference string            // the name under which Image was pushed; where it is empty, the image plugin does not install it
	Plain     bool              // the disk is the system's own root, writable, which nothing but its package manager manages
	Etc       map[string]string // files of the host's own /etc, by their path below it
	Disk      string            // a folder that is the host's disk, installed by someone else, and not removed; empty: one is made of the above
	Mounts    map[string]string // folders of this machine that the host has as its own, by their path in it
}

// End is how a boot ended.
type End string

// The ends of a boot. A boot that goes on has none.
const (
	Restarted  End = "restarted"
	PoweredOff End = "powered off"
	Died       End = "died"      // its first process ended by itself
	CutOff     End = "power cut" // by Kill
)

// Boot is one start of a host.
type Boot struct {
	Deployment string // empty where the host is plain
	Entry      string // the file name of the boot entry, its try counted
	At         time.Time
	Ended      time.Time
	End        End
}

// Host is a machine.
type Host struct {
	options Options
	folder  string
	disk    disk
	machine string // its name for systemd-nspawn
	uuid    string

	mu      sync.Mutex
	boots   []Boot
	trouble error         // why the boot loader gave up
	cutting bool          // Kill was called, or Stop
	off     chan struct{} // closed while the power is off
	current *container
}

// Start lays out a host's disk with its first system and turns the power on. It returns while the host still
// boots. The caller must call Remove.
func Start(ctx context.Context, options Options) (*Host, error) {
	if err := Missing(); err != nil {
		return nil, err
	}
	sweep()
	random := make([]byte, 16)
	if _, err := rand.Read(random); err != nil {
		return nil, err
	}
	h := &Host{options: options, uuid: hex.EncodeToString(random), off: make(chan struct{})}
	close(h.off)
	h.machine = fmt.Sprintf("%s%d-%s-%s", prefix, os.Getpid(), options.Name, h.uuid[:6])
	h.folder = filepath.Join(os.TempDir(), h.machine)
	h.disk = disk(cmp.Or(options.Disk, filepath.Join(h.folder, "disk")))
	err := errors.Join(os.MkdirAll(h.folder, 0o755), os.MkdirAll(string(h.disk), 0o755))
	switch {
	case err != nil, options.Disk != "":
	case options.Plain:
		err = h.disk.installPlain(ctx, options)
	default:
		err = h.disk.install(ctx, options)
	}
	if err == nil {
		err = h.On()
	}
	if err != nil {
		h.Remove()
		return nil, fmt.Errorf("starting host %s: %w", options.Name, err)
	}
	return h, nil
}

// Name is the host's name.
func (h *Host) Name() string { return h.options.Name }

// Disk is the folder that is the host's disk.
func (h *Host) Disk() string { return string(h.disk) }

// Boots lists the starts of this host, the first one first.
func (h *Host) Boots() []Boot {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.boots)
}

// Trouble says why a host that is off could not go on; nil when it was turned off or runs.
func (h *Host) Trouble() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.trouble
}

// On turns the power on. It returns while the host still boots.
func (h *Host) On() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case <-h.off:
	default:
		return fmt.Errorf("turning on host %s: it is on", h.options.Name)
	}
	h.off, h.cutting, h.trouble = make(chan struct{}), false, nil
	go h.bootAgainAndAgain(h.off)
	return nil
}

// Stop powers the host off in good order, as its power button does, and waits until it is off.
func (h *Host) Stop(ctx context.Context) error {
	h.mu.Lock()
	current, off := h.current, h.off
	h.mu.Unlock()
	if current != nil {
		current.powerOff()
	}
	select {
	case <-off:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("powering off host %s: %w", h.options.Name, ctx.Err())
	}
}

// WaitOff waits until the host has turned itself off.
func (h *Host) WaitOff(ctx context.Context) error {
	h.mu.Lock()
	off := h.off
	h.mu.Unlock()
	select {
	case <-off:
		return h.Trouble()
	case <-ctx.Done():
		return fmt.Errorf("waiting until host %s is off: %w", h.options.Name, ctx.Err())
	}
}

// Kill cuts the power: every process of the host is gone at once, and nothing is said to any of them.
func (h *Host) Kill() {
	h.mu.Lock()
	h.cutting = true
	current, off := h.current, h.off
	h.mu.Unlock()
	if current != nil {
		current.cut()
	}
	<-off
}

// Remove cuts the power and throws the host away. It may be called more than once.
func (h *Host) Remove() {
	h.Kill()
	h.disk.forget(h.machine)
	_ = os.RemoveAll(h.folder) // What stays is swept by the next Start.
}
