package plugin

import (
	"context"
	"io"

	"elemental/adapters/plugin"
	"elemental/adapters/plugin/dummy"
	hostos "elemental/modes/os"
	"elemental/ports"
)

// opener makes a plugin that keeps its files in a folder.
type opener func(workDir string) (ports.Plugin, error)

// builtins are the plugins that this program serves itself.
func builtins() map[string]opener {
	return map[string]opener{
		"dummy": func(workDir string) (ports.Plugin, error) { return dummy.New(workDir), nil },
		"image": func(string) (ports.Plugin, error) { return hostos.OpenPlugin(hostos.ConfigPath) },
	}
}

func serve(ctx context.Context, stdin io.Reader, stdout io.Writer, open opener) error {
	return plugin.Serve(ctx, stdin, stdout, open)
}
