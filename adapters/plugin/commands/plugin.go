// Package commands is the plugin of hosts that are kept by commands: it runs on the host, as root, what whoever
// may patch the host's object writes there. It therefore does nothing unless the host's own policy allows it.
package commands

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"time"

	"elemental/core"
	"elemental/ports"
)

// Config is what the plugin must know of its host.
type Config struct {
	WorkDir string
	// Allow returns nil where the host lets a cluster run commands, a core.Failure for the reason PolicyDenied
	// where it does not, and another error where that can't be told.
	Allow func() error
	// Boot names the boot of the host that now runs.
	Boot func() (string, error)
	// Log takes all that the commands write.
	Log io.Writer
	// Checks is how long all checks of one observation may take together; 0: 20 s.
	Checks time.Duration
}

// defaultChecks leaves 5 s to end a check that does not end when it is asked to, and 5 s of the 30 s that an
// observation has: else it would be ended as a whole, and nobody could tell which check it was.
const defaultChecks = 20 * time.Second

// Plugin runs commands.
type Plugin struct{ config Config }

// New returns the plugin for a host.
func New(config Config) *Plugin {
	if config.Checks == 0 {
		config.Checks = defaultChecks
	}
	return &Plugin{config: config}
}

// Describe says what the plugin is. Whether a restart comes depends on the request, so none is announced.
func (p *Plugin) Describe(context.Context) (ports.Description, error) {
	return ports.Description{
		Name:   "commands",
		Verbs:  []core.Verb{core.VerbDescribe, core.VerbObserve, core.VerbStage, core.VerbUnstage, core.VerbConfirm},
		Schema: schema,
	}, nil
}

// Observe runs the checks, where the host's policy allows it, and nothing else.
func (p *Plugin) Observe(ctx context.Context, request ports.Request) (ports.Observation, error) {
	o := ports.Observation{Installed: true, View: core.View{Verdict: core.VerdictSatisfied, Current: core.Version{Version: "no commands"}}}
	list, err := readRequest(request.OSVersion)
	if err != nil || len(list) == 0 {
		return o, err
	}
	denied, err := p.denied()
	if err != nil {
		return o, err
	}
	boot, err := p.config.Boot()
	if err != nil {
		return o, err
	}
	known, err := p.recall(request.Hash, boot)
	if err != nil {
		return o, err
	}
	so := 0
	for end, i := time.Now().Add(p.config.Checks), 0; i < len(list); i++ {
		run := step{plugin: p, index: i, all: len(list), command: list[i], host: request.Host}
		holds, err := run.isSo(ctx, known, denied != nil, time.Until(end))
		if err != nil {
			return o, err
		}
		if holds {
			so++
		}
	}
	name := request.Hash[:12]
	o.Current.Version = fmt.Sprintf("%s, %d of %d so", name, so, len(list))
	switch {
	case so < len(list):
		o.Verdict = core.VerdictOutdated
		if denied != nil {
			o.Detail = denied.Error()
		}
	case known.Restart == boot:
		o.Verdict, o.NeedsRestart, o.Staged = core.VerdictStaged, true, core.Version{Version: name}
	}
	return o, nil
}

// denied returns the host's refusal, and else an error where it can't be told whether there is one.
func (p *Plugin) denied() (refusal, err error) {
	err = p.config.Allow()
	var failure core.Failure
	if errors.As(err, &failure) && failure.Reason == core.ReasonPolicyDenied {
		return failure, nil
	}
	return nil, err
}

// Do carries out the commands. What they did can't be taken back, so that there is nothing to unstage, and a
// restart that one of them needs is not forgotten; there is no trial, and nothing to confirm.
func (p *Plugin) Do(ctx context.Context, verb core.Verb, request ports.Request, progress func(ports.Progress)) error {
	switch verb {
	case core.VerbStage:
		return p.stage(ctx, request, progress)
	case core.VerbUnstage, core.VerbConfirm:
		return nil
	default:
		return core.Failure{Class: core.FailureFailed, Reason: "VerbNotSupported", Message: fmt.Sprintf("the plugin commands has no verb %s", verb)}
	}
}

func (p *Plugin) stage(ctx context.Context, request ports.Request, progress func(ports.Progress)) error {
	list, err := readRequest(request.OSVersion)
	if err != nil || len(list) == 0 {
		return err
	}
	if err := p.config.Allow(); err != nil {
		return err
	}
	boot, err := p.config.Boot()
	if err != nil {
		return err
	}
	known, err := p.recall(request.Hash, boot)
	if err != nil {
		return err
	}
	for i, c := range list {
		run := step{plugin: p, index: i, all: len(list), command: c, host: request.Host, progress: progress}
		next, err := run.carryOut(ctx, known, boot)
		if err != nil {
			return err
		}
		if !reflect.DeepEqual(next, known) {
			if err := p.remember(next); err != nil {
				return err
			}
		}
		known = next
	}
	return nil
}
