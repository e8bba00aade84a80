package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"

	"elemental/core"
	"elemental/modes/manual"
	"elemental/ports"
)

// mostOfReason is how long a reason may be: it is kept in the cluster.
const mostOfReason = 1024

func approveCommand(clusterFlags []cli.Flag, of func(*cli.Context) world) *cli.Command {
	return &cli.Command{
		Name: "approve", ArgsUsage: "REQUEST...", Usage: "let hosts in that ask to join",
		Description: manual.Page{
			Text: "Approves requests to join, which `elemental requests` shows; as much of a name will do as tells it from all others. " +
				"The ruling bears your name and your reason. The controller then makes the host; a request that was denied before is let in, too, " +
				"and so is a host whose identity was revoked.\n\n" +
				"With --replaces the request takes the place of a host that there is: its name, its labels and what is asked of it. That is for a host " +
				"that has lost its key, such as one with a new disk. Whoever was that host until now is no one from then on: its tokens die.",
			Examples: []manual.Example{
				{Does: "Let a host in.", Line: "elemental approve 3b5c1f02 --reason 'the new one in rack 7'"},
				{Does: "Give a host with a new disk the place that it had before.", Line: "elemental approve 9f86d081 --replaces my-elemental-host"},
			},
			Statuses: ruleStatuses(),
			See:      []string{"elemental requests", "elemental deny", "docs/joining.md"},
		}.String(),
		Flags: append(slices.Clone(clusterFlags),
			&cli.StringFlag{Name: "reason", Usage: "why, as `TEXT` that is kept with the request"},
			&cli.StringFlag{Name: "replaces", Usage: "the `HOST` whose place it takes"},
		),
		Action:       func(c *cli.Context) error { return rule(c, of(c), core.RulingApproved) },
		OnUsageError: misused,
	}
}

func denyCommand(clusterFlags []cli.Flag, of func(*cli.Context) world) *cli.Command {
	return &cli.Command{
		Name: "deny", ArgsUsage: "REQUEST...", Usage: "refuse hosts that ask to join",
		Description: manual.Page{
			Text: "Denies requests to join, which `elemental requests` shows; as much of a name will do as tells it from all others. " +
				"The ruling bears your name and your reason, and stands for a week or until you approve the request. " +
				"A host that was let in already is shut out by `elemental hosts revoke`.",
			Examples: []manual.Example{
				{Does: "Refuse a host.", Line: "elemental deny e3b0c442 --reason 'nobody knows it'"},
			},
			Statuses: ruleStatuses(),
			See:      []string{"elemental requests", "elemental approve", "elemental hosts revoke"},
		}.String(),
		Flags: append(slices.Clone(clusterFlags),
			&cli.StringFlag{Name: "reason", Usage: "why, as `TEXT` that is kept with the request"},
		),
		Action:       func(c *cli.Context) error { return rule(c, of(c), core.RulingDenied) },
		OnUsageError: misused,
	}
}

func ruleStatuses() []manual.Status {
	return []manual.Status{{Code: 1, Means: "the cluster could not be asked, or refused, or a request can't be ruled on; the error says which, and the others were"}}
}

// rule rules on all that are named. Nothing is ruled on if one of them is not there.
func rule(c *cli.Context, w world, ruling core.Ruling) error {
	verdict := ports.Verdict{Ruling: ruling, Why: plain(c.String("reason")), Replaces: c.String("replaces")}
	switch {
	case len(verdict.Why) > mostOfReason:
		return usage(c, fmt.Errorf("--reason has %d bytes: it may have %d", len(verdict.Why), mostOfReason))
	case c.IsSet("replaces") && verdict.Replaces == "":
		return usage(c, errors.New("--replaces says whose place the request takes, and is empty"))
	case verdict.Replaces != "" && c.Args().Len() > 1:
		return usage(c, fmt.Errorf("one request alone can take the place of host %s, and %d are named", verdict.Replaces, c.Args().Len()))
	}
	gate, err := w.gate()
	if err != nil {
		return err
	}
	all, err := gate.Requests(c.Context, ports.RequestSelection{})
	if err != nil {
		return err
	}
	requests, err := named(all, c.Args().Slice())
	if err != nil {
		return err
	}
	if verdict.Replaces != "" {
		if err := replaceable(c.Context, w, verdict.Replaces); err != nil {
			return err
		}
	}
	short := shortNames(all)
	var failed []error
	for _, r := range requests {
		says, err := ruleOn(c.Context, gate, r, verdict)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		fmt.Fprintf(w.out, "request %s/%s%s %s\n", r.Namespace, short[r.Name], wordsAbout(r), says)
	}
	return errors.Join(failed...)
}

// replaceable says if there is no host whose place could be taken. Whoever may rule on requests need not be allowed to
// see hosts; then the controller says it.
func replaceable(ctx context.Context, w world, host string) error {
	operator, err := w.connect()
	if err != nil {
		return err
	}
	if _, err := operator.List(ctx, ports.Selection{Kind: core.KindHost, Names: []string{host}}); errors.Is(err, ports.ErrNotFound) {
		return fmt.Errorf("nothing was approved: --replaces names a host that is not there: %w", err)
	}
	return nil
}

// ruleOn rules on one request, where a ruling still means something.
func ruleOn(ctx context.Context, gate ports.Gatekeeper, r ports.JoinRequest, verdict ports.Verdict) (string, error) {
	admitted := r.Admitted.Status == core.True
	switch {
	case admitted && verdict.Ruling == core.RulingDenied:
		return "", fmt.Errorf("request %s/%s was let in as host %s already; shut that out: elemental hosts revoke -n %s %s", r.Namespace, r.Name, r.Host, r.Namespace, r.Host)
	case admitted && verdict.Replaces != "" && verdict.Replaces != r.Host:
		return "", fmt.Errorf("request %s/%s was let in as host %s already, and can't take the place of %s; delete ElementalHost %s, and it asks anew", r.Namespace, r.Name, r.Host, verdict.Replaces, r.Host)
	case admitted:
		return "was let in already: it is host " + r.Host, nil
	}
	if err := gate.Rule(ctx, r, verdict); err != nil {
		return "", err
	}
	switch {
	case verdict.Ruling == core.RulingDenied:
		return "is denied", nil
	case verdict.Replaces != "":
		return "is approved, and takes the place of host " + verdict.Replaces, nil
	default:
		return "is approved", nil
	}
}
