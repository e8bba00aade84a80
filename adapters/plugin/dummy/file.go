package dummy

import (
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
