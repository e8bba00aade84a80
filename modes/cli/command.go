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

// The statuses that the commands end with, besides 0 and 1 for everything else.
const (
	exitUsage       = 2   // what was typed can't be meant
	exitMachine     = 3   // the host serves a machine, which is to be asked instead
	exitFailed      = 4   // the version was rolled back, failed for good, or is not valid
	exitTimedOut    = 124 // the time for waiting was over; as timeout(1) has it
	exitInterrupted = 130 // someone ended the waiting; as shells have it
)

// waitStatuses are the statuses of a command that asks for a version and may wait for it.
func waitStatuses() []manual.Status {
	return []manual.Status{
		{Code: 0, Means: "the version runs and the host is ready; without --wait: it was asked for"},
		{Code: 1, Means: "the cluster could not be asked"},
		{Code: exitMachine, Means: "the host serves a machine, which must be asked instead"},
		{Code: exitFailed, Means: "the version was rolled back, failed for good, is not valid, or was replaced by another request"},
		{Code: exitTimedOut, Means: "the time for waiting was over"},
		{Code: exitInterrupted, Means: "the waiting was interrupted; the request stands"},
	}
}

// world is what the commands need from outside.
type world struct {
	connect  func() (ports.Operator, error)
	now      func() time.Time
	out      io.Writer
	errs     io.Writer
	terminal int // the width of the terminal that out is; 0: it is none
}

// Commands are the commands of an operator, and those about the program itself.
func Commands(version string) (operators, program []*cli.Command) {
	flags, connect, names := cluster()
	return commands(flags, func(c *cli.Context) world {
		return world{connect: connect, now: time.Now, out: c.App.Writer, errs: c.App.ErrWriter, terminal: widthOf(os.Stdout)}
	}), general(version, flags, &completer{connect: connect, names: names})
}

func commands(clusterFlags []cli.Flag, of func(*cli.Context) world) []*cli.Command {
	return []*cli.Command{
		{
			Name: "upgrade", Usage: "ask a host for another OS version",
			Subcommands: []*cli.Command{{
				Name: "host", ArgsUsage: "NAME", Usage: "ask one host for an image",
				Description: manual.Page{
					Text: "Asks for spec.osVersionManagement.osVersion.imageUri and leaves all else that is asked as it is.",
					Examples: []manual.Example{
						{Does: "Ask for an image, and wait until the host runs it.", Line: "elemental upgrade host my-elemental-host --image oci://my-registry/my-image:v2 --wait"},
					},
					Statuses: waitStatuses(),
					See:      []string{"elemental hosts"},
				}.String(),
				Flags: append(slices.Clone(clusterFlags),
					&cli.StringFlag{Name: "image", Usage: "the `IMAGE`, such as oci://registry/os:v1.2.3 (required)"},
					&cli.BoolFlag{Name: "wait", Usage: "wait until the image runs and the host is ready"},
					&cli.DurationFlag{Name: "timeout", Value: 30 * time.Minute, Usage: "how long to wait"},
				),
				Action:       func(c *cli.Context) error { return upgradeHost(c, of(c)) },
				OnUsageError: misused,
			}},
			Action: func(c *cli.Context) error {
				return cli.Exit("elemental upgrade needs to know what: elemental upgrade host NAME --image IMAGE", exitUsage)
			},
			OnUsageError: misused,
		},
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
