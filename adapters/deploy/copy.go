package deploy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// unixStat is what the os package gives for a file on Linux.
type unixStat = syscall.Stat_t

// openFolder opens a folder, and nothing that a link in its place leads to: what an image has there is not to be
// trusted.
func openFolder(at string) (*os.Root, error) {
	above, err := os.OpenRoot(filepath.Dir(at))
	if err != nil {
		return nil, err
	}
	defer above.Close()
	base := filepath.Base(at)
	info, err := above.Lstat(base)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%s is not a folder", at)
	}
	return above.OpenRoot(base)
}

// copyTree copies a folder with all that is in it to a new one. Nothing is linked: the copy may be written to.
func copyTree(ctx context.Context, from, to string) error {
	source, err := openFolder(from)
	if err != nil {
		return err
	}
	defer source.Close()
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	target, err := openFolder(to)
	if err != nil {
		return err
	}
	defer target.Close()
	return copyFolder(ctx, source, target, ".")
}

// copyFolder fills a folder that exists in the target, and gives it last what changes with its content.
func copyFolder(ctx context.Context, from, to *os.Root, at string) error {
	names, err := listFolder(from, at)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := copyEntry(ctx, from, to, path.Join(at, name)); err != nil {
			return err
		}
	}
	info, err := from.Lstat(at)
	if err != nil {
		return err
	}
	return copyMetadata(from, to, at, info)
}

// copyEntry copies one thing, which the target must not have yet, and all that is below it. Sockets and devices
// are left out: they belong to whoever runs, not to what is kept.
func copyEntry(ctx context.Context, from, to *os.Root, at string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	info, err := from.Lstat(at)
	if err != nil {
		return err
	}
	switch {
	case info.IsDir():
		if err := to.Mkdir(at, 0o700); err != nil {
			return err
		}
		return copyFolder(ctx, from, to, at)
	case info.Mode()&fs.ModeSymlink != 0:
		link, err := from.Readlink(at)
		if err != nil {
			return err
		}
		if err := to.Symlink(link, at); err != nil {
			return err
		}
		stat := info.Sys().(*unixStat)
		return to.Lchown(at, int(stat.Uid), int(stat.Gid))
	case info.Mode().IsRegular():
		if err := copyContent(from, to, at); err != nil {
			return err
		}
		return copyMetadata(from, to, at, info)
	default:
		return nil
	}
}

func copyContent(from, to *os.Root, at string) error {
	source, err := from.Open(at)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := to.OpenFile(at, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	return errors.Join(err, target.Close())
}

// copyMetadata gives a file or folder the owner, mode, attributes and time of another.
func copyMetadata(from, to *os.Root, at string, info fs.FileInfo) error {
	source, err := from.Open(at)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := to.Open(at)
	if err != nil {
		return err
	}
	defer target.Close()
	xattrs, err := listXattrs(int(source.Fd()))
	if err != nil {
		return fmt.Errorf("reading the attributes of %s: %w", at, err)
	}
	stat := info.Sys().(*unixStat)
	e := Entry{Mode: stat.Mode & 0o7777, UID: int(stat.Uid), GID: int(stat.Gid), Xattrs: xattrs}
	if err := setMetadata(int(target.Fd()), e); err != nil {
		return fmt.Errorf("copying %s: %w", at, err)
	}
	return to.Chtimes(at, time.Time{}, info.ModTime())
}

// listXattrs reads the attributes of an open file.
func listXattrs(fd int) (map[name][]byte, error) {
	size, err := unix.Flistxattr(fd, nil)
	if errors.Is(err, unix.EOPNOTSUPP) || err == nil && size == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	list := make([]byte, size)
	if size, err = unix.Flistxattr(fd, list); err != nil {
		return nil, err
	}
	xattrs := map[name][]byte{}
	for _, key := range splitNUL(list[:size]) {
		size, err := unix.Fgetxattr(fd, key, nil)
		if err != nil {
			return nil, err
		}
		value := make([]byte, size)
		if size > 0 {
			if size, err = unix.Fgetxattr(fd, key, value); err != nil {
				return nil, err
			}
		}
		xattrs[name(key)] = value[:size]
	}
	return xattrs, nil
}

func splitNUL(list []byte) []string {
	var parts []string
	start := 0
	for i, b := range list {
		if b == 0 {
			parts = append(parts, string(list[start:i]))
			start = i + 1
		}
	}
	return parts
}
