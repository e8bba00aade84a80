package deploy

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/matryer/is"

	"elemental/core"
)

// isTooBig says that an image was refused for what it costs.
func isTooBig(err error) bool {
	var failure core.Failure
	return errors.As(err, &failure) && failure.Class == core.FailureInvalid && failure.Reason == ReasonTooBig
}

func fileAt(at string) Entry { return Entry{Name: name(at), Kind: KindFile, Mode: 0o644} }

func TestBombOfFoldersThatNoEntryNames(t *testing.T) {
	whole := newTree()
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
	whole := newTree()
	is.NoErr(whole.apply(1, Entry{Name: "deep", Kind: KindSymlink, Link: name(strings.Repeat("a/", 2_000))}))
	is.True(isTooBig(whole.apply(1, fileAt("deep/f"))))

	// By going through a link again and again, a tree would get deeper than any of its names.
	whole = newTree()
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
	whole := newTree()
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
