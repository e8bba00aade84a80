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
	"elemental/modes/agentfile"
	"elemental/ports"
)

// Why an agent ends, where nobody told it to.
var (
	errRestart   = errors.New("the host restarts")
	errPowerOff  = errors.New("the host turns off")
	errInstalled = errors.New("nothing is left to install")
)

// errand is what the agent was started for.
type errand struct {
	config   agentfile.Config
	version  string
	installs bool         // it installs the system, and ends then
	tell     func(string) // tells whoever is at the terminal; nil: nobody is
	log      *slog.Logger
}

// run is the agent until it is told to end, or its errand is done, which is errInstalled.
func run(ctx context.Context, e errand) error {
	release, err := occupy(e.config.Agent.WorkDir, e.log)
	if err != nil {
		return err
	}
	defer release()
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	machine := hostOf(e.config, e.version, end)
	l := life{
		errand:  e,
		reached: agentfile.Connected,
		agent:   func() *Agent { return wire(e.config, machine, e.log) },
		cluster: func() (ports.Cluster, error) { return clusterOf(e.config) },
	}
	if e.config.Joins() {
		l.member = memberOf(e.config, machine, e.log)
		l.member.told = e.tell
	}
	return l.run(ctx)
}

// life is all that an agent does from its start to its end. It may connect to its cluster many times.
type life struct {
	errand
	reached string                        // the file that tells that the cluster was reached
	agent   func() *Agent                 // one that has no cluster yet
	member  *member                       // nil: the host's identity was given by hand
	cluster func() (ports.Cluster, error) // of a host whose identity was given by hand
}

func (l life) run(ctx context.Context) error {
	for anew, short := false, 0; ; {
		began := time.Now()
		err := l.live(ctx, anew)
		anew = errors.Is(err, errForgotten)
		switch {
		case errors.Is(context.Cause(ctx), errRestart):
			return cli.Exit("", ExitRestart)
		case errors.Is(context.Cause(ctx), errPowerOff) && l.installs:
			return errInstalled
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
func (l life) live(ctx context.Context, anew bool) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	agent := l.agent()
	if err := l.settle(ctx, agent, anew); err != nil {
		if ctx.Err() != nil {
			return nil // It was told to end while it waited to be let in.
		}
		return err
	}
	agent.Connected = func() {
		if err := touch(l.reached); err != nil {
			l.log.Debug("the health check will not know that the cluster was reached", "error", err)
		}
	}
	if l.installs {
		agent.Installs, agent.Tell = true, l.tell
		agent.Installed = func() { end(errInstalled) }
	}
	if l.member != nil {
		agent.Rejoin = func() { end(errForgotten) }
		ended := make(chan struct{})
		defer func() { <-ended }()
		defer end(nil)
		go func() {
			defer close(ended)
			l.member.keep(ctx, end)
		}()
	}
	l.log.Info("the agent follows its host", "host", agent.Host)
	err := agent.Run(ctx)
	if cause := context.Cause(ctx); errors.Is(cause, errConnectAnew) || errors.Is(cause, errInstalled) {
		return cause
	}
	return err
}

// settle gives the agent its cluster. A host that is no one yet, or is to be let in anew, asks to join first, and waits
// until it is let in.
func (l life) settle(ctx context.Context, agent *Agent, anew bool) (err error) {
	agent.Keep, agent.Files = l.config.Belongings(), l.files
	if l.member == nil {
		agent.Host = l.config.Cluster.Host
		agent.Cluster, err = l.cluster()
		return err
	}
	identity, err := l.member.identity(ctx, anew)
	if err != nil {
		return err
	}
	agent.Host, agent.Request, agent.Orders = identity.Host, identity.Request, identity.Orders
	// A host that is a plain process has the name of the machine that it runs on, which is not its own.
	agent.Names = !l.member.naming.UseExisting && l.config.Agent.Restart != agentfile.RestartExit
	agent.Cluster, err = l.member.connect(identity)
	return err
}

func touch(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, nil, 0o644)
}
