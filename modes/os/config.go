// Package hostos is the mode in which this program shows and keeps the operating systems of its own host,
// without any cluster.
package hostos

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"elemental/modes/policy"
	"elemental/modes/settings"
)

// ConfigPath is where the host's own word on its images is. Nothing remote changes it.
const ConfigPath = "/etc/elemental/image.yaml"

// Config says where a host keeps its operating systems, and which images it accepts.
type Config struct {
	// Root is the folder with the deployments; Boot is the top of the boot partition.
	Root string `yaml:"root"`
	Boot string `yaml:"boot"`
	// Kernel is required where images bring it, and none where the host brings its own, as a container does.
	Kernel string `yaml:"kernel"`
	// PlainHTTP are the registries, as HOST or HOST:PORT, that may be spoken to without TLS.
	PlainHTTP []string `yaml:"plainHTTP"`
	// AllowedRegistries are those that images may come from, if the host's policy allows them too; none named: all that
	// it allows. The rule images.registries of the policy is where to say it.
	AllowedRegistries []string `yaml:"allowedRegistries"`
	// Credentials is a file in the form of a container tool's auth.json, which may be missing.
	Credentials string `yaml:"credentials"`
	// Tries is how often a new deployment is booted until it is given up.
	Tries int `yaml:"tries"`
	// HealthTimeout is how long a new deployment has to become healthy after it was booted.
	HealthTimeout time.Duration `yaml:"healthTimeout"`

	file string // that it was read from; empty: there is none
	// ResetKeeps are what a reset keeps besides what its agent needs, as paths with * and ? in them; nil: the image
	// plugin's own list.
	ResetKeeps []string `yaml:"resetKeeps"`
}

// DefaultConfig holds where the file says nothing, or is missing.
func DefaultConfig() Config {
	return Config{
		Root: "/elemental", Boot: "/boot", Kernel: "required", Credentials: "/etc/elemental/auth.json",
		Tries: 3, HealthTimeout: 5 * time.Minute,
	}
}

// ReadConfig reads the file. One that is missing is the default; an unknown field is an error, since a
// mistyped one must not be.
func ReadConfig(path string) (Config, error) {
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Config{}, fmt.Errorf("reading the configuration of images: %w", err)
	}
	config := DefaultConfig()
	if err = settings.Decode(text, &config); err == nil {
		err = config.check()
	}
	if err != nil {
		return Config{}, fmt.Errorf("reading the configuration of images %s: %w", path, err)
	}
	if text != nil {
		config.file = path
	}
	return config, nil
}

func (c Config) check() error {
	switch {
	case !filepath.IsAbs(c.Root):
		return fmt.Errorf("root is %q: it must be a whole path, such as /elemental", c.Root)
	case !filepath.IsAbs(c.Boot):
		return fmt.Errorf("boot is %q: it must be a whole path, such as /boot", c.Boot)
	case !slices.Contains([]string{"required", "none"}, c.Kernel):
		return fmt.Errorf("kernel is %q: it must be required or none", c.Kernel)
	case policy.CheckPlaces(c.AllowedRegistries) != nil:
		return fmt.Errorf("allowedRegistries: %w", policy.CheckPlaces(c.AllowedRegistries))
	case c.Tries < 1:
		return fmt.Errorf("tries is %d: it must be at least 1", c.Tries)
	case c.HealthTimeout <= 0:
		return fmt.Errorf("healthTimeout is %s: it must be more than nothing, such as 5m", c.HealthTimeout)
	}
	return nil
}
