package deploy_test

import (
	"archive/tar"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/matryer/is"
	"golang.org/x/sys/unix"

	"elemental/adapters/deploy"
	"elemental/core"
)

// laid is a host with one image laid down, and its tree.
func laid(t *testing.T, layers ...[]byte) (*host, string) {
	t.Helper()
	h := newHost(t)
	h.mustStage(h.put("v1", append([][]byte{system(t, "1")}, layers...)...))
	return h, h.path("deployments", h.next(), "root")
}

func TestUpperLayersTakeAwayAndReplace(t *testing.T) {
	_, root := laid(t,
		layer(t, folder("d/"), item{name: "d/gone", content: "x"}, item{name: "d/kept", content: "low"}, folder("d/sub/"), item{name: "d/sub/x", content: "x"},
			folder("opaque/"), item{name: "opaque/low", content: "x"}, folder("opaque/deep/"), item{name: "opaque/deep/low", content: "x"},
			folder("twice/"), item{name: "twice/low", content: "x"}, folder("was-folder/"), item{name: "was-folder/x", content: "x"},
			item{name: "was-file", content: "x"}, symlink("was-link", "d"), folder("lib-real/"), symlink("lib-link", "lib-real")),
		layer(t, item{name: "d/.wh.gone"}, item{name: "d/.wh.sub"}, item{name: "d/new", content: "up"},
			item{name: "opaque/new", content: "up"}, folder("opaque/deep/"), item{name: "opaque/deep/new", content: "up"}, item{name: "opaque/.wh..wh..opq"},
			folder("twice/"), item{name: "twice/new", content: "up"}, item{name: ".wh.twice"}, // In whatever order.
			item{name: "was-folder", content: "up"}, folder("was-file/"), folder("was-link/"), item{name: "was-link/x", content: "up"},
			item{name: "lib-link/through", content: "up"}, item{name: ".wh..wh.plnk"}, item{name: "d/.wh.never-was"}),
	)
	is := is.New(t)
	for at, want := range map[string]string{
		"d/kept": "low", "d/new": "up", "opaque/new": "up", "opaque/deep/new": "up", "twice/new": "up", "was-folder": "up",
		"was-link/x": "up", "lib-real/through": "up",
	} {
		content, err := os.ReadFile(filepath.Join(root, at))
		is.NoErr(err)
		is.Equal(string(content), want)
	}
	for _, at := range []string{"d/gone", "d/sub", "opaque/low", "opaque/deep/low", "twice/low", "d/.wh.gone", ".wh..wh.plnk", ".wh.twice", "d/x"} {
		is.True(!exists(t, filepath.Join(root, at)))
	}
	info, err := os.Lstat(filepath.Join(root, "was-link"))
	is.NoErr(err)
	is.True(info.IsDir())
	link, err := os.Readlink(filepath.Join(root, "lib-link"))
	is.NoErr(err)
	is.Equal(link, "lib-real")
}

func TestAHardLinkKeepsWhatItWasLinkedTo(t *testing.T) {
	_, root := laid(t,
		layer(t, item{name: "target", content: "first"}, hardlink("same-layer", "target"), item{name: "removed", content: "still here"}),
		layer(t, hardlink("across", "target"), hardlink("of-removed", "/removed"), symlink("s", "nowhere"), hardlink("of-link", "s")),
		layer(t, item{name: "target", content: "second"}, item{name: ".wh.removed"}),
	)
	is := is.New(t)
	for at, want := range map[string]string{"target": "second", "same-layer": "first", "across": "first", "of-removed": "still here"} {
		content, err := os.ReadFile(filepath.Join(root, at))
		is.NoErr(err)
		is.Equal(string(content), want)
	}
	is.True(!exists(t, filepath.Join(root, "removed")))
	link, err := os.Readlink(filepath.Join(root, "of-link"))
	is.NoErr(err)
	is.Equal(link, "nowhere")
}

