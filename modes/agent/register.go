package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"elemental/modes/agentfile"
	"elemental/modes/manual"
	"elemental/ports"
)

// exitLate is the exit code of a wait that took too long, as timeout(1) has it.
const exitLate = 124

// registerCommand is `elemental agent register`.
func registerCommand(version string) *cli.Command {
	return &cli.Command{
		Name: "register", Usage: "let this host join its cluster, and wait until it is let in",
		Description: manual.Page{
			Text: "Makes the host's key, asks to join through the registration in the agent's configuration, waits until the host is let\n" +
				"in, and keeps its identity in the agent's work dir. Meanwhile it tells what it waits for. A host that has joined\n" +
				"already is asked for nothing: the command says who it is. Killed at any moment and called again, it goes on, as the\n" +
				"same host. With --install it goes on as `elemental agent install` does, and ends as that.",
			Examples: []manual.Example{
				{Does: "Join, and give up after ten minutes.", Line: "elemental agent register --timeout 10m"},
			},
			Statuses: []manual.Status{
				{Code: 0, Means: "the host has joined its cluster; with --install: as of `elemental agent install`"},
				{Code: 1, Means: "its configuration can't be read, or its work dir can't be written, or it was told to end before"},
				{Code: exitLate, Means: "it was not let in within --timeout; called again, it goes on waiting"},
			},
			See: []string{"elemental agent install", "elemental requests", "docs/joining.md"},
		}.String(),
		Flags: append(agentFlags(),
			&cli.BoolFlag{Name: "install", Usage: "install the system afterwards"},
			&cli.DurationFlag{Name: "timeout", Usage: "wait for a `DURATION` such as 10m to be let in; by default as long as it takes"},
		),
		Action: func(c *cli.Context) error {
			config, err := configForRoot(c)
			if err != nil {
				return err
			}
			log := logTo(os.Stderr, config, slog.LevelWarn)
			tell := teller(c.App.Writer)
			if err := register(c.Context, config, version, c.Duration("timeout"), tell, log); err != nil {
				return err
			}
			if !c.Bool("install") {
				return nil
			}
			return install(c.Context, errand{config: config, version: version, log: log, tell: tell})
		},
	}
}

// teller writes lines for people, each once in a row.
func teller(out io.Writer) func(string) {
	said := ""
	return func(line string) {
		if line != said {
			said = line
			fmt.Fprintln(out, line)
		}
	}
}

// register lets the host join, if it has not.
func register(ctx context.Context, config agentfile.Config, version string, patience time.Duration, tell func(string), log *slog.Logger) error {
	if !config.Joins() {
		tell(fmt.Sprintf("this host is %s/%s: its configuration gives it that identity by hand", config.Cluster.Namespace, config.Cluster.Host))
		return nil
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	m := memberOf(config, hostOf(config, version, end), log)
	m.told = tell
	return m.register(ctx, patience)
}

// register joins within a time; 0: whenever it is let in.
func (m *member) register(ctx context.Context, patience time.Duration) error {
	identity, err := m.registrar.Identity(ctx)
	if err == nil {
		m.told(fmt.Sprintf("this host has joined its cluster already, as %s/%s", identity.Namespace, identity.Host))
		return nil
	}
	if !errors.Is(err, ports.ErrNotFound) {
		return err
	}
	waiting := ctx
	if patience > 0 {
		limited, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		waiting = limited
	}
	m.told("this host asks to join its cluster")
	identity, err = m.join(waiting)
	switch {
	case err == nil:
		m.told(fmt.Sprintf("this host has joined its cluster, as %s/%s", identity.Namespace, identity.Host))
		return nil
	case ctx.Err() == nil && waiting.Err() != nil:
		return cli.Exit(fmt.Sprintf("elemental agent register: the host was not let in within %s; called again, it goes on waiting", patience), exitLate)
	default:
		return err
	}
}
