// Package plugin is the mode in which this program is one of its own plugins, run by the agent as a child
// process like any other, and in which it describes and tests the plugins of others.
package plugin

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// Command is `elemental plugin`. As `elemental plugin NAME VERB`, which only the agent uses, it serves one verb of one
// built-in plugin: the request comes on standard input.
func Command() *cli.Command {
	return &cli.Command{
		Name: "plugin", Usage: "describe and test the plugins that make OS versions true",
		ArgsUsage: "[NAME VERB]",
		Description: "A NAME is a file in /usr/lib/elemental/plugins or a built-in plugin, and the path of a plugin where it has a slash.\n" +
			"With the name of a built-in plugin and a verb of the plugin protocol it serves that verb, as the agent asks for it:\n" +
			"the request comes on standard input.",
		Subcommands: []*cli.Command{describeCommand(), testCommand(), schemaCommand()},
		Action: func(c *cli.Context) error {
			if c.NArg() == 0 {
				return cli.Exit("elemental plugin needs to know what: describe, test, schema; see elemental plugin --help", 2)
			}
			if c.NArg() != 2 {
				return cli.Exit(fmt.Sprintf("elemental plugin has no command %q; see elemental plugin --help", c.Args().First()), 2)
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
