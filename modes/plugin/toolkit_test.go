package plugin

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"
)

func TestReadToolkit(t *testing.T) {
	is := is.New(t)
	path := filepath.Join(t.TempDir(), "toolkit.yaml")
	usual := toolkitConfig{Command: "/usr/bin/elemental", StatePath: "/run/state", MinFreeMiB: 2048, Timeout: time.Hour}
	config, err := readToolkit(path, usual)
	is.NoErr(err)
	is.Equal(config, usual) // There is no file.

	is.NoErr(os.WriteFile(path, []byte("command: /opt/toolkit/elemental\nminFreeMiB: 0\n"), 0o600))
	config, err = readToolkit(path, usual)
	is.NoErr(err)
	is.Equal(config, toolkitConfig{Command: "/opt/toolkit/elemental", StatePath: "/run/state", Timeout: time.Hour})

	for _, text := range []string{"comand: /x", "command: x", "statePath: ''", "minFreeMiB: -1", "minFreeMiB: 99999999999", "timeout: 0s", "timeout: 2h", "timeout: 1m\n---\na: 1"} {
		is.NoErr(os.WriteFile(path, []byte(text), 0o600))
		_, err := readToolkit(path, usual)
		is.True(err != nil && strings.Contains(err.Error(), path))
	}
}
