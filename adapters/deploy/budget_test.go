package deploy

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"

	"elemental/core"
	"elemental/ports"
)

// isTooBig says that an image was refused for what it costs.
func isTooBig(err error) bool {
	var failure core.Failure
	return errors.As(err, &failure) && failure.Class == core.FailureInvalid && failure.Reason == ReasonTooBig
}

func fileAt(at string) Entry { return Entry{Name: name(at), Kind: KindFile, Mode: 0o644} }

func TestBombOfFoldersThatNoEntryNames(t *testing.T) {
	whole := newTree(DefaultBudget())
	deep := strings.Repeat("/a", DefaultBudget().Depth-2) + "/f"
	for n := range 5_000 { // Few entries, and 630,000 folders.
		if err := whole.apply(1, fileAt(fmt.Sprint(n)+deep)); err != nil {
			if !isTooBig(err) {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatal("it was taken")
}

func TestBombOfFoldersThatALinkNames(t *testing.T) {
	is := is.New(t)
	whole := newTree(DefaultBudget())
	is.NoErr(whole.apply(1, Entry{Name: "deep", Kind: KindSymlink, Link: name(strings.Repeat("a/", 2_000))}))
	is.True(isTooBig(whole.apply(1, fileAt("deep/f"))))

	// By going through a link again and again, a tree would get deeper than any of its names.
	whole = newTree(DefaultBudget())
	in, err := "top", error(nil)
	for n := 0; n < 10 && err == nil; n++ {
		folder := in + strings.Repeat("/a", 50)
		if err = whole.apply(1, Entry{Name: name(folder), Kind: KindFolder}); err == nil {
			in = fmt.Sprint("link-", n)
			err = whole.apply(1, Entry{Name: name(in), Kind: KindSymlink, Link: name(folder)})
		}
	}
	is.True(isTooBig(err))
}

func TestBombBudgetIsExactAndLeavesRoomForTheHost(t *testing.T) {
	is := is.New(t)
	whole := newTree(DefaultBudget())
	whole.budget.Entries, whole.budget.Depth = 7, 4
	is.NoErr(whole.apply(1, fileAt("a/b/c/f"))) // Four nodes, four deep.
	is.NoErr(whole.apply(1, Entry{Name: "a/b/l", Kind: KindSymlink, Link: "c"}))
	is.NoErr(whole.apply(2, fileAt("a/b/l/f")))
	is.NoErr(whole.apply(2, fileAt("a/b/c/g")))
	whole.addMountPoints([]string{"boot", "var"})
	for _, point := range []string{"boot", "var"} {
		_, err := whole.find(point, false)
		is.NoErr(err) // The host's own folders are no fault of the image.
	}
	is.True(isTooBig(whole.apply(2, fileAt("h"))))
	whole.budget.Entries = 100
	is.True(isTooBig(whole.apply(2, fileAt("a/b/c/d/h"))))
	_, err := whole.find("a/b/c/d/h", false)
	is.True(err != nil)
}

// sparse is a tar of files that are all holes, as GNU tar has them: they take no bytes of the stream.
func sparse(files int, size int64) []byte {
	var out bytes.Buffer
	for n := range files {
		var block [512]byte
		copy(block[:], fmt.Sprint("hole-", n))
		copy(block[100:], "0000644\x00")
		copy(block[108:], fmt.Sprintf("%07o\x00%07o\x00", os.Getuid(), os.Getgid()))
		copy(block[124:], "00000000000\x00")
		copy(block[136:], fmt.Sprintf("%011o\x00", n))
		copy(block[148:], "        S")
		copy(block[257:], "ustar  \x00")
		copy(block[386:], fmt.Sprintf("%011o\x0000000000000\x00", size))
		copy(block[483:], fmt.Sprintf("%011o\x00", size))
		sum := 0
		for _, b := range block {
			sum += int(b)
		}
		copy(block[148:], fmt.Sprintf("%06o\x00 ", sum))
		out.Write(block[:])
	}
	out.Write(make([]byte, 1024))
	return out.Bytes()
}

// unpacked unpacks a tar as a layer, and says how many bytes that wrote.
func unpacked(t *testing.T, budget Budget, content []byte) (int64, error) {
	t.Helper()
	at := t.TempDir()
	objects, err := openStore(filepath.Join(at, "objects"), filepath.Join(at, "fresh"), &room{})
	if err != nil {
		t.Fatal(err)
	}
	defer objects.close()
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256(content))
	layer := ports.Layer{Digest: digest, DiffID: digest, Size: int64(len(content))}
	err = unpackLayer(t.Context(), bytes.NewReader(content), layer, objects, &spending{budget: budget}, filepath.Join(at, "record"))
	written := int64(0)
	if walked := filepath.WalkDir(filepath.Join(at, "fresh"), func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			info, err := d.Info()
			written += info.Size()
			return err
		}
		return err
	}); walked != nil {
		t.Fatal(walked)
	}
	return written, err
}

