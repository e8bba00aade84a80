package dummy

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"elemental/adapters/plugin/durable"
)

// write replaces a file in the work dir as a whole.
func (p *Plugin) write(name string, text []byte, mode fs.FileMode) error {
	if err := os.MkdirAll(p.folder, 0o700); err != nil {
		return fmt.Errorf("making the work dir: %w", err)
	}
	return durable.WriteFile(filepath.Join(p.folder, name), text, mode)
}

// remove takes files away from the work dir, where they are there.
func (p *Plugin) remove(names ...string) error {
	removed := false
	for _, name := range names {
		err := os.Remove(filepath.Join(p.folder, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing what was written before: %w", err)
		}
		removed = removed || err == nil
	}
	if !removed {
		return nil
	}
	return durable.SyncFolder(p.folder)
}
