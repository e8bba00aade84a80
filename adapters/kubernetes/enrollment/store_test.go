package enrollment

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/matryer/is"
	"golang.org/x/sys/unix"

	"elemental/ports"
)

func (h *host) file(name string) string { return filepath.Join(h.folder, name) }

func (h *host) write(name string, content []byte) {
	h.t.Helper()
	if err := errors.Join(os.MkdirAll(h.folder, 0o700), os.WriteFile(h.file(name), content, 0o600)); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) read(name string) []byte {
	h.t.Helper()
	content, err := os.ReadFile(h.file(name))
	if err != nil {
		h.t.Fatal(err)
	}
	return content
}

// once sees that there is one host, which asked once for each time that the cluster forgot it.
func (c *cluster) once(asked int) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.hosts) != 1 || len(c.requests) != 1 || c.asked["create request"] != asked {
		c.t.Errorf("there are %d hosts and %d requests, and it was asked %d times", len(c.hosts), len(c.requests), c.asked["create request"])
	}
}

func TestFilesAreForTheirOwnerAlone(t *testing.T) {
	is := is.New(t)
	c := play(t)
	h := newHost(t, c)
	h.join()
	for name, mode := range map[string]os.FileMode{".": 0o700, keyFile: 0o600, credentialsFile: 0o600} {
		info, err := os.Stat(h.file(name))
		is.NoErr(err)
		is.Equal(info.Mode().Perm(), mode)
	}
	left, err := os.ReadDir(h.folder)
	is.NoErr(err)
	is.Equal(len(left), 2)
}

// What a process that was killed leaves behind is one of these, since each file is written under another name first.
func TestHalfWrittenFiles(t *testing.T) {
	for name, leave := range map[string]func(h *host){
		"a folder":          func(h *host) { h.write("x", nil); _ = os.Remove(h.file("x")) },
		"an empty new key":  func(h *host) { h.write(keyFile+".tmp", nil) },
		"half of a new key": func(h *host) { h.write(keyFile+".tmp", []byte("half of a key")) },
		"half of the credentials": func(h *host) {
			h.join()
			kept := h.read(credentialsFile)
			h.write(credentialsFile+".tmp", kept[:len(kept)/2])
			if err := os.Remove(h.file(credentialsFile)); err != nil {
				h.t.Fatal(err)
			}
		},
		"half of the next credentials": func(h *host) {
			h.join()
			kept := h.read(credentialsFile)
			h.write(credentialsFile+".tmp", kept[:len(kept)/2])
		},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			c := play(t)
			h := newHost(t, c)
			leave(h)
			h.start()
			if _, err := h.Identity(t.Context()); err != nil {
				is.True(errors.Is(err, ports.ErrNotFound))
				h.join()
			}
			h.start()
			identity, err := h.Identity(t.Context())
			is.NoErr(err)
			is.Equal(identity.Host, "edge-1")
			c.once(1)
		})
	}
}

func TestDamagedCredentials(t *testing.T) {
	for name, damage := range map[string]func(text []byte) []byte{
		"empty":      func([]byte) []byte { return nil },
		"truncated":  func(text []byte) []byte { return text[:len(text)/2] },
		"zeros":      func(text []byte) []byte { return make([]byte, len(text)) },
		"other JSON": func([]byte) []byte { return []byte(`{"credentials":{}}`) },
		"no request": func(text []byte) []byte { return bytes.Replace(text, []byte(`"request"`), []byte(`"rekuest"`), 1) },
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			c := play(t)
			h := newHost(t, c)
			before := h.join()
			h.write(credentialsFile, damage(h.read(credentialsFile)))
			h.start()
			_, err := h.Identity(t.Context())
			is.True(errors.Is(err, ports.ErrNotFound))
			is.True(strings.Contains(err.Error(), credentialsFile))
			is.True(!strings.Contains(err.Error(), "canary"))
			is.Equal(h.join().Host, before.Host)
			c.once(1)
		})
	}
}

func TestADamagedKey(t *testing.T) {
	for name, damage := range map[string]func(key []byte) []byte{
		"empty":     func([]byte) []byte { return nil },
		"truncated": func(key []byte) []byte { return key[:32] },
		"one bit":   func(key []byte) []byte { key[3] ^= 1; return key },
		"zeros":     func(key []byte) []byte { return make([]byte, len(key)) },
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			c := play(t)
			h := newHost(t, c)
			before := h.join()
			good := h.read(keyFile)
			h.write(keyFile, damage(bytes.Clone(good)))
			h.start()
			identity, err := h.Identity(t.Context())
			is.NoErr(err) // It lives on as long as its token does.
			is.Equal(identity, before)
			joined := h.joining()
			h.await(h.file(keyFile) + " is damaged: restore it, or remove it, and the host asks to join as a new one")
			h.write(keyFile, good)
			is.Equal((<-joined).Host, before.Host)
			c.once(1)
		})
	}
}

// full is a folder on a file system of its own, and what fills it and makes room again.
func (h *host) full() (fill, room func()) {
	h.t.Helper()
	if os.Getuid() != 0 {
		h.t.Skip("making a small file system takes root")
	}
	disk := h.t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=64k"); err != nil {
		h.t.Skipf("making a small file system: %v", err)
	}
	h.t.Cleanup(func() { _ = unix.Unmount(disk, unix.MNT_DETACH) })
	h.folder = filepath.Join(disk, "identity")
	h.start()
	filler := filepath.Join(disk, "filler")
	fill = func() {
		h.t.Helper()
		file, err := os.Create(filler)
		for err == nil {
			_, err = file.Write(make([]byte, 512))
		}
		if !errors.Is(err, unix.ENOSPC) {
			h.t.Fatal(err)
		}
		_ = file.Close()
	}
	return fill, func() {
		if err := os.Remove(filler); err != nil {
			h.t.Error(err)
		}
	}
}

