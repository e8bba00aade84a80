package cli

import (
	"cmp"
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

// upgrade is what the operator asks for, and of whom.
type upgrade struct {
	world
	operator ports.Operator
	whom     ports.Selection
	request  request
	verdicts verdicts

	wait        bool
	parallel    int // 0: all at once
	keepGoing   bool
	timeout     time.Duration
	unvalidated bool
	dry         bool
}

func upgradeCommand(clusterFlags []cli.Flag, of func(*cli.Context) world) *cli.Command {
	return &cli.Command{
		Name: "upgrade", Usage: "ask hosts or machines for another OS version",
		Subcommands: []*cli.Command{
			upgradeKind(core.KindHost, clusterFlags, of, "ask hosts for an image, or for a whole OS version, and wait for it",
				"A host that serves a machine is asked through its machine: see `elemental upgrade machine`.",
				[]manual.Example{
					{Does: "Ask for an image, and wait until the host runs it.", Line: "elemental upgrade host my-elemental-host --image oci://my-registry/my-image:v2 --wait"},
					{Does: "See what would come of it. Nothing changes.", Line: "elemental upgrade host my-elemental-host --image oci://my-registry/my-image:v2 --dry-run"},
					{Does: "Upgrade all hosts of a site, two at a time, and stop at the first that fails.", Line: "elemental upgrade host -l site=north --image oci://my-registry/my-image:v2 --parallel 2 --timeout 2h"},
					{Does: "Ask for a whole osVersionManagement.", Line: "elemental upgrade host my-elemental-host -f os-version.yaml"},
				}),
			upgradeKind(core.KindMachine, clusterFlags, of, "ask ElementalMachines for an image, or for a whole OS version, and wait for it",
				"A machine forwards what is asked of it to the host that serves it. Where that host is a node of a cluster already, it is to be drained and armed by its label; the command says which.",
				[]manual.Example{
					{Does: "Ask for an image, and wait until the machine's host runs it.", Line: "elemental upgrade machine my-machine --image oci://my-registry/my-image:v2 --wait"},
					{Does: "Ask all machines of the namespace, one after the other.", Line: "elemental upgrade machine --all --image oci://my-registry/my-image:v2 --parallel 1"},
				}),
		},
	}
}

func upgradeKind(kind core.Kind, clusterFlags []cli.Flag, of func(*cli.Context) world, usage, about string, examples []manual.Example) *cli.Command {
	return &cli.Command{
		Name: string(kind), ArgsUsage: "[NAME...]", Usage: usage,
		Description: manual.Page{
			Text: "Asks for spec.osVersionManagement.osVersion.imageUri with --image and leaves all else that is asked as it is; with --filename it replaces " +
				"all of spec.osVersionManagement. Names, --selector or --all say who is asked, in one namespace. Asking for what is asked for already changes nothing.\n\n" +
				"Everything is settled before anything is asked: if one host serves a machine, or what it would be asked for does not fit the schema that its plugin has " +
				"published, nothing is asked of any. From then on the set is fixed.\n\n" + about,
			Examples: examples, Statuses: waitStatuses(), See: []string{"elemental hosts", "docs/plugin-protocol.md"},
		}.String(),
		Flags: append(slices.Clone(clusterFlags),
			&cli.StringFlag{Name: "image", Usage: "ask for the `IMAGE`, such as oci://registry/os:v1.2.3, and leave all else"},
			&cli.StringFlag{Name: "filename", Aliases: []string{"f"}, Usage: "ask for the whole osVersionManagement in `FILE`, JSON or YAML; - is the standard input"},
			&cli.StringFlag{Name: "selector", Aliases: []string{"l"}, Usage: fmt.Sprintf("ask the %ss with these `LABELS`, such as site=north,tier!=test", kind)},
			&cli.BoolFlag{Name: "all", Usage: fmt.Sprintf("ask all %ss of the namespace", kind)},
			&cli.BoolFlag{Name: "all-namespaces", Aliases: []string{"A"}, Hidden: true, Usage: "refused, with the reason"},
			&cli.BoolFlag{Name: "wait", Usage: "wait until what was asked for runs and all are ready"},
			&cli.IntFlag{Name: "parallel", Usage: "ask `N` at most at a time, and the next when one is done; with --wait (default: all at once)"},
			&cli.BoolFlag{Name: "keep-going", Usage: "ask the next ones even when one has failed"},
			&cli.DurationFlag{Name: "timeout", Value: 30 * time.Minute, Usage: "how long the whole command may take"},
			&cli.BoolFlag{Name: "validate", Value: true, Usage: "refuse to ask for what does not fit the schema that a host's plugin has published"},
			&cli.GenericFlag{Name: "dry-run", Value: &dryRun{}, Usage: "show what the cluster and the schemas would say, and change nothing: `server|none`"},
		),
		Action: func(c *cli.Context) error {
			u, err := upgradeOf(c, of(c), kind)
			if err != nil {
				return err
			}
			if u.operator, err = u.connect(); err != nil {
				return err
			}
			return refused(c, u.run(c.Context))
		},
	}
}

// upgradeOf reads what was typed.
func upgradeOf(c *cli.Context, w world, kind core.Kind) (*upgrade, error) {
	names, err := namesOf(kind, c.Args().Slice())
	if err != nil {
		return nil, usage(c, err)
	}
	u := &upgrade{
		world: w, verdicts: verdicts{check: w.check}, whom: ports.Selection{Kind: kind, Names: names, Labels: c.String("selector")},
		wait: c.Bool("wait") || c.IsSet("parallel"), parallel: c.Int("parallel"), keepGoing: c.Bool("keep-going"),
		timeout: c.Duration("timeout"), unvalidated: !c.Bool("validate"), dry: fmt.Sprint(c.Generic("dry-run")) == "server",
	}
	ways := 0
	for _, given := range []bool{len(names) > 0, c.IsSet("selector"), c.Bool("all")} {
		if given {
			ways++
		}
	}
	switch {
	case c.Bool("all-namespaces"):
		err = errors.New("a namespace at a time is asked, since another one's hosts are another owner's as a rule: name it with --namespace, and say --all for all in it")
	case ways == 0:
		err = fmt.Errorf("say which %ss to ask: by their names, by --selector, or by --all", kind)
	case ways > 1:
		err = fmt.Errorf("say in one way which %ss to ask: by their names, by --selector, or by --all", kind)
	case c.IsSet("selector") && strings.TrimSpace(u.whom.Labels) == "":
		err = errors.New("--selector is empty, which would be all: say --all if that is meant")
	case u.timeout <= 0:
		err = errors.New("--timeout must be more than nothing, such as 30m")
	case c.IsSet("parallel") && u.parallel < 1:
		err = fmt.Errorf("--parallel %d asks nobody: it must be 1 or more", u.parallel)
	default:
		u.request, err = requestOf(c, w)
	}
	if err != nil {
		return nil, usage(c, err)
	}
	return u, nil
}

func requestOf(c *cli.Context, w world) (q request, err error) {
	switch image, file := c.IsSet("image"), c.String("filename"); {
	case image && file != "":
		return q, errors.New("--image and --filename both say what to ask for: give one")
	case file != "":
		q.file = file
		q.document, err = documentOf(file, w.in)
		return q, err
	case !image:
		return q, errors.New("say what to ask for: --image says which image to ask for, --filename which whole osVersionManagement")
	default:
		q.image, err = imageOf(c.String("image"))
		return q, err
	}
}

// run asks, once it is certain that all may be asked.
func (u *upgrade) run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, u.timeout)
	defer cancel()
	subjects, err := u.subjects(ctx)
	if err != nil {
		return u.cutOff(cmp.Or(ctx.Err(), err), "looking up whom to ask")
	}
	if err := u.serving(subjects); err != nil {
		return err
	}
	if len(subjects) > 1 {
		fmt.Fprintf(u.out, "%d %ss\n", len(subjects), u.whom.Kind)
	}
	if u.dry {
		return u.rehearse(ctx, subjects)
	}
	if err := u.refuse(subjects); err != nil {
		return err
	}
	u.warn(subjects)
	targets := make([]ports.Target, 0, len(subjects))
	for _, s := range subjects {
		targets = append(targets, s.Target)
	}
	return rollout{
		world: u.world, operator: u.operator, kind: u.whom.Kind, wait: u.wait, parallel: u.parallel, keepGoing: u.keepGoing, timeout: u.timeout,
		ask: func(ctx context.Context, t ports.Target) (ports.Target, error) {
			return u.operator.Ask(ctx, t, u.request.change())
		},
		says: func(before, after ports.Target) string {
			if after.Generation == before.Generation {
				return "is already asked for " + u.request.words()
			}
			return "is asked for " + u.request.words()
		},
	}.run(ctx, targets)
}

// cutOff gives an error that a context has caused the exit status of that.
func (u *upgrade) cutOff(err error, doing string) error {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return cli.Exit(fmt.Sprintf("%s was not done after %s; nothing was asked", doing, u.timeout), exitTimedOut)
	case errors.Is(err, context.Canceled):
		return cli.Exit(doing+" was interrupted; nothing was asked", exitInterrupted)
	default:
		return err
	}
}
