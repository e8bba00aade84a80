package plugin

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"elemental/adapters/plugin"
	"elemental/adapters/plugin/boot"
	"elemental/adapters/plugin/commands"
	"elemental/adapters/plugin/dummy"
	"elemental/adapters/plugin/packages"
	"elemental/adapters/plugin/toolkit"
	hostos "elemental/modes/os"
	"elemental/modes/policy"
	"elemental/ports"
)

// opener makes a plugin that keeps its files in a folder.
type opener func(workDir string) (ports.Plugin, error)

// builtins are the plugins that this program serves itself.
func builtins() map[string]opener {
	return map[string]opener{
		"commands": openCommands,
		"dummy":    func(workDir string) (ports.Plugin, error) { return dummy.New(workDir), nil },
		"image":    func(string) (ports.Plugin, error) { return hostos.OpenPlugin(hostos.ConfigPath) },
		"packages": func(workDir string) (ports.Plugin, error) { return packages.New(workDir, os.Stderr), nil },

		"elemental-toolkit": openToolkit,
	}
}

// openCommands asks the host's policy anew at every call.
func openCommands(workDir string) (ports.Plugin, error) {
	return commands.New(commands.Config{WorkDir: workDir, Boot: boot.ID, Log: os.Stderr, Allow: func() error {
		rules, err := policy.Read(policy.Path)
		if err != nil {
			return err
		}
		return rules.AllowCommands()
	}}), nil
}

func openToolkit(workDir string) (ports.Plugin, error) {
	config, err := readToolkit(toolkitPath, toolkitConfig{
		Command: toolkit.DefaultCommand, StatePath: toolkit.DefaultStatePath, MinFreeMiB: toolkit.DefaultMinFree >> 20, Timeout: toolkit.DefaultTimeout,
	})
	if err != nil {
		return nil, err
	}
	return toolkit.New(toolkit.Config{
		WorkDir: workDir, File: toolkitPath, Command: config.Command, StatePath: config.StatePath, MinFree: config.MinFreeMiB << 20, Timeout: config.Timeout,
		RunPath: toolkit.RunPath, Cmdline: toolkit.Cmdline, Boot: boot.ID, Began: boot.Began, Log: os.Stderr,
	}), nil
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
