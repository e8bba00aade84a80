package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"elemental/core"
	"elemental/modes/manual"
	"elemental/ports"
)

func retryCommand(clusterFlags []cli.Flag, of func(*cli.Context) world) *cli.Command {
	return &cli.Command{
		Name: "retry", ArgsUsage: "[HOST...]", Usage: "ask hosts that failed to try the same version again",
		Description: manual.Page{
			Text: "Renews the request of each host, which forgets the failures before: a version that was given up or fell back is tried again, " +
				"and one that waits for its next attempt is tried at once. What is asked for stays the same.\n\n" +
				"Where trying again can't help, nothing is asked, and what helps instead is said: a request that is not valid is to be corrected, " +
				"and a node is to be told that it may be updated in place. A host that runs what is asked for has nothing to retry; to have it look " +
				"again where a tag leads now, give its annotation " + core.AnnotationRetry + " a new value.",
			Examples: []manual.Example{
				{Does: "Have a host try again, and wait for what becomes of it.", Line: "elemental retry my-elemental-host --wait"},
				{Does: "Have all hosts of one site try again.", Line: "elemental retry -l site=north"},
			},
			Statuses: retryStatuses(),
			See:      []string{"elemental hosts describe"},
		}.String(),
		Flags: append(slices.Clone(clusterFlags),
			&cli.StringFlag{Name: "selector", Aliases: []string{"l"}, Usage: "the hosts with these `LABELS`, such as site=north,rack!=7"},
			&cli.BoolFlag{Name: "wait", Usage: "wait until what is asked for runs and the hosts are ready"},
			&cli.DurationFlag{Name: "timeout", Value: 30 * time.Minute, Usage: "how long to wait"},
		),
		Action:       func(c *cli.Context) error { return retryHosts(c, of(c)) },
		OnUsageError: misused,
	}
}

func retryStatuses() []manual.Status {
	return []manual.Status{
		{Code: 0, Means: "the hosts were asked, or have nothing to retry; with --wait: they are ready"},
		{Code: 1, Means: "the cluster could not be asked"},
		{Code: exitFailed, Means: "retrying can't help a host, or failed again"},
		{Code: exitTimedOut, Means: "the time for waiting was over"},
		{Code: exitInterrupted, Means: "the waiting was interrupted; the hosts go on by themselves"},
	}
}

func retryHosts(c *cli.Context, w world) error {
	names, err := namesOf(core.KindHost, c.Args().Slice())
	labels := c.String("selector")
	switch {
	case err != nil:
		return usage(c, err)
	case len(names) == 0 && labels == "":
		return usage(c, errors.New("elemental retry needs to know which hosts: name them, or select them by --selector"))
	case len(names) > 0 && labels != "":
		return usage(c, errors.New("hosts are named or selected, and not both: leave out the names or --selector"))
	case c.Duration("timeout") <= 0:
		return usage(c, errors.New("--timeout must be more than nothing, such as 30m"))
	}
	operator, err := w.connect()
	if err != nil {
		return err
	}
	hosts, err := operator.List(c.Context, ports.Selection{Kind: core.KindHost, Names: names, Labels: labels})
	if err != nil {
		return refused(c, err)
	}
	if len(hosts) == 0 {
		fmt.Fprintln(w.errs, "There are no hosts with these labels.")
		return nil
	}
	ctx, cancel := context.WithTimeout(c.Context, c.Duration("timeout"))
	defer cancel()
	return retry(ctx, w, operator, hosts, c.Bool("wait"), c.Duration("timeout"))
}

// retry renews the requests of the hosts that it may help.
func retry(ctx context.Context, w world, operator ports.Operator, hosts []ports.Target, wait bool, timeout time.Duration) error {
	var helped []ports.Target
	var refused []string
	for _, h := range hosts {
		if retryRefused(h) {
			refused = append(refused, refusal(h))
			continue
		}
		helped = append(helped, h)
	}
	value := w.now().UTC().Format(time.RFC3339Nano)
	all := rollout{
		world: w, operator: operator, kind: core.KindHost, wait: wait, keepGoing: true, timeout: timeout,
		ask: func(ctx context.Context, h ports.Target) (ports.Target, error) {
			if !core.Advise(caseOf(h)).Retry {
				return h, nil
			}
			return operator.Ask(ctx, h, ports.Change{Retry: value})
		},
		says: func(before, after ports.Target) string {
			if advice := core.Advise(caseOf(before)); !advice.Retry {
				return "has nothing to retry: " + advice.Because
			}
			return "is asked to try again"
		},
	}
	var err error
	if len(helped) > 0 {
		err = all.run(ctx, helped)
	}
	text := strings.Join(refused, "\n")
	switch {
	case len(refused) == 0:
		return err
	case err == nil:
		return cli.Exit(text, exitFailed)
	default:
		fmt.Fprintln(w.errs, text)
		return err
	}
}

// retryRefused says that a host needs something else than to be asked again. One that is ready, or goes on by
// itself, needs nothing.
func retryRefused(h ports.Target) bool {
	advice := core.Advise(caseOf(h))
	return !advice.Retry && advice.Health != core.HealthReady && advice.Health != core.HealthUpdating
}

// refusal says what to do instead.
func refusal(h ports.Target) string {
	advice := core.Advise(caseOf(h))
	text := fmt.Sprintf("host %s/%s was not asked, because trying again can't help: %s", h.Namespace, h.Name, advice.Because)
	for _, s := range advice.Steps {
		text += "\n  " + plain(s.Text)
		if s.Command != "" {
			text += "\n    " + plain(s.Command)
		}
	}
	return text
}
