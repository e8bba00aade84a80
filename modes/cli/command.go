// Package cli is what the operator types: it asks hosts for a version, waits for it, and shows how they stand.
package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"elemental/core"
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
	now      func() time.Time
	out      io.Writer
	errs     io.Writer
	in       io.Reader
	terminal int                                 // the width of the terminal that out is; 0: it is none
	size     func() (width, height int)          // the terminal's size as it is now
	check    func(schema, document []byte) error // a core.Failure where the document does not fit
}

// Commands are the commands of an operator, and those about the program itself.
func Commands(version string) (operators, program []*cli.Command) {
	flags, connect, names := cluster()
	return commands(flags, func(c *cli.Context) world {
		width, _ := sizeOf(os.Stdout)
		return world{
			connect: connect, now: time.Now, out: c.App.Writer, errs: c.App.ErrWriter, terminal: width, in: c.App.Reader, check: fits,
			size: func() (int, int) { return sizeOf(os.Stdout) },
		}
	}), general(version, flags, &completer{connect: connect, names: names})
}

func commands(clusterFlags []cli.Flag, of func(*cli.Context) world) []*cli.Command {
	return []*cli.Command{
		upgradeCommand(clusterFlags, of),
		{
			Name: "hosts", Usage: "show the hosts and how they stand",
			Description: manual.Page{
				Text:     "Reads the ElementalHosts of one namespace, or of all, and shows one on a line. It changes nothing.",
				Examples: []manual.Example{{Does: "Show the hosts of all namespaces.", Line: "elemental hosts -A"}},
			}.String(),
			Flags:        append(slices.Clone(clusterFlags), &cli.BoolFlag{Name: "all-namespaces", Aliases: []string{"A"}, Usage: "show the hosts of all namespaces"}),
			OnUsageError: misused,
			Action: func(c *cli.Context) error {
				if c.NArg() > 0 {
					return usage(c, fmt.Errorf("there are no arguments to elemental hosts, and %q is one", c.Args().First()))
				}
				return listHosts(c.Context, of(c), c.Bool("all-namespaces"))
			},
		},
	}
}

func listHosts(ctx context.Context, w world, everywhere bool) error {
	operator, err := w.connect()
	if err != nil {
		return err
	}
	hosts, err := operator.List(ctx, ports.Selection{Kind: core.KindHost, Everywhere: everywhere})
	if err != nil {
		return err
	}
	if len(hosts) == 0 {
		fmt.Fprintln(w.errs, "There are no hosts.")
		return nil
	}
	return writeTable(w.out, hosts, everywhere, w.now())
}
