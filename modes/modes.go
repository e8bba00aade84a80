// Package modes is the table of contents: everything that this one program can be.
package modes

import (
	"errors"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"elemental/modes/agent"
	pid1 "elemental/modes/init"
	"elemental/modes/plugin"
)

// Commands lists the modes.
func Commands(version string) []*cli.Command {
	return []*cli.Command{
		agent.Command(version),
		pid1.Command(),
		plugin.Command(),
	}
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
