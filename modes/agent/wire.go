package agent

import (
	"context"
	"crypto/rand"
	"log/slog"
	"path/filepath"

	"elemental/adapters/journal"
	"elemental/adapters/kubernetes/enrollment"
	"elemental/adapters/kubernetes/hostclient"
	"elemental/adapters/plugin"
	"elemental/adapters/systemd"
	"elemental/core"
	served "elemental/modes/plugin"
	"elemental/ports"
)

// hostOf is the host that the agent runs on, for as long as the process lives.
func hostOf(config Config, version string, end context.CancelCauseFunc) ports.Machine {
	machine := systemd.NewMachine(version)
	if config.Agent.Restart == restartExit {
		return processMachine{Machine: machine, boot: rand.Text(), end: end}
	}
	return machine
}

// wire puts the agent together; member is nil where its identity was given by hand. A host that is no one yet, or is to
// be let in anew, asks to join first, and waits until it is let in.
func wire(ctx context.Context, config Config, machine ports.Machine, anew bool, log *slog.Logger) (*Agent, *member, error) {
	limits := core.DefaultLimits()
	limits.Attempts = config.Agent.MaxAttempts
	agent := &Agent{
		PluginName: config.Agent.OSPlugin, Limits: limits, Machine: machine, Log: log,
		Journal:    journal.New(config.Agent.WorkDir),
		Supervisor: systemd.Supervisor{},
		Plugin: plugin.NewRunner(plugin.Config{
			Name: config.Agent.OSPlugin, WorkDir: config.Agent.WorkDir, Builtins: served.Names(), Log: log.With("plugin", config.Agent.OSPlugin),
		}),
	}
	if !config.joins() {
		cluster, err := hostclient.New(config.Cluster.Kubeconfig, config.Cluster.Namespace, config.Cluster.Host)
		agent.Cluster, agent.Host = cluster, config.Cluster.Host
		return agent, nil, err
	}
	enrolled := enrollment.New(filepath.Join(config.Agent.WorkDir, "identity"), func() (enrollment.Bundle, error) {
		r := config.Registration
		return enrollment.Bundle{Server: r.Server, CA: []byte(r.CertificateAuthority), Namespace: r.Namespace, Registration: r.Name, Token: r.Token}, nil
	})
	m := &member{
		registrar: enrolled, machine: machine, supervisor: agent.Supervisor, noSerial: config.Agent.NoSMBIOS, log: log,
		naming: core.NamingRule{UseExisting: config.Agent.Hostname.UseExisting, Prefix: config.Agent.Hostname.Prefix},
	}
	identity, err := m.identity(ctx, anew)
	if err != nil {
		return nil, nil, err
	}
	cluster, err := hostclient.NewFor(enrolled.RESTConfig(), identity.Namespace, identity.Host)
	agent.Cluster, agent.Host, agent.Request = cluster, identity.Host, identity.Request
	return agent, m, err
}
