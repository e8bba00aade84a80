// Package agent is the mode that runs on each host: it watches its own ElementalHost and keeps the host at
// the version that stands there.
package agent

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"

	"github.com/urfave/cli/v2"

	"elemental/modes/agentfile"
	"elemental/modes/manual"
)

// ExitRestart is the exit code of an agent whose host is a plain process and is to be started again; it is
// what systemd-nspawn returns for a container that restarts.
const ExitRestart = 133

// Command is `elemental agent`.
func Command(version string) *cli.Command {
	keep := runCommand(version)
	return &cli.Command{
		// What the units of older hosts call is the agent itself.
		Name: "agent", ArgsUsage: "[COMMAND]", Usage: "keep this host at the OS version that its ElementalHost asks for",
		Description: manual.Page{
			Text: "Runs on each host, as root. Without a command it is `elemental agent run`. The others begin a host's life and end it.",
			Examples: []manual.Example{
				{Does: "Run the agent, as elemental-agent.service does.", Line: "elemental agent --config " + agentfile.Path},
			},
			Statuses: manual.Read(keep.Description).Statuses,
			See:      []string{"elemental os status", "docs/joining.md", "docs/plugins.md"},
		}.String(),
		Flags: keep.Flags,
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return cli.Exit(fmt.Sprintf("elemental agent has no command %q; see elemental agent --help", c.Args().First()), 2)
			}
			return keep.Action(c)
		},
		Subcommands: []*cli.Command{keep, registerCommand(version), installCommand(version), resetCommand(version)},
	}
}

// runCommand is the agent itself.
func runCommand(version string) *cli.Command {
	return &cli.Command{
		Name: "run", Usage: "be the agent of this host, as its service does",
		Description: manual.Page{
			Text: "Runs on each host under systemd, as root. It watches the ElementalHost that its configuration names, hands\n" +
				"spec.osVersionManagement to the OS plugin, restarts the host when the plugin asks for it, and reports phases and\n" +
				"conditions in the status of that object. A host that joins by itself waits until it is let in, and takes up another\n" +
				"registration that stands in its configuration meanwhile; all else is read once. It keeps a journal in its work\n" +
				"dir, and goes on by itself when the cluster is away. It never installs a system.",
			Examples: []manual.Example{{Does: "Run the agent.", Line: "elemental agent run --config " + agentfile.Path}},
			Statuses: []manual.Status{
				{Code: 0, Means: "it was told to end, or the host is a plain process and turns off"},
				{Code: 1, Means: "its configuration can't be read, or another agent works on this host"},
				{Code: ExitRestart, Means: "the host is a plain process, and is to be started again"},
			},
			See: []string{"elemental agent register", "elemental agent install", "elemental os status", "docs/plugins.md"},
		}.String(),
		Flags: agentFlags(),
		Action: func(c *cli.Context) error {
			config, err := configOf(c)
			if err != nil {
				return err
			}
			log := logTo(os.Stderr, config, slog.LevelInfo)
			log.Info("the agent starts", "version", version, "plugin", config.Agent.OSPlugin)
			warnOfProxies(log)
			return run(c.Context, errand{config: config, version: version, log: log})
		},
	}
}

// agentFlags are those that every command of the agent has.
func agentFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "config", Value: agentfile.Path, Usage: "read the configuration from `FILE`"},
		&cli.BoolFlag{Name: "debug", Usage: "log what is only of interest when something is wrong"},
	}
}

// configOf reads the configuration that the flags name, and lets it hold for this process.
func configOf(c *cli.Context) (agentfile.Config, error) {
	config, err := agentfile.Read(c.String("config"))
	if err != nil {
		return agentfile.Config{}, err
	}
	config.Agent.Debug = config.Agent.Debug || c.Bool("debug")
	return config, publish(config.Agent.Proxy)
}

// configForRoot is configOf for a command that changes the host.
func configForRoot(c *cli.Context) (agentfile.Config, error) {
	config, err := configOf(c)
	if lacksRoot(os.Geteuid(), config, err) {
		return agentfile.Config{}, fmt.Errorf("elemental agent %s needs root: call it as that user, such as with sudo", c.Command.Name)
	}
	return config, err
}

// lacksRoot says whether a user can't do what a configuration, or the attempt to read it, asks for. Root alone may read
// it where a host is a machine; one that is a plain process is its user's.
func lacksRoot(user int, config agentfile.Config, err error) bool {
	if user == 0 {
		return false
	}
	return errors.Is(err, fs.ErrPermission) || err == nil && config.Agent.Restart != agentfile.RestartExit
}

func logTo(out io.Writer, config agentfile.Config, level slog.Level) *slog.Logger {
	if config.Agent.Debug {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: level}))
}
