package deploy_test

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/matryer/is"
	"golang.org/x/sys/unix"

	"elemental/ports/portstest"
)

// writeLayout writes an OCI layout of one image, by hand: what it is must not depend on a tool of ours.
func writeLayout(t *testing.T, at string, layers [][]byte) {
	t.Helper()
	put := func(name string, content []byte) {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(at, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(at, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	blob := func(kind string, content []byte) map[string]any {
		digest := portstest.Digest(content)
		put("blobs/sha256/"+strings.TrimPrefix(digest, "sha256:"), content)
		return map[string]any{"mediaType": kind, "digest": digest, "size": len(content)}
	}
	document := func(value any) []byte {
		content, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	var diffIDs []string
	var descriptors []any
	for _, content := range layers {
		diffIDs = append(diffIDs, portstest.Digest(content))
		descriptors = append(descriptors, blob("application/vnd.oci.image.layer.v1.tar+gzip", portstest.Gzip(t, content)))
	}
	config := blob("application/vnd.oci.image.config.v1+json", document(map[string]any{
		"architecture": "amd64", "os": "linux", "config": map[string]any{}, "rootfs": map[string]any{"type": "layers", "diff_ids": diffIDs},
	}))
	manifest := blob("application/vnd.oci.image.manifest.v1+json", document(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": descriptors,
	}))
	manifest["annotations"] = map[string]string{"org.opencontainers.image.ref.name": "v1"}
	put("index.json", document(map[string]any{"schemaVersion": 2, "manifests": []any{manifest}}))
	put("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
}

// describeTree lists all that a tree is, one line for each name.
func describeTree(t *testing.T, root string) map[string]string {
	t.Helper()
	lines := map[string]string{}
	err := filepath.WalkDir(root, func(at string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var s syscall.Stat_t
		if err := syscall.Lstat(at, &s); err != nil {
			return err
		}
		line := fmt.Sprintf("mode %o owner %d:%d rdev %d time %d.%09d", s.Mode, s.Uid, s.Gid, s.Rdev, s.Mtim.Sec, s.Mtim.Nsec)
		switch s.Mode & syscall.S_IFMT {
		case syscall.S_IFLNK:
			link, err := os.Readlink(at)
			if err != nil {
				return err
			}
			line += " to " + link
		case syscall.S_IFREG:
			line += contentOf(t, at)
		}
		relative, err := filepath.Rel(root, at)
		lines[relative] = line + xattrsOf(t, at)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func contentOf(t *testing.T, at string) string {
	file, err := os.Open(at)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(" content %x", hash.Sum(nil))
}

func xattrsOf(t *testing.T, at string) string {
	list := make([]byte, 4096)
	n, err := unix.Llistxattr(at, list)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, key := range strings.Split(strings.TrimRight(string(list[:n]), "\x00"), "\x00") {
		if key == "" {
			continue
		}
		value := make([]byte, 4096)
		n, err := unix.Lgetxattr(at, key, value)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, fmt.Sprintf(" %s=%x", key, value[:n]))
	}
	slices.Sort(all)
	return strings.Join(all, "")
}

// compareTrees says how two trees differ.
func compareTrees(ours, theirs map[string]string) []string {
	var differences []string
	names := maps.Clone(ours)
	maps.Copy(names, theirs)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if ours[name] != theirs[name] {
			differences = append(differences, fmt.Sprintf("%s\n   ours: %s\n theirs: %s", name, ours[name], theirs[name]))
		}
	}
	return differences
}

// unpackByUmoci lays the image down with a tool of others.
func unpackByUmoci(t *testing.T, layers [][]byte) string {
	t.Helper()
	umoci, err := exec.LookPath("umoci")
	if err != nil {
		t.Skip("umoci is not installed: apt-get install umoci")
	}
	if os.Getuid() != 0 {
		t.Skip("only root can lay down owners and devices")
	}
	at := t.TempDir()
	writeLayout(t, filepath.Join(at, "layout"), layers)
	output, err := exec.Command(umoci, "unpack", "--keep-dirlinks=false", "--image", filepath.Join(at, "layout")+":v1", filepath.Join(at, "bundle")).CombinedOutput()
	if err != nil {
		t.Fatalf("umoci: %v: %s", err, output)
	}
	return filepath.Join(at, "bundle", "rootfs")
}

func TestTheTreeIsWhatUmociUnpacks(t *testing.T) {
	is := is.New(t)
	when := time.Unix(1_600_000_000, 123_456_789)
	capability := string([]byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	layers := [][]byte{
		system(t, "1",
			folder("./"), folder("d/"), item{name: "d/gone", content: "x"}, item{name: "d/kept", content: "low", time: when},
			folder("d/sub/"), item{name: "d/sub/x", content: "x"}, folder("opaque/"), item{name: "opaque/low", content: "x"},
			folder("opaque/deep/"), item{name: "opaque/deep/low", content: "x"}, folder("was-folder/"), item{name: "was-folder/x", content: "x"},
			item{name: "was-file", content: "x"}, symlink("was-link", "d"), folder("real/"), symlink("link", "real"),
			item{name: "target", content: "first"}, hardlink("same-layer", "target"), item{name: "removed", content: "still here"},
			item{name: "setuid", content: "x", mode: 0o4755, uid: 7}, item{name: "sticky/", kind: tar.TypeDir, mode: 0o1777, uid: 8, time: when},
			item{name: "capable", content: "x", mode: 0o755, xattrs: map[string]string{"security.capability": capability}},
			item{name: "noted/", kind: tar.TypeDir, xattrs: map[string]string{"user.note": "folder"}},
			item{name: "null", kind: tar.TypeChar, mode: 0o666, major: 1, minor: 3}, item{name: "pipe", kind: tar.TypeFifo, mode: 0o622},
			symlink("climbs", "../../../../../../.."), symlink("absolute", "/real"), symlink("dangling", "no/where"),
			item{name: "Caf\u00e9 \u2603", content: "unicode"}, item{name: strings.Repeat("long/", 30) + "x", content: "x"},
		),
		layer(t, hardlink("across", "target"), item{name: "d/.wh.gone"}, item{name: "d/.wh.sub"}, item{name: "d/new", content: "up", time: when},
			item{name: "opaque/.wh..wh..opq"}, item{name: "opaque/new", content: "up"}, folder("opaque/deep/"),
			item{name: "opaque/deep/new", content: "up"},
			item{name: "was-folder", content: "up"}, folder("was-file/"), folder("was-link/"), item{name: "was-link/x", content: "up"},
			item{name: "link/through", content: "up"}, item{name: "absolute/through-absolute", content: "up"},
			item{name: "d/.wh.never-was"}),
		layer(t, item{name: "target", content: "second"}, hardlink("of-removed", "removed"), item{name: ".wh.removed"},
			item{name: "climbs/at-the-top", content: "x"}, item{name: "setuid", content: "y", mode: 0o2711, uid: 9}),
	}
	ours, theirs := bothTrees(t, layers)
	for _, difference := range compareTrees(ours, theirs) {
		t.Error(difference)
	}
	is.True(len(ours) > 40)
}

// realSystem is the variable that names a tar.gz of a whole system, such as debootstrap or mmdebstrap make. Laying
// one down twice takes too long for every run of the tests.
const realSystem = "ELEMENTAL_TEST_SYSTEM"

func TestTheTreeOfARealSystemIsWhatUmociUnpacks(t *testing.T) {
	system := os.Getenv(realSystem)
	if system == "" {
		t.Skip(realSystem + " names no tar.gz of a whole system")
	}
	is := is.New(t)
	packed, err := os.Open(system)
	is.NoErr(err)
	defer packed.Close()
	plain, err := gzip.NewReader(packed)
	is.NoErr(err)
	base, err := io.ReadAll(plain)
	is.NoErr(err)
	ours, theirs := bothTrees(t, [][]byte{base, layer(t, item{name: "usr/bin/.wh.perl"}, item{name: "lib/through-a-link", content: "x"})})
	for _, difference := range compareTrees(ours, theirs) {
		t.Error(difference)
	}
	is.True(len(ours) > 5000)
}

// bothTrees lays an image down with the engine and with umoci, and leaves out what can't be the same.
func bothTrees(t *testing.T, layers [][]byte) (ours, theirs map[string]string) {
	t.Helper()
	theirs = describeTree(t, unpackByUmoci(t, layers))
	h := newHost(t)
	h.mustStage(h.put("v1", layers...))
	ours = describeTree(t, h.path("deployments", h.next(), "root"))
	added := []string{"long", "boot", "dev", "etc", "home", "proc", "root", "run", "sys", "tmp", "var"}
	for at := strings.Trim(h.Root, "/"); at != "."; at = filepath.Dir(at) {
		added = append(added, at)
	}
	// Folders that no layer names get the time of their making from umoci, and the beginning of time from us.
	for _, implicit := range added {
		if line, ok := theirs[implicit]; !ok || strings.Contains(ours[implicit], "time 0.000000000") {
			t.Logf("left out: %s: %s", implicit, line)
			delete(ours, implicit)
			delete(theirs, implicit)
		}
	}
	for at := range ours {
		if strings.HasPrefix(at, "long/") && !strings.HasSuffix(at, "x") {
			delete(ours, at)
			delete(theirs, at)
		}
	}
	delete(ours, ".") // Umoci leaves the top the time at which it began.
	delete(theirs, ".")
	return ours, theirs
}
