// Package plugin is the mode in which this program is one of its own plugins, run by the agent as a child
// process like any other.
package plugin

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// Command serves one verb of one built-in plugin: the request comes on standard input.
func Command() *cli.Command {
	return &cli.Command{
		Name:        "plugin",
		Hidden:      true,
		Usage:       "serve one verb of a built-in plugin",
		ArgsUsage:   "NAME VERB",
		Subcommands: []*cli.Command{testCommand()},
		Action: func(c *cli.Context) error {
			if c.NArg() != 2 {
				return cli.Exit("elemental plugin needs two arguments, the plugin's name and the verb; the request is read from standard input", 2)
			}
			open, known := builtins()[c.Args().Get(0)]
			if !known {
				return cli.Exit(fmt.Sprintf("there is no built-in plugin %q; there are: %s", c.Args().Get(0), strings.Join(Names(), ", ")), 2)
			}
			return serve(c.Context, c.App.Reader, c.App.Writer, open)
		},
	}
}

// Names lists the built-in plugins.
func Names() []string { return slices.Sorted(maps.Keys(builtins())) }
