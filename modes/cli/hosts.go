package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"elemental/core"
	"elemental/modes/manual"
	"elemental/ports"
)

// hostsCommand shows hosts.
func hostsCommand(clusterFlags []cli.Flag, of func(*cli.Context) world) *cli.Command {
	return &cli.Command{
		Name: "hosts", Aliases: []string{"host"}, ArgsUsage: "[NAME...]", Usage: "show the hosts and how they stand",
		Description: manual.Page{
			Text: "Reads ElementalHosts and shows one on a line. It changes nothing.\n\n" +
				"READY says whether what is asked for runs; it is Unknown while a host has only answered for what was asked before. " +
				"On a terminal the table shrinks to its width; wide shows everything whole. Colours are only there on a terminal, and not with NO_COLOR.\n\n" +
				"With --watch there follows one line for each host that comes to stand otherwise, until it is interrupted.",
			Examples: []manual.Example{
				{Does: "Show the hosts of all namespaces, those first that are not ready.", Line: "elemental hosts -A --sort-by ready"},
				{Does: "See how the hosts of one site come along.", Line: "elemental hosts -l site=north --watch"},
				{Does: "Read one host as YAML.", Line: "elemental hosts my-elemental-host -o yaml"},
			},
			Statuses: []manual.Status{{Code: exitInterrupted, Means: "the watching was interrupted"}},
			See:      []string{"elemental hosts describe", "elemental retry", "elemental upgrade"},
		}.String(),
		Flags: append(slices.Clone(clusterFlags),
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: outputTable, Usage: "show them as `" + strings.Join(outputs(), "|") + "`"},
			&cli.BoolFlag{Name: "watch", Aliases: []string{"w"}, Usage: "go on to show what changes"},
			&cli.StringFlag{Name: "selector", Aliases: []string{"l"}, Usage: "only those with these `LABELS`, such as site=north,rack!=7"},
			&cli.StringFlag{Name: "field-selector", Usage: "only those with these `FIELDS`, such as metadata.name!=my-host"},
			&cli.BoolFlag{Name: "all-namespaces", Aliases: []string{"A"}, Usage: "show the hosts of all namespaces"},
			&cli.StringFlag{Name: "sort-by", Value: "name", Usage: "order them by `" + strings.Join(orders(), "|") + "`; by age the oldest come first, and by ready those that are not"},
			&cli.BoolFlag{Name: "no-headers", Usage: "leave out the line with the names of the columns"},
		),
		Subcommands:  []*cli.Command{describeCommand(clusterFlags, of), revokeCommand(clusterFlags, of)},
		Action:       func(c *cli.Context) error { return showHosts(c, of(c)) },
		OnUsageError: misused,
	}
}

// view is what someone wants to see of which hosts.
type view struct {
	selection ports.Selection
	output    string
	order     func(a, b ports.Target) int
	headless  bool
}

func viewOf(c *cli.Context, names []string) (view, error) {
	v := view{
		output: c.String("output"), order: orderBy(c.String("sort-by")), headless: c.Bool("no-headers"),
		selection: ports.Selection{
			Kind: core.KindHost, Names: names, Labels: c.String("selector"), Fields: c.String("field-selector"), Everywhere: c.Bool("all-namespaces"),
		},
	}
	switch {
	case !slices.Contains(outputs(), v.output):
		return v, fmt.Errorf("--output %q is none of %s", v.output, strings.Join(outputs(), ", "))
	case v.order == nil:
		return v, fmt.Errorf("--sort-by %q is none of %s", c.String("sort-by"), strings.Join(orders(), ", "))
	case len(names) > 0 && (v.selection.Labels != "" || v.selection.Fields != ""):
		return v, errors.New("hosts are named or selected, and not both: leave out the names, or --selector and --field-selector")
	case len(names) > 0 && v.selection.Everywhere:
		return v, errors.New("a name says nothing in all namespaces: leave out the names or --all-namespaces")
	}
	v.selection.Objects = v.output == outputJSON || v.output == outputYAML || v.output == outputName && c.Bool("watch")
	return v, nil
}

func showHosts(c *cli.Context, w world) error {
	names, err := namesOf(core.KindHost, c.Args().Slice())
	if err != nil {
		return usage(c, err)
	}
	v, err := viewOf(c, names)
	if err != nil {
		return usage(c, err)
	}
	operator, err := w.connect()
	if err != nil {
		return err
	}
	hosts, err := operator.List(c.Context, v.selection)
	if err != nil && (len(hosts) == 0 || c.Bool("watch")) {
		return refused(c, err)
	}
	slices.SortStableFunc(hosts, v.order)
	if c.Bool("watch") {
		return watch(c.Context, w, operator, v, hosts)
	}
	// Those that are there are shown, and then it is said who is not.
	return cmp.Or(show(w, v, hosts), err)
}

// show writes hosts as they stand now.
func show(w world, v view, hosts []ports.Target) error {
	if v.output != outputTable && v.output != outputWide {
		return writeObjects(w.out, v.output, hosts, len(v.selection.Names) == 1)
	}
	if len(hosts) == 0 {
		fmt.Fprintln(w.errs, "There are no hosts.")
		return nil
	}
	t := newTable(w, v)
	if err := t.write(hosts); err != nil || w.terminal == 0 || len(hosts) <= fewHosts {
		return err
	}
	_, err := fmt.Fprintln(w.out, summary(hosts))
	return err
}

// fewHosts are so few that anyone sees at a glance how they stand.
const fewHosts = 10

// summary says how many hosts stand how.
func summary(hosts []ports.Target) string {
	count := make(map[core.Health]int)
	for _, h := range hosts {
		count[core.Advise(caseOf(h)).Health]++
	}
	var parts []string
	for _, health := range core.Healths() {
		if n := count[health]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, health))
		}
	}
	return fmt.Sprintf("%d hosts: %s", len(hosts), strings.Join(parts, ", "))
}

// caseOf is a host as one whom a person asks about.
func caseOf(h ports.Target) core.Case {
	return core.Case{
		Standing: h.Standing, Namespace: h.Namespace, Name: h.Name, Machine: h.Machine, Bootstrapped: h.Bootstrapped,
		Plugin: h.Plugin, Path: h.OSVersion.Failure.Path, Next: h.OSVersion.Next,
	}
}

// interrupted is the end of a watch that someone ended, as shells have it.
func interrupted(err error) error {
	if errors.Is(err, context.Canceled) {
		return cli.Exit("", exitInterrupted)
	}
	return err
}
