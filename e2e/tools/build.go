package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// progressEvery keeps a build of several minutes from looking like a hang.
const progressEvery = 10 * time.Second

// provide puts one program into the folder: the user's own copy, or one built from source.
func provide(ctx context.Context, home string, m module, p program, folder string) error {
	target := filepath.Join(folder, p.name)
	if exists(target) {
		return nil
	}
	// The temporary name is always the same: the lock keeps others away, and what a killed run left
	// behind is written over. A program appears under its own name only when it is whole.
	half := filepath.Join(folder, "."+p.name+".half")
	if err := os.Remove(half); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if own := asset(p); own != "" {
		say("%s: taking %s", p.name, own)
		if err := os.Symlink(own, half); err != nil {
			return err
		}
		return os.Rename(half, target)
	}
	version, err := m.version(home)
	if err != nil {
		return err
	}
	if err := build(ctx, filepath.Join(home, m.dir), p, version, m.stamp, half); err != nil {
		return err
	}
	return os.Rename(half, target)
}

func build(ctx context.Context, dir string, p program, version string, stamp func(string) []string, file string) error {
	flags := []string{"-s", "-w"}
	if stamp != nil {
		for _, assignment := range stamp(version) {
			flags = append(flags, "-X", assignment)
		}
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-v", "-trimpath", "-buildvcs=false",
		"-ldflags", strings.Join(flags, " "), "-o", file, p.pkg)
	cmd.Dir = dir
	// The tools run on this machine and are static, whatever the user builds Elemental for.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off", "GOOS=", "GOARCH=")

	var said output
	cmd.Stdout, cmd.Stderr = &said, &said
	start := time.Now()
	say("%s %s: building from source", p.name, version)
	stop := every(progressEvery, func() {
		say("%s %s: building for %s, %d packages compiled", p.name, version, since(start), said.lines())
	})
	defer stop()
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("building %s: interrupted; what is compiled so far is kept", p.name)
		}
		return fmt.Errorf("building %s %s in %s: %w\n%s", p.name, version, dir, err, said.tail())
	}
	say("%s %s: built in %s", p.name, version, since(start))
	return nil
}

// lock waits until no other run builds into the folder.
func lock(ctx context.Context, folder string) (unlock func(), err error) {
	file, err := os.OpenFile(filepath.Join(folder, ".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	stop := every(progressEvery, func() { say("waiting for another run that builds into %s", folder) })
	defer stop()
	for {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = file.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			_ = file.Close()
			return nil, fmt.Errorf("locking %s: %w", folder, err)
		}
		select {
		case <-ctx.Done():
			_ = file.Close()
			return nil, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// output keeps what a command says, for the progress lines and for the error.
type output struct {
	mu   sync.Mutex
	text []byte
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text = append(o.text, p...)
	return len(p), nil
}

func (o *output) lines() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return bytes.Count(o.text, []byte("\n"))
}

func (o *output) tail() string {
	const most = 20
	o.mu.Lock()
	defer o.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(string(o.text)), "\n")
	return strings.Join(lines[max(0, len(lines)-most):], "\n")
}

// every calls f again and again until it is stopped.
func every(interval time.Duration, f func()) (stop func()) {
	ticker := time.NewTicker(interval)
	done := make(chan struct{})
	go func() {
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				f()
			}
		}
	}()
	return func() { close(done) }
}

func since(start time.Time) time.Duration {
	return time.Since(start).Round(time.Second)
}

// say prints to standard error, because standard output holds the answer alone.
func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}