func TestAllThatAFileIsIsKept(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root may give files away and make devices")
	}
	capability := string([]byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	when := time.Unix(1_600_000_000, 123_456_789)
	_, root := laid(t, layer(t,
		item{name: "setuid", content: "x", mode: 0o4755, uid: 7, time: when},
		item{name: "capable", content: "x", mode: 0o755, xattrs: map[string]string{"security.capability": capability, "user.note": "a\x00b"}},
		item{name: "folder/", kind: tar.TypeDir, mode: 0o1770, uid: 9, time: when, xattrs: map[string]string{"user.note": "folder"}},
		item{name: "folder/late", content: "x"},
		item{name: "link", kind: tar.TypeSymlink, link: "/absolute/../to nowhere", uid: 3, time: when, xattrs: map[string]string{"security.selinux": "system_u:object_r:etc_t:s0"}},
		item{name: "null", kind: tar.TypeChar, mode: 0o666, major: 1, minor: 3},
		item{name: "disk", kind: tar.TypeBlock, mode: 0o660, major: 8, minor: 17},
		item{name: "pipe", kind: tar.TypeFifo, mode: 0o622},
		item{name: "latin1-\xe9", content: "not UTF-8"},
		item{name: "empty"},
	))
	is := is.New(t)
	stat := func(at string) syscall.Stat_t {
		var s syscall.Stat_t
		is.NoErr(syscall.Lstat(filepath.Join(root, at), &s))
		return s
	}
	is.Equal(stat("setuid").Mode&0o7777, uint32(0o4755))
	is.Equal(stat("setuid").Uid, uint32(7))
	is.Equal(stat("setuid").Mtim.Nsec, int64(123_456_789))
	is.Equal(stat("folder").Mode&0o7777, uint32(0o1770))
	is.Equal(stat("folder").Mtim.Sec, when.Unix()) // In spite of what came into it later.
	is.Equal(stat("folder").Gid, uint32(9))
	is.Equal(stat("link").Uid, uint32(3))
	is.Equal(stat("link").Mtim.Sec, when.Unix())
	is.Equal(stat("null").Rdev, unix.Mkdev(1, 3))
	is.Equal(stat("null").Mode, uint32(syscall.S_IFCHR|0o666))
	is.Equal(stat("disk").Rdev, unix.Mkdev(8, 17))
	is.Equal(stat("pipe").Mode, uint32(syscall.S_IFIFO|0o622))
	is.True(exists(t, filepath.Join(root, "latin1-\xe9")))
	is.Equal(stat("empty").Size, int64(0))
	for at, attributes := range map[string]map[string]string{
		"capable": {"security.capability": capability, "user.note": "a\x00b"}, "folder": {"user.note": "folder"}, "link": {"security.selinux": "system_u:object_r:etc_t:s0"},
	} {
		for key, want := range attributes {
			value := make([]byte, 100)
			n, err := unix.Lgetxattr(filepath.Join(root, at), key, value)
			is.NoErr(err)
			is.Equal(string(value[:n]), want)
		}
	}
	link, err := os.Readlink(filepath.Join(root, "link"))
	is.NoErr(err)
	is.Equal(link, "/absolute/../to nowhere")
}

func TestEqualFilesAreStoredOnce(t *testing.T) {
	is := is.New(t)
	h := newHost(t)
	big := strings.Repeat("large content ", 200_000) // More than is held in memory.
	h.install(h.put("v1", system(t, "1", item{name: "a", content: big}, item{name: "b", content: big}, item{name: "c", content: big, mode: 0o755})))
	inode := func(id, at string) uint64 {
		info, err := os.Stat(h.path("deployments", id, "root", at))
		is.NoErr(err)
		return info.Sys().(*syscall.Stat_t).Ino
	}
	one := h.next()
	is.Equal(inode(one, "a"), inode(one, "b"))
	is.True(inode(one, "a") != inode(one, "c")) // Another mode is another file.
	h.mustStage(h.put("v2", system(t, "2", item{name: "a", content: big})))
	is.Equal(inode(h.next(), "a"), inode(one, "a"))
	is.Equal(inode(h.next(), "etc/same"), inode(one, "etc/same"))
	own, err := os.Stat(h.path("deployments", h.next(), "etc", "same"))
	is.NoErr(err)
	is.True(own.Sys().(*syscall.Stat_t).Ino != inode(one, "etc/same")) // /etc is a copy: it is written to.
}

func TestAKnownLayerIsNeitherFetchedNorUnpacked(t *testing.T) {
	is := is.New(t)
	h := newHost(t)
	base := system(t, "1")
	h.install(h.put("v1", base, layer(t, item{name: "x", content: "1"})))
	h.images.Opened()
	h.mustStage(h.put("v2", base, layer(t, item{name: "x", content: "2"})))
	opened := h.images.Opened()
	is.Equal(len(opened), 1)
	is.True(opened[0].Size < 300)
	is.Equal(h.read(h.next(), "root/x"), "2")
}