func TestBombOfHolesIsHeldToTheRatioOfItsLayer(t *testing.T) {
	is := is.New(t)
	budget := DefaultBudget()
	budget.Ratio, budget.Small = 2, 1<<20
	written, err := unpacked(t, budget, sparse(20, 5<<20)) // 11 KB.
	is.True(isTooBig(err))
	is.Equal(written, int64(0))
	written, err = unpacked(t, budget, sparse(20, 512<<10))
	is.True(isTooBig(err)) // Each is small, all are not.
	is.True(written <= 1<<20)
	written, err = unpacked(t, budget, sparse(2, 512<<10))
	is.NoErr(err)
	is.Equal(written, int64(1<<20))
	budget.Bytes = 64 << 10
	_, err = unpacked(t, budget, sparse(2, 512<<10))
	is.True(isTooBig(err))
}

func TestBombOfMoreNamesThanAFileSystemAllows(t *testing.T) {
	is := is.New(t)
	whole := newTree(DefaultBudget())
	whole.budget.Bytes = 100 << 20
	big, empty := fileAt("big"), fileAt("empty")
	big.Size, big.Object = 20<<20, ObjectID{1}
	is.NoErr(whole.apply(1, big))
	is.NoErr(whole.apply(1, empty))
	link := func(n int, to name) error {
		return whole.apply(1, Entry{Name: name(fmt.Sprint("links/", to, n)), Kind: KindHardLink, Link: to})
	}
	for n := range freeLinks + 4 {
		is.NoErr(link(n, "big"))
	}
	for n := range freeLinks + 100 {
		is.NoErr(link(n, "empty"))
	}
	is.True(isTooBig(link(freeLinks+4, "big")))
}

// isDiskTooSmall says that a staging was stopped for want of room, and by which words.
func isDiskTooSmall(err error) (string, bool) {
	var failure core.Failure
	is := errors.As(err, &failure) && failure.Class == core.FailureFailed && failure.Reason == ReasonDiskFull
	return failure.Message, is
}

func TestBombBeyondTheRoomThatWasHeldStopsAboveTheMargin(t *testing.T) {
	is := is.New(t)
	held := int64(40 << 20)
	margin := plan{write: held}.margin()
	at := filepath.Join(t.TempDir(), "room")
	r, err := holdRoom(at, held)
	is.NoErr(err)
	free := margin + 100<<20
	r.free = func() (int64, error) { return free, nil }
	for range 3 {
		is.NoErr(r.use(roomStep)) // The last of them is more than is held.
	}
	free = margin + roomStep - 1
	for range 15 {
		is.NoErr(r.use(1 << 20)) // Looking at each small file would cost more than it tells.
	}
	is.NoErr(r.use(1<<20 - 1))
	free = margin
	message, small := isDiskTooSmall(r.use(1))
	is.True(small)
	is.True(strings.Contains(message, bytesText(margin+1)))
	is.True(strings.Contains(message, bytesText(margin)))

	free = margin + 1<<30
	is.NoErr(r.use(1 << 30))
	free--
	_, small = isDiskTooSmall(r.use(1 << 30)) // Before it is written, not after.
	is.True(small)
	is.NoErr(r.close())
	info, err := os.Stat(at)
	is.NoErr(err)
	is.Equal(info.Size(), int64(0))
}

func TestBombOfOneLargeFileIsStoppedWhileItIsWritten(t *testing.T) {
	is := is.New(t)
	at := t.TempDir()
	r, err := holdRoom(filepath.Join(at, "room"), 0)
	is.NoErr(err)
	defer func() { is.NoErr(r.close()) }()
	looks, margin := 0, plan{}.margin()
	r.free = func() (int64, error) {
		if looks++; looks > 2 { // Others write, too.
			return margin - 1, nil
		}
		return margin + 1<<30, nil
	}
	objects, err := openStore(filepath.Join(at, "objects"), filepath.Join(at, "fresh"), r)
	is.NoErr(err)
	defer objects.close()
	content := sparse(1, 200<<20)
	read := 0
	err = readLayer(bytes.NewReader(content), &spending{budget: DefaultBudget()}, objects, func(Entry) error { read++; return nil })
	message, small := isDiskTooSmall(err)
	is.True(small)
	is.True(strings.Contains(message, bytesText(margin)))
	is.Equal(looks, 3)
	is.Equal(read, 0)
	left, err := os.ReadDir(filepath.Join(at, "fresh"))
	is.NoErr(err)
	is.Equal(len(left), 0) // What was written of it is gone.
}
