// Package cli is what the operator types: it asks hosts for a version, waits for it, and shows how they stand.
package cli

import (
	"io"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"elemental/modes/manual"
	"elemental/ports"
)

// The statuses that the commands end with, besides 0; 1 also is everything else.
const (
	exitUnasked     = 1   // the cluster could not be asked, or refused
	exitUsage       = 2   // what was typed can't be meant
	exitMachine     = 3   // the host serves a machine, which is to be asked instead
	exitFailed      = 4   // the version was rolled back, failed for good, or is not valid
	exitTimedOut    = 124 // the time for waiting was over; as timeout(1) has it
	exitInterrupted = 130 // someone ended the waiting; as shells have it
)

// waitStatuses are the statuses of a command that asks for a version and may wait for it.
func waitStatuses() []manual.Status {
	return []manual.Status{
		{Code: 0, Means: "all run what was asked for and are ready; without --wait: all were asked"},
		{Code: exitUnasked, Means: "the cluster could not be asked, or refused, or nothing was selected"},
		{Code: exitUsage, Means: "wrong usage, or a file that can't be meant"},
		{Code: exitMachine, Means: "a host serves a machine, which must be asked instead; nothing was asked of any"},
		{Code: exitFailed, Means: "at least one was rolled back, failed for good, was deleted, was asked for something else meanwhile, or would be asked for what is not valid"},
		{Code: exitTimedOut, Means: "the time was over, and none had failed; what was asked goes on"},
		{Code: exitInterrupted, Means: "it was interrupted; what was asked goes on"},
	}
}

// world is what the commands need from outside.
type world struct {
	connect  func() (ports.Operator, error)
	gate     func() (ports.Gatekeeper, error)
	now      func() time.Time
	out      io.Writer
	errs     io.Writer
	in       io.Reader
	terminal int                                 // the width of the terminal that out is; 0: it is none
	colours  bool                                // the terminal is to show colours
	size     func() (width, height int)          // the terminal's size as it is now
	check    func(schema, document []byte) error // a core.Failure where the document does not fit
}

// Commands are the commands of an operator, and those about the program itself.
func Commands(version string) (operators, program []*cli.Command) {
	flags, connect, gate, names := cluster()
	return commands(flags, func(c *cli.Context) world {
		width, _ := sizeOf(os.Stdout)
		return world{
			connect: connect, gate: gate, now: time.Now, out: c.App.Writer, errs: c.App.ErrWriter, terminal: width, in: c.App.Reader, check: fits,
			size: func() (int, int) { return sizeOf(os.Stdout) }, colours: coloured(width, os.Getenv),
		}
	}), general(version, flags, &completer{connect: connect, gate: gate, names: names})
}

func commands(clusterFlags []cli.Flag, of func(*cli.Context) world) []*cli.Command {
	return []*cli.Command{
		upgradeCommand(clusterFlags, of),
		hostsCommand(clusterFlags, of),
		retryCommand(clusterFlags, of),
		registrationCommand(clusterFlags, of),
		requestsCommand(clusterFlags, of),
		approveCommand(clusterFlags, of),
		denyCommand(clusterFlags, of),
	}
}
