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
	"elemental/modes/agentfile"
	served "elemental/modes/plugin"
	"elemental/modes/policy"
	"elemental/ports"
)

// hostOf is the host that the agent runs on, for as long as the process lives.
func hostOf(config agentfile.Config, version string, end context.CancelCauseFunc) ports.Machine {
	machine := systemd.NewMachine(version)
	if config.Agent.Restart == agentfile.RestartExit {
		return processMachine{Machine: machine, boot: rand.Text(), end: end}
	}
	return machine
}

// wire puts the agent together, but for its cluster.
func wire(config agentfile.Config, machine ports.Machine, log *slog.Logger) *Agent {
	limits := core.DefaultLimits()
	limits.Attempts, limits.BootstrapSucceeds = config.Agent.MaxAttempts, config.Agent.BootstrapTimeout
	return &Agent{
		PostInstall: config.Agent.PostInstall.Ending(), PostReset: config.Agent.PostReset.Ending(),
		PluginName: config.Agent.OSPlugin, Limits: limits, Machine: machine, Log: log,
		Journal:    journal.New(config.Agent.JournalFile()),
		Supervisor: systemd.Supervisor{},
		AllowReset: func() error {
			rules, err := policy.Now()
			if err != nil {
				return err
			}
			return rules.AllowReset()
		},
		Plugin: turns{file: filepath.Join(config.Agent.WorkDir, turnLock), Plugin: policy.Gate(plugin.NewRunner(plugin.Config{
			Name: config.Agent.OSPlugin, WorkDir: config.Agent.WorkDir, Builtins: served.Names(), Log: log.With("plugin", config.Agent.OSPlugin),
			Launcher: launcher(),
		}), config.Agent.OSPlugin, policy.Now)},
	}
}

// launcher is how plugins are started: where the agent is a service, by the service manager, for its own service has no
// rights that they could inherit. There is no falling back from one to the other.
func launcher() ports.Launcher {
	if systemd.Supervised() {
		return systemd.NewLauncher()
	}
	return plugin.Children{}
}

// clusterOf is the cluster to which the host has an identity that was given by hand.
func clusterOf(config agentfile.Config) (ports.Cluster, error) {
	return hostclient.New(config.Cluster.Kubeconfig, config.Cluster.Namespace, config.Cluster.Host)
}

// memberOf is the host's standing with the cluster that it joins by itself, for as long as the process lives.
func memberOf(config agentfile.Config, machine ports.Machine, log *slog.Logger) *member {
	enrolled := enrollment.New(config.Agent.IdentityFolder(), func() (enrollment.Bundle, error) {
		r, err := config.RegistrationNow()
		return enrollment.Bundle{Server: r.Server, CA: []byte(r.CertificateAuthority), Namespace: r.Namespace, Registration: r.Name, Token: r.Token}, err
	})
	return &member{
		registrar: enrolled, machine: machine, supervisor: systemd.Supervisor{}, noSerial: config.Agent.NoSMBIOS, log: log,
		naming: core.NamingRule{UseExisting: config.Agent.Hostname.UseExisting, Prefix: config.Agent.Hostname.Prefix},
		connect: func(as ports.Identity) (ports.Cluster, error) {
			reach, err := enrolled.RESTConfig()
			if err != nil {
				return nil, err
			}
			return hostclient.NewFor(reach, as.Namespace, as.Host)
		},
	}
}
