package deploy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// mountPoints are the folders that the running system needs in its read-only root.
func (e *Engine) mountPoints() []string {
	return []string{"boot", "dev", "etc", "home", "proc", "root", "run", "sys", "tmp", "var", strings.Trim(e.Root, "/")}
}

// addMountPoints makes those that the image does not bring. One that can't be made, since the image has
// something else there, is left to the image.
func (t *tree) addMountPoints(points []string) {
	for _, point := range points {
		if _, err := t.find(point, true); err == nil {
			continue
		}
		if made, err := t.folder(point, 0); err == nil && point == "tmp" {
			made.Mode = 0o1777
		}
	}
}

// builder lays a tree down on the disk. It makes every folder itself and works on open folders only, so that
// nothing it does can go through a link.
type builder struct {
	ctx     context.Context
	objects *store
	room    *room
	warn    func(message string, args ...any)
}

// build makes the tree as a new folder.
func (b *builder) build(t *tree, at string) error {
	return b.folder(unix.AT_FDCWD, at, "", t.root)
}

// folder makes a folder and all that is in it; its time comes last, since its children change it.
func (b *builder) folder(parent int, base, full string, n *node) error {
	if err := b.ctx.Err(); err != nil {
		return err
	}
	if err := unix.Mkdirat(parent, base, 0o700); err != nil {
		return fmt.Errorf("making the folder %q: %w", full, err)
	}
	fd, err := unix.Openat(parent, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening the folder %q: %w", full, err)
	}
	defer func() { _ = unix.Close(fd) }() // It was only read.
	names := make([]string, 0, len(n.children))
	for child := range n.children {
		names = append(names, child)
	}
	slices.Sort(names)
	for _, child := range names {
		below := n.children[child]
		if below.Kind == KindFolder {
			err = b.folder(fd, child, full+"/"+child, below)
		} else {
			err = b.leaf(fd, child, full+"/"+child, below.Entry)
		}
		if err != nil {
			return err
		}
	}
	if err := setMetadata(fd, n.Entry); err != nil {
		return fmt.Errorf("making the folder %q: %w", full, err)
	}
	return setTimes(parent, base, n.Entry)
}

// leaf makes anything that is not a folder.
func (b *builder) leaf(folder int, base, full string, e Entry) error {
	var err error
	switch e.Kind {
	case KindFile:
		return b.file(folder, base, full, e)
	case KindSymlink:
		err = unix.Symlinkat(string(e.Link), folder, base)
	case KindFIFO:
		err = unix.Mknodat(folder, base, unix.S_IFIFO|e.Mode, 0)
	case KindChar, KindBlock:
		kind := uint32(unix.S_IFCHR)
		if e.Kind == KindBlock {
			kind = unix.S_IFBLK
		}
		err = unix.Mknodat(folder, base, kind|e.Mode, int(unix.Mkdev(uint32(e.Major), uint32(e.Minor))))
		if errors.Is(err, unix.EPERM) && strings.HasPrefix(full, "/dev/") {
			// A host in a container may make no devices, and needs none here: /dev is mounted over.
			b.warn("a device below /dev was left out", "device", full)
			return nil
		}
	default:
		return fmt.Errorf("making %q: a tree has no %s", full, e.Kind)
	}
	if err != nil {
		return fmt.Errorf("making the %s %q: %w", e.Kind, full, err)
	}
	return b.describe(folder, base, full, e)
}

// describe gives what can't be opened its owner, mode, attributes and time.
func (b *builder) describe(folder int, base, full string, e Entry) error {
	if err := unix.Fchownat(folder, base, e.UID, e.GID, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("giving %q to %d:%d: %w", full, e.UID, e.GID, err)
	}
	if e.Kind != KindSymlink { // Links have no mode of their own.
		if err := unix.Fchmodat(folder, base, e.Mode, 0); err != nil {
			return fmt.Errorf("giving %q mode %o: %w", full, e.Mode, err)
		}
	}
	for _, key := range sortedKeys(e.Xattrs) {
		path := fmt.Sprintf("/proc/self/fd/%d/%s", folder, base)
		if err := unix.Lsetxattr(path, string(key), e.Xattrs[key], 0); err != nil {
			return fmt.Errorf("giving %q the attribute %s: %w", full, key, err)
		}
	}
	return setTimes(folder, base, e)
}

// file gives an object one more name. Where a file system allows no more names for it, the file is copied.
func (b *builder) file(folder int, base, full string, e Entry) error {
	err := b.objects.link(e.Object, folder, base)
	if err == nil {
		return nil
	}
	if !errors.Is(err, unix.EMLINK) {
		return fmt.Errorf("making the file %q: %w", full, err)
	}
	from, err := b.objects.open(e.Object)
	if err != nil {
		return fmt.Errorf("making the file %q: %w", full, err)
	}
	defer from.Close()
	if err := b.room.use(e.Size); err != nil {
		return err
	}
	fd, err := unix.Openat(folder, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("making the file %q: %w", full, err)
	}
	to := os.NewFile(uintptr(fd), base)
	_, err = io.Copy(to, from)
	if err == nil {
		err = setMetadata(fd, e)
	}
	if err = errors.Join(err, to.Close()); err != nil {
		return fmt.Errorf("making the file %q: %w", full, err)
	}
	return setTimes(folder, base, e)
}
