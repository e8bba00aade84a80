package deploy

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"elemental/core"
)

// tree is what the layers of an image add up to. It is only a picture: putting layers together follows links
// within it and never asks the disk, so that no name, link or chain of links can lead out of it.
type tree struct {
	root   *node
	budget Budget
	nodes  int   // entries that were put in place, and folders that were made for them
	bytes  int64 // of files, and of links that may become copies
	links  map[ObjectID]int
}

// freeLinks is how many hard links to one file cost nothing. File systems allow 32,000 and more names of a file,
// among all the deployments that are kept; what is beyond that is a full copy.
const freeLinks = 10_000

// node is one thing in a tree.
type node struct {
	Entry
	children map[string]*node // of a folder
	layer    int              // the layer that put it there or last named it
}

func newTree(budget Budget) *tree {
	return &tree{root: newFolder(hostLayer), budget: budget, links: map[ObjectID]int{}}
}

func newFolder(layer int) *node {
	return &node{Entry: Entry{Kind: KindFolder, Mode: 0o755}, children: map[string]*node{}, layer: layer}
}

// maxLinks is how many symbolic links one path may go through, as the kernel has it.
const maxLinks = 40

// hostLayer is the layer of what the host adds to an image.
const hostLayer = 0

// hostNodes is how much the host may add to an image that just kept to its budget.
const hostNodes = 1024

// charge counts a node. A name of a few bytes can imply many folders, and a link even more.
func (t *tree) charge(layer int) error {
	limit := t.budget.Entries
	if layer == hostLayer {
		limit += hostNodes
	}
	if t.nodes++; t.nodes > limit {
		return tooMany(t.budget.Entries)
	}
	return nil
}

// chargeLink counts one more name of a file. Its entry has no size, and what it leads to may have to be copied.
func (t *tree) chargeLink(target *node) error {
	if target.Kind != KindFile || target.Size == 0 {
		return nil
	}
	if t.links[target.Object]++; t.links[target.Object] <= freeLinks {
		return nil
	}
	return t.chargeBytes(target.Size)
}

// chargeBytes counts what a file takes at most.
func (t *tree) chargeBytes(size int64) error {
	if size > t.budget.Bytes-t.bytes {
		return tooLarge(t.budget.Bytes)
	}
	t.bytes += size
	return nil
}

// misplaced says that an entry can't be put in place: because of what it costs, or of where it leads.
func misplaced(err error, format string, args ...any) error {
	if errors.As(err, new(core.Failure)) {
		return err
	}
	return badImage(ReasonBadLayer, "%s: %v", fmt.Sprintf(format, args...), err)
}

// apply adds an entry of a layer. Layers come the lowest first, and entries in the order of their tar.
func (t *tree) apply(layer int, e Entry) error {
	if err := t.charge(layer); err != nil {
		return err
	}
	if e.Name == "" {
		return t.applyTop(layer, e)
	}
	parent, base := path.Split(string(e.Name))
	folder, err := t.folder(parent, layer)
	if err != nil {
		return misplaced(err, "putting %q in place", e.Name)
	}
	before := folder.children[base]
	switch e.Kind {
	case KindWhiteout:
		if before != nil && !before.prune(layer) {
			delete(folder.children, base)
		}
		return nil
	case KindOpaque:
		return t.opaque(layer, e)
	case KindHardLink:
		target, err := t.find(string(e.Link), false)
		if err != nil {
			return badImage(ReasonBadLayer, "linking %q to %q: %v", e.Name, e.Link, err)
		}
		if target.Kind == KindFolder {
			return badImage(ReasonBadLayer, "linking %q to %q: that is a folder", e.Name, e.Link)
		}
		if err := t.chargeLink(target); err != nil {
			return err
		}
		folder.children[base] = &node{Entry: target.Entry, layer: layer}
		return nil
	case KindFolder:
		if before != nil && before.Kind == KindFolder {
			before.Entry, before.layer = e, layer
			return nil
		}
		folder.children[base] = &node{Entry: e, children: map[string]*node{}, layer: layer}
		return nil
	default:
		if err := t.chargeBytes(e.Size); err != nil { // Only files have a size.
			return err
		}
		folder.children[base] = &node{Entry: e, layer: layer}
		return nil
	}
}

