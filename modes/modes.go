// Package modes is the table of contents: everything that this one program can be.
package modes

import (
	"errors"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"elemental/modes/agent"
	operator "elemental/modes/cli"
	"elemental/modes/controller"
	pid1 "elemental/modes/init"
	hostos "elemental/modes/os"
	"elemental/modes/plugin"
)

// Commands lists the modes.
func Commands(version string) []*cli.Command {
	return append([]*cli.Command{
		controller.Command(version),
		agent.Command(version),
		pid1.Command(),
		hostos.Command(),
		plugin.Command(),
	}, operator.Commands(version)...)
}

// Unknown is what happens when no command is named, or none that there is.
func Unknown(c *cli.Context) error {
	if c.NArg() == 0 {
		return cli.ShowAppHelp(c)
	}
	return cli.Exit(fmt.Sprintf("there is no command %q; see elemental --help", c.Args().First()), 2)
}

// ExitCode says what went wrong, and with which status the program ends: an error may name its own.
func ExitCode(stderr io.Writer, err error) int {
	status := 1
	var named cli.ExitCoder
	if errors.As(err, &named) {
		status = named.ExitCode()
	}
	if text := err.Error(); text != "" {
		fmt.Fprintln(stderr, "elemental: "+text)
	}
	return status
}
