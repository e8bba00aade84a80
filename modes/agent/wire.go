package agent

import (
	"context"
	"crypto/rand"
	"log/slog"

	"elemental/adapters/journal"
	"elemental/adapters/kubernetes/hostclient"
	"elemental/adapters/plugin"
	"elemental/adapters/systemd"
	"elemental/core"
	served "elemental/modes/plugin"
	"elemental/ports"
)

func wire(config Config, version string, log *slog.Logger, end context.CancelCauseFunc) (*Agent, error) {
	cluster, err := hostclient.New(config.Cluster.Kubeconfig, config.Cluster.Namespace, config.Cluster.Host)
	if err != nil {
		return nil, err
	}
	var machine ports.Machine = systemd.NewMachine(version)
	if config.Agent.Restart == restartExit {
		machine = processMachine{Machine: machine, boot: rand.Text(), end: end}
	}
	limits := core.DefaultLimits()
	limits.Attempts = config.Agent.MaxAttempts
	return &Agent{
		Host: config.Cluster.Host, PluginName: config.Agent.OSPlugin, Limits: limits,
		Cluster: cluster, Machine: machine, Log: log,
		Journal:    journal.New(config.Agent.WorkDir),
		Supervisor: systemd.Supervisor{},
		Plugin: plugin.NewRunner(plugin.Config{
			Name: config.Agent.OSPlugin, WorkDir: config.Agent.WorkDir, Builtins: served.Names(), Log: log.With("plugin", config.Agent.OSPlugin),
		}),
	}, nil
}
