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
		Description: "A NAME is a file in /usr/lib/elemental/plugins or a built-in plugin, and the path of a plugin where it has a slash. With the name of a\n" +
			"built-in plugin and a verb of the plugin protocol it serves that verb, as the agent asks for it: the request comes on\n" +
			"standard input.",
		OnUsageError: misused,
		Subcommands:  []*cli.Command{describeCommand(), testCommand(), schemaCommand()},
		Action: func(c *cli.Context) error {
			if c.NArg() == 0 {
				return cli.ShowSubcommandHelp(c)
			}
			if c.NArg() != 2 {
				return cli.Exit(fmt.Sprintf("there is no command %q; see elemental plugin --help", c.Args().First()), 2)
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

// one hands the one argument of a command on. Options that stand after it are taken too: the library stops looking
// there, so that the same line is read again with the argument at its end.
func one(what string, do func(c *cli.Context, name string) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		words := c.Args().Slice()
		if len(words) > 1 && strings.HasPrefix(words[1], "-") {
			line := []string{c.Command.Name}
			for _, name := range c.LocalFlagNames() {
				line = append(line, fmt.Sprintf("--%s=%v", name, c.Value(name)))
			}
			return c.Command.Run(c.Lineage()[1], append(append(line, words[1:]...), words[0])...)
		}
		if len(words) != 1 {
			return cli.Exit(fmt.Sprintf("name one %s; see %s --help", what, c.Command.HelpName), 2)
		}
		return do(c, words[0])
	}
}

// misused is the error of someone who typed an option that there is not.
func misused(c *cli.Context, err error, _ bool) error {
	return cli.Exit(fmt.Sprintf("%v; see %s --help", err, c.Command.HelpName), 2)
}