func TestAFullDisk(t *testing.T) {
	is := is.New(t)
	c := play(t)
	h := newHost(t, c)
	fill, room := h.full()

	// While the key is made.
	is.NoErr(os.Mkdir(h.folder, 0o700))
	fill()
	joined := h.joining()
	h.await("RegistrationFailed: keeping the host's identity: writing " + h.file(keyFile))
	is.True(strings.Contains(h.heard(), "no space left on device"))
	is.Equal(c.count("create request"), 0) // Nobody asks with a key that may be lost.
	c.change(func() { c.answers = waits })
	room()
	h.await("WaitingForApproval")

	// While the answer is kept.
	fill()
	c.change(func() { c.answers = letIn })
	h.await("writing " + h.file(credentialsFile))
	room()
	before := <-joined
	is.Equal(before.Host, "edge-1")
	c.once(1)

	// While a renewal is kept.
	fill()
	_, end := h.keeping()
	h.await("RenewalFailed: the token was renewed and serves until this process ends: keeping the host's identity")
	is.Equal(h.use(), 200)
	room()
	h.until("the token is kept", func() bool {
		kept, err := h.store.load()
		return err == nil && kept.Credentials.Token == h.now().Credentials.Token
	})
	is.NoErr(end())
	h.start()
	after, err := h.Identity(t.Context())
	is.NoErr(err)
	is.Equal(after, before)
	is.Equal(h.use(), 200)
}

func TestAReadOnlyDisk(t *testing.T) {
	is := is.New(t)
	c := play(t)
	h := newHost(t, c)
	h.full()
	disk := filepath.Dir(h.folder)
	is.NoErr(unix.Mount("", disk, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	joined := h.joining()
	h.await("read-only file system")
	is.NoErr(unix.Mount("", disk, "", unix.MS_REMOUNT, ""))
	is.Equal((<-joined).Host, "edge-1")
	c.once(1)
}

// A new process is killed at each system call by which it makes its files durable, one call later each time. Whatever
// it leaves, the next is the same host.
func TestKilledAtEveryStep(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("killing a process at a system call takes strace")
	}
	is := is.New(t)
	c := play(t)
	h := newHost(t, c)
	kills, key := 0, []byte(nil)
	for _, call := range []string{"mkdirat", "openat", "write", "fsync", "renameat", "unlinkat"} {
		for nth := 1; ; nth++ {
			is.NoErr(os.RemoveAll(filepath.Dir(h.folder)))
			c.forget(true)
			killed := h.killedAt(strace, call, nth)
			if !killed {
				break
			}
			kills++
			if before, err := os.ReadFile(h.file(keyFile)); err == nil {
				key = before
			}
			h.start()
			if _, err := h.Identity(t.Context()); errors.Is(err, ports.ErrNotFound) {
				h.join()
			}
			if key != nil && !bytes.Equal(h.read(keyFile), key) {
				t.Errorf("killed at %s %d it had another key afterwards", call, nth)
			}
			key = nil
			c.change(func() {
				if len(c.hosts) != 1 || len(c.requests) != 1 {
					t.Errorf("killed at %s %d it came to be %d hosts by %d requests", call, nth, len(c.hosts), len(c.requests))
				}
			})
		}
	}
	t.Logf("it was killed %d times", kills)
	is.True(kills >= 12)
}

// killedAt runs a process that joins, and kills it before the nth call of this name on a path of its own.
func (h *host) killedAt(strace, call string, nth int) bool {
	h.t.Helper()
	bundle, err := h.bundle()
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(h.t.Context(), 20*time.Second)
	defer cancel()
	paths := []string{"-P", h.folder, "-P", filepath.Dir(h.folder), "-P", h.file(keyFile), "-P", h.file(keyFile + ".tmp"), "-P", h.file(credentialsFile), "-P", h.file(credentialsFile + ".tmp")}
	args := append(paths, "-f", "-qq", "-o", "/dev/null", "-e", "trace="+call, "-e", "inject="+call+":signal=KILL:when="+strconv.Itoa(nth), os.Args[0], "-test.run=^TestJoiningProcess$")
	cmd := exec.CommandContext(ctx, strace, args...)
	cmd.Env = append(os.Environ(), "JOIN_FOLDER="+h.folder, "JOIN_SERVER="+bundle.Server, "JOIN_CA="+string(bundle.CA), "JOIN_TOKEN="+bundle.Token)
	said, err := cmd.CombinedOutput()
	exit := (*exec.ExitError)(nil)
	switch {
	case err == nil:
		return false
	case errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signaled() && ctx.Err() == nil:
		return true
	default:
		h.t.Fatalf("%v\n%s", err, said)
		return false
	}
}

// TestJoiningProcess is the process of TestKilledAtEveryStep.
func TestJoiningProcess(t *testing.T) {
	folder := os.Getenv("JOIN_FOLDER")
	if folder == "" {
		t.Skip("it is started by another test")
	}
	h := &host{t: t, folder: folder, bundle: func() (Bundle, error) {
		return Bundle{Server: os.Getenv("JOIN_SERVER"), CA: []byte(os.Getenv("JOIN_CA")), Namespace: "field", Registration: "edge", Token: os.Getenv("JOIN_TOKEN")}, nil
	}}
	h.start()
	h.join()
}
