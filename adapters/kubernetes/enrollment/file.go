package enrollment

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// writeFile puts a secret in place so that a crash leaves the old one or the new one, whole. All attempts share one
// temporary name, so that those that were killed leave one file and not many.
func writeFile(name string, secret []byte) error {
	temporary := name + ".tmp"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("removing what an earlier attempt left: %w", err)
	}
	file, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	_, err = file.Write(secret)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err == nil {
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
	if err := errors.Join(file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("syncing %s: %w", folder, err)
	}
	return nil
}
