package dummy

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// write replaces a file as a whole: after a power cut there is the old one or the new one.
func (p *Plugin) write(name string, text []byte, mode fs.FileMode) error {
	if err := os.MkdirAll(p.folder, 0o700); err != nil {
		return fmt.Errorf("making the work dir: %w", err)
	}
	// One name for all attempts, so that those that were killed leave one file and not many.
	file, err := os.OpenFile(filepath.Join(p.folder, "."+name+".new"), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	_, err = file.Write(text)
	err = errors.Join(err, file.Chmod(mode), file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), filepath.Join(p.folder, name))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("writing %s: %w", name, err), os.Remove(file.Name()))
	}
	folder, err := os.Open(p.folder)
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	if err := errors.Join(folder.Sync(), folder.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return nil
}