// outside lists all that exists in a folder beside the engine's own.
func outside(t *testing.T, around string) []string {
	t.Helper()
	var found []string
	if err := filepath.WalkDir(around, func(at string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.Name() == "elemental" {
			return fs.SkipDir
		}
		found = append(found, at)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return found
}

func TestHostileLayersAreRefusedAndLeaveNothing(t *testing.T) {
	for what, items := range map[string][]item{
		"a name that climbs":                {{name: "../escape", content: "x"}},
		"a name that climbs later":          {{name: "a/../../escape", content: "x"}},
		"a folder that climbs":              {{name: "../../escape/", kind: tar.TypeDir}},
		"a hard link out":                   {hardlink("x", "../../../../etc/passwd")},
		"a hard link to what is not there":  {hardlink("x", "/etc/passwd-of-the-host")},
		"a hard link to a folder":           {hardlink("x", "etc")},
		"a hard link through a link out":    {symlink("up", "../../../../../../../.."), hardlink("x", "up/bin/sh-of-the-host")},
		"a whiteout of what is above":       {{name: ".wh..."}, {name: ".wh..", content: ""}},
		"a link in a circle":                {symlink("a", "b"), symlink("b", "a"), {name: "a/x", content: "x"}},
		"a file in place of a folder above": {{name: "f", content: "x"}, {name: "f/x", content: "x"}},
		"a top that is a link":              {symlink("./", "/tmp")},
		"a name that is too long":           {{name: strings.Repeat("x", 300), content: "x"}},
		"a tree that is too deep":           {{name: strings.Repeat("d/", 1000) + "x", content: "x"}},
		"an unknown type":                   {{name: "x", kind: 'Q'}},
	} {
		t.Run(what, func(t *testing.T) {
			is := is.New(t)
			h := newHost(t)
			around := filepath.Dir(h.Root)
			before := outside(t, around)
			failure := failureOf(t, h.stage(h.put("bad", system(t, "1"), layer(t, items...))))
			is.Equal(failure.Class, core.FailureInvalid)
			is.True(failure.Reason == deploy.ReasonBadLayer || failure.Reason == deploy.ReasonTooBig)
			is.Equal(outside(t, around), before)
			is.True(!exists(t, h.path("staging")))
			deployments, err := os.ReadDir(h.path("deployments"))
			is.NoErr(err)
			is.Equal(len(deployments), 0)
		})
	}
}

func TestLinksThatClimbStayInside(t *testing.T) {
	is := is.New(t)
	h, root := laid(t, layer(t,
		symlink("up", "../../../../../../.."), item{name: "up/inside", content: "x"},
		symlink("abs", "/made"), item{name: "abs/file", content: "x"}, item{name: "/absolute", content: "x"}, item{name: "./dotted/../plain", content: "x"},
		hardlink("etc-same", "/etc/same"), symlink("chain", "up/abs"), item{name: "chain/deep/file", content: "x"},
	))
	for _, at := range []string{"inside", "made/file", "absolute", "plain", "etc-same", "made/deep/file"} {
		is.True(exists(t, filepath.Join(root, at)))
	}
	is.Equal(outside(t, filepath.Dir(h.Root)), []string{filepath.Dir(h.Root)})
}

func TestBombsAreRefused(t *testing.T) {
	small := func(c *deploy.Config) {
		c.Budget = deploy.DefaultBudget()
		c.Budget.Entries, c.Budget.Bytes, c.Budget.Record, c.Budget.Small = 200, 4<<20, 32<<10, 1<<20
	}
	many := make([]item, 300)
	for n := range many {
		many[n] = item{name: fmt.Sprint("f", n)}
	}
	for what, layers := range map[string][][]byte{
		"too many entries":             {layer(t, many...)},
		"too many in several layers":   {layer(t, many[:150]...), layer(t, many[150:]...)},
		"too many bytes":               {layer(t, item{name: "a", content: noise(5 << 20)})},
		"too much of one byte":         {layer(t, item{name: "a", content: strings.Repeat("\x00", 3<<20)})},
		"too many bytes of attributes": {layer(t, item{name: "a", xattrs: map[string]string{"user.a": strings.Repeat("x", 33<<10)}})},
	} {
		t.Run(what, func(t *testing.T) {
			is := is.New(t)
			h := newHost(t, small)
			failure := failureOf(t, h.stage(h.put("bomb", append([][]byte{system(t, "1")}, layers...)...)))
			is.Equal(failure.Class, core.FailureInvalid)
			is.Equal(failure.Reason, deploy.ReasonTooBig)
		})
	}
}

func TestAnImageThatCanNotBootIsRefused(t *testing.T) {
	for what, layers := range map[string][][]byte{
		"nothing":                    {layer(t, item{name: "x", content: "x"})},
		"an init that dangles":       {layer(t, folder("sbin/"), symlink("sbin/init", "../lib/nothing"))},
		"an init that is taken away": {system(t, "1"), layer(t, item{name: "usr/lib/systemd/.wh.systemd"})},
		"an init that can't run":     {layer(t, folder("sbin/"), item{name: "sbin/init", content: "x", mode: 0o644})},
		"no layers":                  nil,
	} {
		t.Run(what, func(t *testing.T) {
			is := is.New(t)
			h := newHost(t)
			failure := failureOf(t, h.stage(h.put("bad", layers...)))
			is.Equal(failure.Class, core.FailureInvalid)
			is.Equal(failure.Reason, deploy.ReasonNoInit)
		})
	}
}

func TestMountPointsAreThere(t *testing.T) {
	is := is.New(t)
	h, root := laid(t, layer(t, symlink("home", "var/home")))
	for _, point := range []string{"boot", "dev", "etc", "proc", "root", "run", "sys", "tmp", "var", strings.Trim(h.Root, "/")} {
		info, err := os.Lstat(filepath.Join(root, point))
		is.NoErr(err)
		is.True(info.IsDir())
	}
	link, err := os.Readlink(filepath.Join(root, "home"))
	is.NoErr(err)
	is.Equal(link, "var/home")
}

func TestKernels(t *testing.T) {
	required := func(c *deploy.Config) { c.Kernel = deploy.KernelRequired }
	is := is.New(t)
	h := newHost(t, required)
	failure := failureOf(t, h.stage(h.put("none", system(t, "1"))))
	is.Equal(failure.Reason, deploy.ReasonNoKernel)

	h.install(h.put("v1", system(t, "1",
		item{name: "usr/lib/modules/6.9.1/vmlinuz", content: "old kernel"}, item{name: "usr/lib/modules/6.12.3/vmlinuz", content: "new kernel"},
		item{name: "usr/lib/modules/6.12.3/initrd", content: "new initrd"}, item{name: "boot/initrd.img-6.9.1", content: "old initrd"})))
	entries, err := h.loader.Entries(t.Context())
	is.NoErr(err)
	kernel, err := os.ReadFile(filepath.Join(h.Config.Boot, entries[0].Kernel))
	is.NoErr(err)
	is.Equal(string(kernel), "new kernel")
	initrd, err := os.ReadFile(filepath.Join(h.Config.Boot, entries[0].Initrd))
	is.NoErr(err)
	is.Equal(string(initrd), "new initrd")
	is.True(strings.HasSuffix(entries[0].Options, "elemental.deployment="+entries[0].Deployment))

	v2 := h.put("v2", system(t, "2", item{name: "boot/vmlinuz-6.13", content: "newest"}, item{name: "boot/initrd.img-6.13", content: "i"}, symlink("vmlinuz", "boot/vmlinuz-6.13")))
	h.update(v2)
	kernels, err := os.ReadDir(filepath.Join(h.Config.Boot, "elemental"))
	is.NoErr(err)
	is.Equal(len(kernels), 2) // That of the system before is kept.
	v3 := h.put("v3", system(t, "3", item{name: "boot/vmlinuz", content: "third"}))
	h.update(v3)
	kernels, err = os.ReadDir(filepath.Join(h.Config.Boot, "elemental"))
	is.NoErr(err)
	is.Equal(len(kernels), 2)
	is.True(!exists(t, filepath.Join(h.Config.Boot, entries[0].Kernel)))

	// A kernel that someone removed is put back when its system is staged again.
	is.NoErr(os.RemoveAll(filepath.Join(h.Config.Boot, "elemental")))
	h.mustStage(v2)
	entries, err = h.loader.Entries(t.Context())
	is.NoErr(err)
	is.True(exists(t, filepath.Join(h.Config.Boot, entries[0].Kernel)))
}

func TestZstdAndPlainLayers(t *testing.T) {
	is := is.New(t)
	h := newHost(t)
	for what, pack := range map[string]func([]byte) []byte{"plain": slices.Clone[[]byte], "zstd": zstdOf} {
		reference := h.put(what, system(t, what))
		image, err := h.images.Resolve(t.Context(), reference, "amd64")
		is.NoErr(err)
		packed := pack(system(t, what))
		h.images.Repack(what, image.Layers[0].DiffID, packed)
		h.mustStage(reference)
		is.Equal(h.read(h.next(), "root/usr/lib/version"), what)
	}
}

func TestALayerThatLiesAboutItsContentIsRefused(t *testing.T) {
	is := is.New(t)
	h := newHost(t)
	reference := h.put("v1", system(t, "1"))
	image, err := h.images.Resolve(t.Context(), reference, "amd64")
	is.NoErr(err)
	// The blob is what its digest says, and not what the image says is in it.
	h.images.Repack("v1", image.Layers[0].DiffID, system(t, "other"))
	failure := failureOf(t, h.stage(reference))
	is.Equal(failure.Reason, deploy.ReasonBadDigest)
	is.True(!exists(t, h.path("layers", strings.TrimPrefix(image.Layers[0].DiffID, "sha256:")+".json.zst")))
	objects, err := os.ReadDir(h.path("objects"))
	is.NoErr(err)
	is.Equal(len(objects), 0)
	_, err = os.Stat(h.path("staging"))
	is.True(errors.Is(err, fs.ErrNotExist))
}
