package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/urfave/cli/v2"

	"elemental/core"
	"elemental/modes/manual"
	"elemental/ports"
)

// installCommand is `elemental agent install`.
func installCommand(version string) *cli.Command {
	return &cli.Command{
		Name: "install", Usage: "let the OS plugin install this host's system",
		Description: manual.Page{
			Text: "Is the agent of a host that runs from an install medium: it lets the OS plugin install the system, as\n" +
				"spec.config.elemental.install of the host's ElementalRegistration says, reports how far it is, and ends the boot as\n" +
				"agent.postInstall says. The installed system is the same host: it gets the host's key, its identity, the agent's\n" +
				"configuration and the host's policy. A host that has not joined yet joins first. What fails is tried again.\n\n" +
				"It needs root. While the agent's service runs it refuses to. A system that is installed already is not installed\n" +
				"again: the command says so, and ends.",
			Examples: []manual.Example{
				{Does: "Install the system of a host that has joined its cluster.", Line: "elemental agent install"},
			},
			Statuses: []manual.Status{
				{Code: 0, Means: "the system is installed, and the cluster knows; the host restarts or turns off, if that must follow"},
				{Code: 1, Means: "its configuration can't be read, or another agent works on this host, or it was told to end before"},
				{Code: ExitRestart, Means: "the host is a plain process, and is to be started again"},
			},
			See: []string{"elemental agent register", "docs/joining.md"},
		}.String(),
		Flags: agentFlags(),
		Action: func(c *cli.Context) error {
			config, err := configForRoot(c)
			if err != nil {
				return err
			}
			return install(c.Context, errand{
				config: config, version: version, log: logTo(os.Stderr, config, slog.LevelWarn), tell: teller(c.App.Writer),
			})
		},
	}
}

func install(ctx context.Context, e errand) error {
	e.installs = true
	switch err := run(ctx, e); {
	case errors.Is(err, errInstalled):
		return nil
	case err == nil:
		return errors.New("installing the system: it was told to end before it was done; called again, it goes on")
	default:
		return err
	}
}

// isInstalled says that there is nothing left to install, as the plugin itself says.
func (a *Agent) isInstalled(wish ports.Wish, seen sight) bool {
	return a.Installs && wish.Registered && seen.Installed && seen.Plugin.Silent.Class == ""
}

// leaveInstalled tells the cluster that the system is installed, and ends the errand. What else is to be done with the
// host is for the agent of the installed system.
func (a *Agent) leaveInstalled(ctx context.Context, wish ports.Wish, seen sight, d core.Decision) error {
	if err := a.Cluster.Report(ctx, a.report(wish, seen, d)); err != nil {
		return err
	}
	line := "the system is installed"
	if seen.Plugin.Detail != "" {
		line += ": " + seen.Plugin.Detail
	}
	a.tell(line)
	a.Installed()
	return nil
}

// tell tells whoever is at the terminal.
func (a *Agent) tell(line string) {
	if a.Tell != nil {
		a.Tell(line)
	}
}

// tellProgress tells of a step when it begins, and of each tenth of a long one.
func (a *Agent) tellProgress(p ports.Progress) {
	if a.Tell == nil || p.Step == "" {
		return
	}
	line := p.Step
	if p.Percent > 0 {
		line = fmt.Sprintf("%s %d%%", p.Step, p.Percent/10*10)
	}
	a.Tell(line)
}