func (t *tree) applyTop(layer int, e Entry) error {
	switch e.Kind {
	case KindFolder:
		t.root.Entry, t.root.layer = e, layer
		return nil
	case KindOpaque:
		return t.opaque(layer, e)
	default:
		return badImage(ReasonBadLayer, "the top of the tree is a %s; it must be a folder", e.Kind)
	}
}

// opaque takes away what the layers below have in a folder.
func (t *tree) opaque(layer int, e Entry) error {
	folder, err := t.folder(string(e.Name), layer)
	if err != nil {
		return misplaced(err, "emptying %q", e.Name)
	}
	for base, child := range folder.children {
		if !child.prune(layer) {
			delete(folder.children, base)
		}
	}
	return nil
}

// prune takes away all that a layer did not put there itself, and says whether anything is left. The order of
// a whiteout and of what the same layer puts in its place does not matter.
func (n *node) prune(layer int) bool {
	for base, child := range n.children {
		if !child.prune(layer) {
			delete(n.children, base)
		}
	}
	return n.layer == layer || len(n.children) > 0
}

// folder finds a folder by its path, following links, and makes what is missing on the way.
func (t *tree) folder(at string, layer int) (*node, error) {
	return t.walk(at, func(in *node, base string) (*node, error) {
		if err := t.charge(layer); err != nil {
			return nil, err
		}
		made := newFolder(layer)
		in.children[base] = made
		return made, nil
	})
}

// find finds something by its path. Links on the way are followed; where the path ends in one, only if asked.
func (t *tree) find(at string, follow bool) (*node, error) {
	for hops := 0; ; hops++ {
		parent, base := path.Split(strings.TrimRight(at, "/"))
		if base == "" || base == "." || base == ".." {
			return t.walk(at, nil)
		}
		folder, err := t.walk(parent, nil)
		if err != nil {
			return nil, err
		}
		found := folder.children[base]
		if found == nil {
			return nil, fs.ErrNotExist
		}
		if found.Kind != KindSymlink || !follow {
			return found, nil
		}
		if hops > maxLinks {
			return nil, errors.New("too many links")
		}
		at = string(found.Link)
		if !strings.HasPrefix(at, "/") {
			at = parent + at // Not path.Join: what is before a .. may be a link itself.
		}
	}
}

// walk goes to a folder, following links as the kernel does for a process whose root is the tree's: an absolute
// link starts at the top, and nothing is above the top. Missing folders are made, or are an error without make.
// Where folders are made, what is put into the one at the end is not too deep: links make it deeper than its name.
func (t *tree) walk(at string, make func(in *node, base string) (*node, error)) (*node, error) {
	above := []*node{t.root}
	left := strings.Split(at, "/")
	for links := 0; len(left) > 0; {
		base := left[0]
		left = left[1:]
		here := above[len(above)-1]
		switch base {
		case "", ".":
			continue
		case "..":
			above = above[:max(1, len(above)-1)]
			continue
		}
		next := here.children[base]
		if next == nil && make != nil {
			if len(above) > t.budget.Depth {
				return nil, tooDeep(at, t.budget.Depth)
			}
			var err error
			if next, err = make(here, base); err != nil {
				return nil, err
			}
		}
		switch {
		case next == nil:
			return nil, fs.ErrNotExist
		case next.Kind == KindFolder:
			above = append(above, next)
		case next.Kind == KindSymlink:
			if links++; links > maxLinks {
				return nil, errors.New("too many links")
			}
			if strings.HasPrefix(string(next.Link), "/") {
				above = above[:1]
			}
			left = append(strings.Split(string(next.Link), "/"), left...)
		default:
			return nil, fmt.Errorf("%q is a %s and not a folder", base, next.Kind)
		}
	}
	if make != nil && len(above) > t.budget.Depth {
		return nil, tooDeep(at, t.budget.Depth)
	}
	return above[len(above)-1], nil
}
