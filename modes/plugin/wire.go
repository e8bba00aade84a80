package plugin

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"elemental/adapters/plugin"
	"elemental/adapters/plugin/dummy"
	"elemental/adapters/plugin/packages"
	hostos "elemental/modes/os"
	"elemental/ports"
)

// opener makes a plugin that keeps its files in a folder.
type opener func(workDir string) (ports.Plugin, error)

// builtins are the plugins that this program serves itself.
func builtins() map[string]opener {
	return map[string]opener{
		"dummy":    func(workDir string) (ports.Plugin, error) { return dummy.New(workDir), nil },
		"image":    func(string) (ports.Plugin, error) { return hostos.OpenPlugin(hostos.ConfigPath) },
		"packages": func(workDir string) (ports.Plugin, error) { return packages.New(workDir, os.Stderr), nil },
	}
}

func serve(ctx context.Context, stdin io.Reader, stdout io.Writer, open opener) error {
	return plugin.Serve(ctx, stdin, stdout, open)
}

// runner runs the plugin of its author, who may stand in its folder.
func runner(path, workDir string, log io.Writer) ports.Plugin {
	if whole, err := filepath.Abs(path); err == nil && strings.Contains(path, "/") {
		path = whole
	}
	return plugin.NewRunner(plugin.Config{
		Name: path, WorkDir: workDir, Builtins: Names(), Log: slog.New(slog.NewTextHandler(log, nil)),
	})
}
