package registry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// recipe makes a base system: Debian with systemd and the packages that are named, and nothing else that a host in a test
// does not need. What mmdebstrap copies from this machine is taken out again.
func recipe(packages ...string) []string {
	return []string{
		"--variant=minbase",
		"--include=" + strings.Join(append([]string{"systemd", "systemd-sysv", "dbus", "udev", "iproute2"}, packages...), ","),
		"--dpkgopt=path-exclude=/usr/share/doc/*",
		"--dpkgopt=path-exclude=/usr/share/man/*",
		"--dpkgopt=path-exclude=/usr/share/info/*",
		"--dpkgopt=path-exclude=/usr/share/locale/*",
		`--customize-hook=rm -rf "$1"/etc/hostname "$1"/etc/resolv.conf "$1"/var/log/*.log "$1"/var/cache/*/*`,
		"bookworm",
	}
}

// baseFacts is what is kept beside the blob, so that it is not hashed again by each test.
type baseFacts struct {
	Digest, DiffID v1.Hash
	Size           int64
}

// Base is the lowest layer of every system: a Debian with systemd. It is made once on a machine, which takes
// a minute and tells so; then it comes from the user's cache folder.
func Base(ctx context.Context, progress io.Writer) (v1.Layer, error) {
	return cachedBase(ctx, recipe(), progress)
}

// JoiningBase is Base with what applies bootstrap data: cloud-init and Ignition, as Debian has them. Python makes it twice
// as large, and so only those stories make it that need it.
func JoiningBase(ctx context.Context, progress io.Writer) (v1.Layer, error) {
	return cachedBase(ctx, recipe("cloud-init", "ignition"), progress)
}

func cachedBase(ctx context.Context, recipe []string, progress io.Writer) (v1.Layer, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("finding a place for the base system: %w", err)
	}
	folder := filepath.Join(cache, "elemental", "images")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(runtime.GOARCH + "\n" + strings.Join(recipe, "\n")))
	file := filepath.Join(folder, "base-"+hex.EncodeToString(sum[:6])+".tar.gz")
	if l, err := readBase(file); err == nil {
		return l, nil
	}

	unlock, err := lock(ctx, filepath.Join(folder, "base.lock"), progress)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if l, err := readBase(file); err == nil { // Another test made it meanwhile.
		return l, nil
	}
	if err := makeBase(ctx, recipe, file, progress); err != nil {
		return nil, fmt.Errorf("making the base system: %w", err)
	}
	return readBase(file)
}

// readBase finds a base that is whole: its facts are written after it.
func readBase(file string) (v1.Layer, error) {
	text, err := os.ReadFile(file + ".json")
	if err != nil {
		return nil, err
	}
	var facts baseFacts
	if err := json.Unmarshal(text, &facts); err != nil {
		return nil, err
	}
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if info.Size() != facts.Size {
		return nil, fmt.Errorf("%s is not whole", file)
	}
	return &layer{digest: facts.Digest, diffID: facts.DiffID, size: facts.Size, file: file}, nil
}

func makeBase(ctx context.Context, recipe []string, file string, progress io.Writer) error {
	work, err := os.MkdirTemp(filepath.Dir(file), ".base-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	archive := filepath.Join(work, "base.tar")
	if err := bootstrap(ctx, recipe, archive, progress); err != nil {
		return err
	}
	from, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	half := filepath.Join(work, "base.tar.gz")
	to, err := os.Create(half)
	if err != nil {
		return err
	}
	l, err := compress(to, from)
	if err := errors.Join(err, to.Close()); err != nil {
		return err
	}
	text, err := json.Marshal(baseFacts{Digest: l.digest, DiffID: l.diffID, Size: l.size})
	if err != nil {
		return err
	}
	facts := filepath.Join(work, "facts")
	if err := os.WriteFile(facts, text, 0o644); err != nil {
		return err
	}
	if err := os.Rename(half, file); err != nil {
		return err
	}
	return os.Rename(facts, file+".json")
}

// bootstrap runs mmdebstrap, and says every ten seconds that it still does.
func bootstrap(ctx context.Context, recipe []string, archive string, progress io.Writer) error {
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, "mmdebstrap", append(recipe, archive)...)
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) } // It takes its mounts away itself.
	cmd.WaitDelay = 30 * time.Second
	fmt.Fprintln(progress, "Making a base system of the hosts with mmdebstrap. That takes about a minute, once.")
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			fmt.Fprintf(progress, "  mmdebstrap runs for %s\n", time.Since(start).Round(time.Second))
		case err := <-done:
			if err != nil {
				return fmt.Errorf("running mmdebstrap: %w\n%s", err, said.String())
			}
			return nil
		}
	}
}

// lock waits until nobody else holds the file.
func lock(ctx context.Context, file string, progress io.Writer) (unlock func(), err error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for told := false; ; told = true {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.Join(&fs.PathError{Op: "lock", Path: file, Err: err}, f.Close())
		}
		if !told {
			fmt.Fprintln(progress, "Waiting for another test that makes a base system.")
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), f.Close())
		case <-time.After(200 * time.Millisecond):
		}
	}
}
