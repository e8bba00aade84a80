package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"elemental/core"
	"elemental/ports"
)

// errConnectAnew ends a life of the agent after which the next begins: the host is another one for its cluster, or
// connects to it in another way.
var (
	errConnectAnew = errors.New("the host connects to its cluster anew")
	errForgotten   = fmt.Errorf("%w: the cluster has forgotten it, or revoked its identity", errConnectAnew)
)

// member is a host that joined its cluster by itself, or is about to. It lasts as long as the process.
type member struct {
	registrar  ports.Registrar
	machine    ports.Machine
	supervisor ports.Supervisor
	connect    func(ports.Identity) (ports.Cluster, error) // as the host that has this identity
	naming     core.NamingRule
	noSerial   bool
	log        *slog.Logger
	told       func(line string) // tells whoever is at the terminal; nil: nobody is
}

// identity is who the host is. One that is no one yet, or that the cluster has forgotten, asks to join, and says meanwhile
// what it waits for.
func (m *member) identity(ctx context.Context, anew bool) (ports.Identity, error) {
	if anew {
		return m.join(ctx)
	}
	identity, err := m.registrar.Identity(ctx)
	if err == nil {
		return identity, nil
	}
	if !errors.Is(err, ports.ErrNotFound) {
		return ports.Identity{}, err
	}
	m.log.Info("the host has no identity", "because", err)
	return m.join(ctx)
}

// join asks to be let in. The service manager is told that the agent does its work: a host that waits for someone's
// approval is not one that failed to start.
func (m *member) join(ctx context.Context) (ports.Identity, error) {
	applicant, err := m.applicant(ctx)
	if err != nil {
		return ports.Identity{}, err
	}
	if err := m.supervisor.Ready(); err != nil {
		m.log.Warn("the service manager does not listen", "error", err)
	}
	feeding, stop := context.WithCancel(ctx)
	defer stop()
	go m.feed(feeding)
	m.log.Info("the host asks to join its cluster")
	identity, err := m.registrar.Join(ctx, applicant, m.tell("the host has not joined its cluster"))
	if err != nil {
		return ports.Identity{}, fmt.Errorf("joining the cluster: %w", err)
	}
	m.log.Info("the host has joined its cluster", "namespace", identity.Namespace, "host", identity.Host)
	return identity, nil
}

// feed keeps the watchdog quiet while the host waits.
func (m *member) feed(ctx context.Context) {
	alive := time.NewTicker(aliveEvery)
	defer alive.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-alive.C:
			if err := m.supervisor.Alive(); err != nil {
				m.log.Debug("the watchdog was not fed", "error", err)
			}
		}
	}
}

// tell says each answer once, in the journal and in systemctl status.
func (m *member) tell(what string) func(reason, message string) {
	said := ""
	return func(reason, message string) {
		if line := reason + ": " + message; line != said {
			said = line
			if m.told != nil {
				m.told(what + ": " + line)
			} else {
				m.log.Warn(what, "reason", reason, "message", message)
			}
			if err := m.supervisor.Status(line); err != nil {
				m.log.Debug("the service manager does not listen", "error", err)
			}
		}
	}
}

func (m *member) applicant(ctx context.Context) (ports.Applicant, error) {
	facts, err := m.machine.Facts(ctx)
	if err != nil {
		return ports.Applicant{}, fmt.Errorf("reading the host's facts: %w", err)
	}
	applicant := ports.Applicant{Hostname: facts.Hostname, Serial: facts.Serial, Naming: m.naming}
	if m.noSerial {
		applicant.Serial = ""
	}
	return applicant, nil
}

// keep renews the identity until the context ends, or the agent must connect anew.
func (m *member) keep(ctx context.Context, end context.CancelCauseFunc) {
	err := m.registrar.Keep(ctx, m.tell("the host's identity was not renewed"))
	switch {
	case err == nil || ctx.Err() != nil:
	case errors.Is(err, ports.ErrDenied):
		m.log.Warn("the host asks to join again, as itself", "because", err)
		end(errForgotten)
	default:
		m.log.Info("the agent connects anew", "because", err)
		end(errConnectAnew)
	}
}
