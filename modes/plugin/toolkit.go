package plugin

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"elemental/modes/settings"
)

// toolkitPath is where a host says how to drive its elemental-toolkit. Nothing remote changes it.
const toolkitPath = "/etc/elemental/toolkit.yaml"

// stagingTime is how long the plugin protocol lets a staging take as a whole.
const stagingTime = 2 * time.Hour

// toolkitConfig says how to drive the elemental-toolkit.
type toolkitConfig struct {
	// Command is the path of the toolkit's own command.
	Command string `yaml:"command"`
	// StatePath is where the toolkit's state partition is mounted.
	StatePath string `yaml:"statePath"`
	// MinFreeMiB is how much room an upgrade needs there.
	MinFreeMiB uint64 `yaml:"minFreeMiB"`
	// Timeout is how long an upgrade may take.
	Timeout time.Duration `yaml:"timeout"`
}

// readToolkit reads the file over what holds where it says nothing, or is missing. An unknown field is an error,
// since a mistyped one must not be a default.
func readToolkit(path string, config toolkitConfig) (toolkitConfig, error) {
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return config, fmt.Errorf("reading how to drive the elemental-toolkit: %w", err)
	}
	if err = settings.Decode(text, &config); err == nil {
		err = config.check()
	}
	if err != nil {
		return config, fmt.Errorf("reading how to drive the elemental-toolkit, %s: %w", path, err)
	}
	return config, nil
}

func (c toolkitConfig) check() error {
	switch {
	case !filepath.IsAbs(c.Command):
		return fmt.Errorf("command is %q: it must be a whole path, such as /usr/bin/elemental", c.Command)
	case !filepath.IsAbs(c.StatePath):
		return fmt.Errorf("statePath is %q: it must be a whole path, such as /run/initramfs/elemental-state", c.StatePath)
	case c.MinFreeMiB > 1<<30:
		return fmt.Errorf("minFreeMiB is %d: it must be at most %d", c.MinFreeMiB, 1<<30)
	case c.Timeout <= 0:
		return fmt.Errorf("timeout is %s: it must be more than nothing, such as 90m", c.Timeout)
	case c.Timeout >= stagingTime:
		return fmt.Errorf("timeout is %s: it must be less than %s, which is all that a staging has", c.Timeout, stagingTime)
	}
	return nil
}
