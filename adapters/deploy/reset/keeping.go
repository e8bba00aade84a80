package reset

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// keep gives what a former tree has by a path the same path in a fresh one. Files get a second name, so that it costs the
// same whatever their size, and the former tree stays as it is. What is not there, or only behind a link, is not kept. It
// may be done again: what is by that path in the fresh tree goes first.
func keep(from, to, path string) error {
	there, err := isThere(from, path)
	if err != nil || !there {
		return err
	}
	parts := strings.Split(path, "/")
	for i := range parts[:len(parts)-1] {
		above := filepath.Join(parts[:i+1]...)
		if err := makeAbove(filepath.Join(from, above), filepath.Join(to, above)); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(filepath.Join(to, path)); err != nil {
		return err
	}
	return link(filepath.Join(from, path), filepath.Join(to, path))
}

// isThere says whether a tree has something by a path. Links above it are not followed.
func isThere(tree, path string) (bool, error) {
	for i := range path {
		if path[i] != '/' {
			continue
		}
		info, err := os.Lstat(filepath.Join(tree, path[:i]))
		if errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
	_, err := os.Lstat(filepath.Join(tree, path))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// makeAbove makes a folder in the fresh tree as the former one has it, unless there is one.
func makeAbove(from, to string) error {
	info, err := os.Lstat(to)
	if err == nil && info.IsDir() {
		return nil
	}
	if err == nil {
		err = os.Remove(to)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return makeLike(from, to)
}

// link gives a thing a second name; of a folder, all that is in it.
func link(from, to string) error {
	info, err := os.Lstat(from)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return os.Link(from, to) // It does not follow links.
	}
	if err := makeLike(from, to); err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := link(filepath.Join(from, entry.Name()), filepath.Join(to, entry.Name())); err != nil {
			return err
		}
	}
	return os.Chtimes(to, time.Time{}, info.ModTime()) // What was put into it has changed that.
}

// makeLike makes a folder with the owner, the attributes, the mode and the time of another.
func makeLike(from, to string) error {
	var state unix.Stat_t
	if err := unix.Lstat(from, &state); err != nil {
		return &fs.PathError{Op: "lstat", Path: from, Err: err}
	}
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	if err := os.Lchown(to, int(state.Uid), int(state.Gid)); err != nil {
		return err
	}
	if err := unix.Chmod(to, state.Mode&0o7777); err != nil {
		return fmt.Errorf("giving %s its mode: %w", to, err)
	}
	if err := copyAttributes(from, to); err != nil {
		return fmt.Errorf("copying the attributes of %s: %w", from, err)
	}
	return os.Chtimes(to, time.Time{}, time.Unix(state.Mtim.Sec, state.Mtim.Nsec))
}

func copyAttributes(from, to string) error {
	size, err := unix.Llistxattr(from, nil)
	if errors.Is(err, unix.EOPNOTSUPP) || err == nil && size == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	list := make([]byte, size)
	if size, err = unix.Llistxattr(from, list); err != nil {
		return err
	}
	for key := range bytes.SplitSeq(bytes.TrimRight(list[:size], "\x00"), []byte{0}) {
		name := string(key)
		size, err := unix.Lgetxattr(from, name, nil)
		if err != nil {
			return err
		}
		value := make([]byte, size)
		if size > 0 {
			if size, err = unix.Lgetxattr(from, name, value); err != nil {
				return err
			}
		}
		if err := unix.Lsetxattr(to, name, value[:size], 0); err != nil {
			return err
		}
	}
	return nil
}
