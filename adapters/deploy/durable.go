package deploy

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// writeFile puts a file in place so that a crash leaves the old one or the new one, whole.
func writeFile(name string, content []byte, mode os.FileMode) error {
	temporary := name + ".tmp"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("removing what an earlier attempt left: %w", err)
	}
	file, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	_, err = file.Write(content)
	if err == nil {
		err = file.Sync()
	}
	err = errors.Join(err, file.Close())
	if err == nil {
		err = os.Rename(temporary, name)
	}
	if err != nil {
		_ = os.Remove(temporary) // Best effort: the error that matters is the one above.
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return syncFolder(filepath.Dir(name))
}

// syncFolder makes the names in a folder durable.
func syncFolder(folder string) error {
	file, err := os.Open(folder)
	if err != nil {
		return fmt.Errorf("syncing %s: %w", folder, err)
	}
	defer file.Close()
	if err := file.Sync(); err != nil && !errors.Is(err, unix.EINVAL) { // FAT on some kernels has no fsync of folders.
		return fmt.Errorf("syncing %s: %w", folder, err)
	}
	return nil
}

// syncFileSystem makes all of the file system that holds a folder durable. The fsync of single files and
// folders is not enough: content that was written and renamed may still be empty after a power cut.
func syncFileSystem(folder string) error {
	file, err := os.Open(folder)
	if err != nil {
		return fmt.Errorf("syncing the file system of %s: %w", folder, err)
	}
	defer file.Close()
	if err := unix.Syncfs(int(file.Fd())); err != nil {
		return fmt.Errorf("syncing the file system of %s: %w", folder, err)
	}
	return nil
}
