// Package durable writes what built-in plugins must not forget, so that a crash or a power cut leaves the old file or the
// new one, whole.
package durable

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// WriteFile puts a file in place of whatever bears its name. All attempts share one temporary name, so that
// those that were killed leave one file and not many; a folder must therefore have one writer.
func WriteFile(name string, content []byte, mode os.FileMode) error {
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
	return SyncFolder(filepath.Dir(name))
}

// SyncFolder makes the names in a folder durable.
func SyncFolder(folder string) error {
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

// ErrDamaged says that a document is there and can't be read.
var ErrDamaged = errors.New("it is damaged")

// ReadJSON reads a document that WriteJSON has written, and says whether it is there. One that someone else damaged is
// ErrDamaged.
func ReadJSON(name string, into any) (found bool, err error) {
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading %s: %w", name, err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return true, fmt.Errorf("reading %s: %w: %w", name, ErrDamaged, err)
	}
	return true, nil
}

// WriteJSON puts a document in place that only its owner can read, and makes its folder where that is missing.
func WriteJSON(name string, document any) error {
	text, err := json.Marshal(document)
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return WriteFile(name, append(text, '\n'), 0o600)
}
