package agent

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"elemental/core"
	"elemental/modes/agentfile"
	"elemental/modes/manual"
	"elemental/ports"
)

// resetCommand is `elemental agent reset`.
func resetCommand(version string) *cli.Command {
	return &cli.Command{
		Name: "reset", Usage: "reset this host by hand, without its cluster",
		Description: manual.Page{
			Text: "Lets the OS plugin reset this host, as its agent does when the cluster asks for it: with the same options, and with the\n" +
				"same files kept, by which it is the same host afterwards. It says what will happen, and asks; without a terminal it\n" +
				"needs --yes. Where the reset needs a restart, the host restarts, and its agent goes on with the reset; else it is\n" +
				"ended here. What the cluster thinks of the host does not change by it, agent.postReset is not followed, and the\n" +
				"host's policy is not asked, since it is about what a cluster may do. It needs root.",
			Examples: []manual.Example{
				{Does: "Reset this host without being asked.", Line: "elemental agent reset --yes"},
			},
			Statuses: []manual.Status{
				{Code: 0, Means: "the host was reset, or restarts to be reset"},
				{Code: 1, Means: "the host was not reset, and the error says how far it is; or the answer was not yes"},
				{Code: ExitRestart, Means: "the host is a plain process, and is to be started again"},
			},
			See: []string{"elemental agent register", "elemental agent run"},
		}.String(),
		Flags: append(agentFlags(), &cli.BoolFlag{Name: "yes", Usage: "reset the host without asking"}),
		Action: func(c *cli.Context) error {
			config, err := configForRoot(c)
			if err != nil {
				return err
			}
			return resetByHand(c.Context, config, version, c.Bool("yes"), os.Stdin, c.App.Writer)
		},
	}
}

func resetByHand(ctx context.Context, config agentfile.Config, version string, sure bool, in io.Reader, out io.Writer) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	log := logTo(os.Stderr, config, slog.LevelWarn)
	machine := hostOf(config, version, end)
	agent := wire(config, machine, log)
	agent.Keep, agent.Tell = config.Belongings(), teller(out)
	agent.Host = config.Cluster.Host
	if config.Joins() {
		identity, err := memberOf(config, machine, log).registrar.Identity(ctx)
		if err != nil && !errors.Is(err, ports.ErrNotFound) {
			return err
		}
		agent.Host, agent.Orders = identity.Host, identity.Orders
	}
	err := agent.resetByHand(ctx, func() bool { return sure || agreed(in, out) })
	if errors.Is(context.Cause(ctx), errRestart) {
		return cli.Exit("", ExitRestart)
	}
	return err
}

// agreed asks whether the host is to be reset. No answer is no.
func agreed(in io.Reader, out io.Writer) bool {
	fmt.Fprint(out, "Reset this host? Write yes: ")
	answer, err := bufio.NewReader(in).ReadString('\n')
	fmt.Fprintln(out)
	return (err == nil || errors.Is(err, io.EOF)) && strings.TrimSpace(answer) == "yes"
}

// errNotAgreed is the error of a reset that nobody wants.
var errNotAgreed = errors.New("resetting this host: nothing was done, since the answer was not yes; --yes resets it without asking")

// resetByHand resets the host, or lets it restart to be reset.
func (a *Agent) resetByHand(ctx context.Context, agreed func() bool) error {
	description, err := a.Plugin.Describe(ctx)
	if err != nil {
		return fmt.Errorf("resetting this host: asking the plugin %s what it can: %w", a.PluginName, err)
	}
	if !slices.Contains(description.Verbs, core.VerbTriggerReset) {
		return fmt.Errorf("resetting this host: its plugin %s can't reset a host; nothing was done", a.PluginName)
	}
	facts, err := a.Machine.Facts(ctx)
	if err != nil {
		return fmt.Errorf("reading the host's facts: %w", err)
	}
	request := ports.Request{Host: a.Host, Boot: facts.BootID}
	seen, err := a.Plugin.Observe(ctx, request)
	if err != nil {
		return fmt.Errorf("resetting this host: asking the plugin %s how it stands: %w", a.PluginName, err)
	}
	a.announce(seen)
	if !agreed() {
		return errNotAgreed
	}
	if seen.Reset != core.ResetUnderWay {
		if seen, err = a.resetStep(ctx, core.VerbTriggerReset, request); err != nil {
			return err
		}
	}
	if seen.Reset == core.ResetUnderWay && seen.NeedsRestart {
		a.tell("the host restarts, and its agent goes on with the reset")
		return a.Machine.Restart(ctx, "Elemental: the host restarts to be reset, by hand")
	}
	if seen.Reset == core.ResetUnderWay {
		if seen, err = a.resetStep(ctx, core.VerbReset, request); err != nil {
			return err
		}
	}
	if seen.Reset != core.ResetDone {
		return fmt.Errorf("resetting this host: the plugin %s reports no error, and does not see the host reset", a.PluginName)
	}
	a.tell("the host was reset")
	return nil
}

// resetStep carries out one verb of a reset, and looks what came of it.
func (a *Agent) resetStep(ctx context.Context, verb core.Verb, request ports.Request) (ports.Observation, error) {
	asked := request
	if err := a.instruct(ctx, &asked, verb); err != nil {
		return ports.Observation{}, err
	}
	if err := a.Plugin.Do(ctx, verb, asked, a.tellProgress); err != nil {
		return ports.Observation{}, fmt.Errorf("resetting this host: the plugin %s failed to %s: %w", a.PluginName, verb, err)
	}
	seen, err := a.Plugin.Observe(ctx, request)
	if err != nil {
		return seen, fmt.Errorf("resetting this host: after %s the plugin %s does not say how it stands: %w", verb, a.PluginName, err)
	}
	return seen, nil
}

// announce says what a reset will do.
func (a *Agent) announce(seen ports.Observation) {
	who := "host " + a.Host
	if a.Host == "" {
		who = "this host, which has joined no cluster"
	}
	a.tell(fmt.Sprintf("The plugin %s resets %s. What is on it is lost.", a.PluginName, who))
	if seen.Reset == core.ResetUnderWay {
		a.tell("A reset is under way already; it is ended.")
	}
	if a.Orders.Reset != "" {
		a.tell("Its options: " + a.Orders.Reset)
	}
	a.tell("What makes it this host stays, as far as it is there:")
	for _, path := range a.Keep {
		a.tell("  " + path)
	}
}
