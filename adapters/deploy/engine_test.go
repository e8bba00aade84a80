package deploy_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/matryer/is"
	"golang.org/x/sys/unix"

	"elemental/adapters/deploy"
	"elemental/core"
	"elemental/ports"
	"elemental/ports/portstest"
)

// item is one entry of a test's layer. The zero type is a file.
type item struct {
	name    string
	content string
	mode    int64 // by default 0644, of folders 0755
	kind    byte
	link    string
	xattrs  map[string]string
	uid     int // added to the test's own
	time    time.Time
	major   int64
	minor   int64
}

var testTime = time.Unix(1_700_000_000, 0)

// layer makes a tar.
func layer(t testing.TB, items ...item) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, i := range items {
		h := &tar.Header{
			Name: i.name, Mode: i.mode, Typeflag: i.kind, Linkname: i.link, Uid: os.Getuid() + i.uid, Gid: os.Getgid() + i.uid,
			ModTime: i.time, Devmajor: i.major, Devminor: i.minor, Format: tar.FormatPAX,
		}
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(i.content))
		}
		if h.Mode == 0 {
			h.Mode = 0o644
			if h.Typeflag == tar.TypeDir {
				h.Mode = 0o755
			}
		}
		if h.ModTime.IsZero() {
			h.ModTime = testTime
		}
		for key, value := range i.xattrs {
			if h.PAXRecords == nil {
				h.PAXRecords = map[string]string{}
			}
			h.PAXRecords["SCHILY.xattr."+key] = value
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write([]byte(i.content)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// folder is an item.
func folder(name string) item { return item{name: name, kind: tar.TypeDir} }

// symlink is an item.
func symlink(name, to string) item {
	return item{name: name, kind: tar.TypeSymlink, link: to, mode: 0o777}
}

// hardlink is an item.
func hardlink(name, to string) item { return item{name: name, kind: tar.TypeLink, link: to} }

// system is the least that can be booted.
func system(t testing.TB, version string, more ...item) []byte {
	return layer(t, append([]item{
		folder("usr/"), folder("usr/lib/"), folder("usr/lib/systemd/"), folder("etc/"), folder("sbin/"), folder("var/lib/"),
		{name: "usr/lib/systemd/systemd", content: "an init", mode: 0o755},
		symlink("sbin/init", "/usr/lib/systemd/systemd"),
		{name: "usr/lib/os-release", content: "ID=test\nPRETTY_NAME=\"Test " + version + "\"\n"},
		symlink("etc/os-release", "../usr/lib/os-release"),
		{name: "etc/hostname", content: "image-" + version + "\n"},
		{name: "etc/same", content: "the same in all\n"},
		{name: "usr/lib/version", content: version},
	}, more...)...)
}

// host is a machine with an engine, a registry and a boot loader.
type host struct {
	*deploy.Engine
	t      *testing.T
	is     *is.I
	images *portstest.Images
	loader *portstest.BootLoader
	clock  atomic.Int64 // seconds; each look at it is a second later
	free   uint64
}

func newHost(t *testing.T, change ...func(*deploy.Config)) *host {
	t.Helper()
	if os.Getuid() != 0 {
		t.Log("not running as root: devices and other owners are not tested")
	}
	h := &host{t: t, is: is.NewRelaxed(t), images: &portstest.Images{}, loader: &portstest.BootLoader{}, free: 1 << 40}
	config := deploy.Config{
		Kernel: deploy.KernelNone, Architecture: "amd64",
		Images: h.images, Loader: h.loader, FetchTimeout: 2 * time.Second, HealthTimeout: 5 * time.Second,
		Now:  func() time.Time { return testTime.Add(time.Duration(h.clock.Add(1)) * time.Second) },
		Free: func(string) (uint64, error) { return h.free, nil },
		Log:  slog.New(slog.NewTextHandler(testWriter{t}, nil)),
	}
	for _, c := range change {
		c(&config)
	}
	if config.Root == "" {
		config.Root = filepath.Join(scratch(t), "elemental")
	}
	if config.Boot == "" {
		config.Boot = scratch(t)
	}
	engine, err := deploy.New(config)
	if err != nil {
		t.Fatal(err)
	}
	h.Engine = engine
	return h
}

// scratch is a folder in memory, where there is one: on a disk, syncing the rest of the machine's file system is what
// would take the time. The tests of kills and of full disks have real ones.
func scratch(t *testing.T) string {
	t.Helper()
	at, err := os.MkdirTemp("/dev/shm", "elemental-test-")
	if err != nil || unix.Setxattr(at, "user.test", nil, 0) != nil {
		_ = os.Remove(at)
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(at); err != nil {
			t.Error(err)
		}
	})
	return at
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// put stores an image of one layer more than the least.
func (h *host) put(tag string, layers ...[]byte) string {
	h.t.Helper()
	return h.images.Put(h.t, tag, "amd64", layers...)
}

func request(reference string) ports.Request {
	document, err := json.Marshal(map[string]any{"osVersion": map[string]any{"imageUri": reference}})
	if err != nil {
		panic(err)
	}
	return ports.Request{Host: "host-1", OSVersion: document, Hash: "hash of " + reference}
}

func (h *host) stage(reference string) error { return h.Stage(h.t.Context(), request(reference), nil) }

func (h *host) mustStage(reference string) {
	h.t.Helper()
	if err := h.stage(reference); err != nil {
		h.t.Fatalf("staging %s: %v", reference, err)
	}
}

// install makes a reference the first system and boots it.
func (h *host) install(reference string) {
	h.t.Helper()
	if err := h.Install(h.t.Context(), request(reference), nil); err != nil {
		h.t.Fatalf("installing %s: %v", reference, err)
	}
	h.boot()
}

func (h *host) boot() string { return h.loader.Boot(h.t) }

func (h *host) observe(reference string) ports.Observation {
	h.t.Helper()
	seen, err := h.Observe(h.t.Context(), request(reference))
	if err != nil {
		h.t.Fatalf("observing: %v", err)
	}
	return seen
}

func (h *host) confirm(reference string) {
	h.t.Helper()
	if err := h.Confirm(h.t.Context(), request(reference)); err != nil {
		h.t.Fatalf("confirming: %v", err)
	}
}

// update stages, boots and confirms.
func (h *host) update(reference string) {
	h.t.Helper()
	h.mustStage(reference)
	h.boot()
	h.confirm(reference)
}

// next is the deployment that would be booted.
func (h *host) next() string {
	h.t.Helper()
	entries, err := h.loader.Entries(context.Background())
	if err != nil || len(entries) == 0 {
		h.t.Fatalf("no boot entries: %v", err)
	}
	return entries[0].Deployment
}

func (h *host) path(elements ...string) string {
	return filepath.Join(append([]string{h.Root}, elements...)...)
}

// read reads a file of a deployment.
func (h *host) read(id string, elements ...string) string {
	h.t.Helper()
	content, err := os.ReadFile(h.path(append([]string{"deployments", id}, elements...)...))
	if err != nil {
		h.t.Fatal(err)
	}
	return string(content)
}

// exists says whether there is something by a name, a dangling link included.
func exists(t testing.TB, at string) bool {
	t.Helper()
	_, err := os.Lstat(at)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

func failureOf(t testing.TB, err error) core.Failure {
	t.Helper()
	var failure core.Failure
	if !errors.As(err, &failure) {
		t.Fatalf("not a core.Failure: %v", err)
	}
	return failure
}

func TestFromOneVersionToTheNextAndBack(t *testing.T) {
	h := newHost(t)
	is := h.is
	v1, v2 := h.put("v1", system(t, "1")), h.put("v2", system(t, "2"))
	h.install(v1)
	one := h.next()
	is.Equal(h.observe(v1).Verdict, core.VerdictSatisfied)
	is.True(h.observe(v1).Installed)
	is.Equal(h.observe(v2).Verdict, core.VerdictOutdated)

	h.mustStage(v2)
	seen := h.observe(v2)
	is.Equal(seen.Verdict, core.VerdictStaged)
	is.True(seen.NeedsRestart)
	is.Equal(seen.Current.Version, "Test 1")
	is.Equal(seen.Staged.Version, "Test 2")
	is.Equal(seen.Staged.Reference, v2)
	is.Equal(h.observe(v1).Verdict, core.VerdictSatisfied) // Something else is staged.
	is.Equal(h.observe(v1).Staged.Version, "Test 2")

	two := h.boot()
	is.True(two != one)
	is.Equal(h.read(two, "root/usr/lib/version"), "2")
	is.Equal(h.read(two, "etc/hostname"), "image-2\n")
	is.Equal(h.observe(v2).Verdict, core.VerdictUnconfirmed)
	is.Equal(h.observe(v1).Verdict, core.VerdictUnconfirmed) // Whatever is asked.
	h.confirm(v2)
	seen = h.observe(v2)
	is.Equal(seen.Verdict, core.VerdictSatisfied)
	is.Equal(seen.Previous.Version, "Test 1")

	h.images.Opened()
	h.update(v1)
	is.Equal(h.next(), one)
	is.Equal(len(h.images.Opened()), 0) // Its tree is still there: nothing is fetched.
	is.Equal(h.observe(v1).Verdict, core.VerdictSatisfied)
	is.Equal(h.observe(v1).Previous.Version, "Test 2")
	is.True(!exists(t, h.path("staging")))
}

func TestAHostThatWasNotStartedFromADeploymentSaysSo(t *testing.T) {
	h := newHost(t)
	_, err := h.Observe(t.Context(), request("fake://v1"))
	failure := failureOf(t, err)
	h.is.Equal(failure.Class, core.FailureFailed)
	h.is.Equal(failure.Reason, deploy.ReasonNotBooted)
}

func TestProgressNamesEveryStepInOrder(t *testing.T) {
	h := newHost(t)
	var steps []string
	err := h.Stage(t.Context(), request(h.put("v1", system(t, "1"))), func(p ports.Progress) {
		if len(steps) == 0 || steps[len(steps)-1] != p.Step {
			steps = append(steps, p.Step)
		}
		h.is.True(p.Percent >= -1 && p.Percent <= 100)
	})
	h.is.NoErr(err)
	h.is.True(slices.Equal(steps, []string{"resolve", "plan", "fetch", "unpack", "build", "publish"}))
}
