// Package agent is the mode that runs on each host: it watches its own ElementalHost and keeps the host at
// the version that stands there.
package agent

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"elemental/core"
	"elemental/modes/manual"
	"elemental/ports"
)

// ExitRestart is the exit code of an agent whose host is a plain process and is to be started again; it is
// what systemd-nspawn returns for a container that restarts.
const ExitRestart = 133

var (
	errRestart  = errors.New("the host restarts")
	errPowerOff = errors.New("the host turns off")
)

// connectedFile tells the health check of this boot that the cluster was reached.
const connectedFile = "/run/elemental/connected"

// Command is `elemental agent`.
func Command(version string) *cli.Command {
	return &cli.Command{
		Name:  "agent",
		Usage: "keep this host at the OS version that its ElementalHost asks for",
		Description: manual.Page{
			Text: "Runs on each host under systemd, as root. It watches the ElementalHost that its configuration names, hands\n" +
				"spec.osVersionManagement to the OS plugin, restarts the host when the plugin asks for it, and reports phases and\n" +
				"conditions in the status of that object. A host that joins by itself waits until it is let in, and takes up another\n" +
				"registration that stands in its configuration meanwhile; all else is read once. It keeps a journal in its work\n" +
				"dir, and goes on by itself when the cluster is away.",
			Examples: []manual.Example{{Does: "Run the agent, as elemental-agent.service does.", Line: "elemental agent --config /etc/elemental/agent.yaml"}},
			Statuses: []manual.Status{
				{Code: 0, Means: "it was told to end"},
				{Code: 1, Means: "its configuration can't be read, or its work dir can't be written"},
				{Code: ExitRestart, Means: "the host is a plain process, and is to be started again"},
			},
			See: []string{"elemental os status", "docs/plugins.md"},
		}.String(),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "config", Value: "/etc/elemental/agent.yaml", Usage: "read the configuration from `FILE`"},
			&cli.BoolFlag{Name: "debug", Usage: "log what is only of interest when something is wrong"},
		},
		Action: func(c *cli.Context) error {
			config, err := ReadConfig(c.String("config"))
			if err != nil {
				return err
			}
			config.Agent.Debug = config.Agent.Debug || c.Bool("debug")
			if err := config.Agent.Proxy.publish(); err != nil {
				return err
			}
			return run(c.Context, config, version)
		},
	}
}

func run(ctx context.Context, config Config, version string) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	level := slog.LevelInfo
	if config.Agent.Debug {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	log.Info("the agent starts", "version", version, "plugin", config.Agent.OSPlugin)
	warnOfProxies(log)
	machine := hostOf(config, version, end)
	var member *member // nil: its identity was given by hand
	if config.joins() {
		member = memberOf(config, machine, log)
	}
	for anew, short := false, 0; ; {
		began := time.Now()
		err := live(ctx, config, machine, member, anew, log)
		anew = errors.Is(err, errForgotten)
		switch {
		case errors.Is(context.Cause(ctx), errRestart):
			return cli.Exit("", ExitRestart)
		case errors.Is(context.Cause(ctx), errPowerOff):
			return nil
		case !errors.Is(err, errConnectAnew) || ctx.Err() != nil:
			return err
		}
		if short++; time.Since(began) > longLife {
			short = 0
		}
		pause(ctx, short)
	}
}

// longLife is how long the agent must have followed its host for the next life to begin at once.
const longLife = time.Minute

// pause keeps an agent whose lives end at once, one after the other, from wearing out its cluster. One such life is
// nothing special. The pause is shorter than the watchdog is patient.
func pause(ctx context.Context, short int) {
	if short < 2 {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(min(time.Minute, core.Backoff(short-1, jitter()))):
	}
}

// live is the agent from connecting to its cluster until it must connect anew, or ends.
func live(ctx context.Context, config Config, machine ports.Machine, member *member, anew bool, log *slog.Logger) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	agent := wire(config, machine, log)
	if err := settle(ctx, agent, config, member, anew); err != nil {
		if ctx.Err() != nil {
			return nil // It was told to end while it waited to be let in.
		}
		return err
	}
	agent.Connected = func() {
		if err := touch(connectedFile); err != nil {
			log.Debug("the health check will not know that the cluster was reached", "error", err)
		}
	}
	if member != nil {
		agent.Rejoin = func() { end(errForgotten) }
		ended := make(chan struct{})
		defer func() { <-ended }()
		defer end(nil)
		go func() {
			defer close(ended)
			member.keep(ctx, end)
		}()
	}
	log.Info("the agent follows its host", "host", agent.Host)
	err := agent.Run(ctx)
	if cause := context.Cause(ctx); errors.Is(cause, errConnectAnew) {
		return cause
	}
	return err
}

// settle gives the agent its cluster. A host that is no one yet, or is to be let in anew, asks to join first, and waits
// until it is let in.
func settle(ctx context.Context, agent *Agent, config Config, member *member, anew bool) (err error) {
	if member == nil {
		agent.Host = config.Cluster.Host
		agent.Cluster, err = clusterOf(config)
		return err
	}
	identity, err := member.identity(ctx, anew)
	if err != nil {
		return err
	}
	agent.Host, agent.Request, agent.Orders = identity.Host, identity.Request, identity.Orders
	agent.Names, agent.Keep, agent.Files = !member.naming.UseExisting, config.belongings(), member.registrar.Files
	agent.Cluster, err = member.connect(identity)
	return err
}

func touch(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, nil, 0o644)
}
