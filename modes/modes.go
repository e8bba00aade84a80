// Package modes is the table of contents: everything that this one program can be.
package modes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"elemental/modes/agent"
	operator "elemental/modes/cli"
	"elemental/modes/controller"
	"elemental/modes/coredump"
	pid1 "elemental/modes/init"
	hostos "elemental/modes/os"
	"elemental/modes/plugin"
)

//go:generate go test -run TestCommandsDocument . -rewrite

// Commands lists the modes.
func Commands(version string) []*cli.Command {
	operators, general := operator.Commands(version)
	return slices.Concat(
		in("For operators", operators...),
		in("In the management cluster", private(controller.Command(version))),
		in("On a host", private(agent.Command(version)), hostos.Command(), private(plugin.Command()), pid1.Command()),
		in("General", general...),
	)
}

// private is a command that holds secrets in its memory, and so leaves no core file.
func private(c *cli.Command) *cli.Command {
	c.Before = func(*cli.Context) error { return coredump.Forbid() }
	return c
}

// in puts commands under a heading.
func in(category string, commands ...*cli.Command) []*cli.Command {
	for _, c := range commands {
		c.Category = category
	}
	return commands
}

// App is the program as it was called.
func App(version, calledAs string) *cli.App {
	return &cli.App{
		Name: operator.ProgramName(calledAs), Version: version, HideVersion: true, Commands: Commands(version),
		Usage:          "keep hosts at the OS version that their management cluster declares",
		ExitErrHandler: func(*cli.Context, error) {}, // The exit is the caller's.
	}
}

// Run is the program: it carries out a command line, and returns the status to end with.
func Run(ctx context.Context, version string, args []string) int {
	app := App(version, args[0])
	if err := operator.Run(ctx, app, args); err != nil {
		return exitCode(os.Stderr, app.Name, err)
	}
	return 0
}

// exitCode says what went wrong, and with which status the program ends: an error may name its own.
func exitCode(stderr io.Writer, program string, err error) int {
	status := 1
	var named cli.ExitCoder
	if errors.As(err, &named) {
		status = named.ExitCode()
	}
	if text := err.Error(); text != "" {
		switch rest, named := strings.CutPrefix(text, "elemental "); {
		case named:
			text = program + " " + rest // It begins with a command, as the person called it.
		case !strings.HasPrefix(text, program+" "):
			text = program + ": " + text
		}
		fmt.Fprintln(stderr, text)
	}
	return status
}
