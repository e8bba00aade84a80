// Package portstest holds, for every port, a contract suite and an in-memory fake. The suite runs on the fake
// and on the real adapters alike.
package portstest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/matryer/is"

	"elemental/core"
	"elemental/ports"
)

// Plugin is a plugin in memory. Its fields may be set before it is used; its other methods may be called at
// any time.
type Plugin struct {
	Restarts bool        // its versions come true by Restart
	Trial    bool        // what Restart brings up waits to be confirmed
	Verbs    []core.Verb // besides those that every plugin has

	mutex     sync.Mutex
	failures  map[core.Verb]error
	running   core.Version
	runs      string // the hash of the request that runs
	staged    string // the hash of the request that is staged
	waits     core.Version
	trial     bool
	fell      string // the hash of the request that was fallen back from
	fallen    core.Version
	installed bool
	reset     core.ResetStage
	bootstrap *ports.BootstrapData
	done      []core.Verb
}

// Fail lets a verb end with an error from now on; nil lets it succeed again.
func (p *Plugin) Fail(verb core.Verb, err error) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.failures == nil {
		p.failures = map[core.Verb]error{}
	}
	p.failures[verb] = err
}

// Restart is the restart of the host: what was staged runs now.
func (p *Plugin) Restart() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.staged != "" {
		p.runs, p.running, p.trial = p.staged, p.waits, p.Trial
		p.staged, p.waits = "", core.Version{}
	}
}

// FallBack is the restart of the host after which the boot loader gave up what was staged.
func (p *Plugin) FallBack() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.fell, p.fallen, p.trial = p.staged, p.waits, false
	p.staged, p.waits = "", core.Version{}
}

// Done lists the verbs that were carried out, the first first, without describe and observe.
func (p *Plugin) Done() []core.Verb {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return slices.Clone(p.done)
}

// Bootstrapped returns the bootstrap data that was applied last; nil when none was.
func (p *Plugin) Bootstrapped() *ports.BootstrapData {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return p.bootstrap
}

// Describe names the verbs that it has.
func (p *Plugin) Describe(ctx context.Context) (ports.Description, error) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if err := p.failed(ctx, core.VerbDescribe); err != nil {
		return ports.Description{}, err
	}
	return ports.Description{Name: "fake", Verbs: p.verbs(), Schema: []byte(`{"type":"object"}`), Restarts: p.Restarts}, nil
}

func (p *Plugin) verbs() []core.Verb {
	return append([]core.Verb{
		core.VerbDescribe, core.VerbObserve, core.VerbStage, core.VerbUnstage, core.VerbConfirm, core.VerbBootstrap,
		core.VerbTriggerReset, core.VerbReset,
	}, p.Verbs...)
}

// Observe compares what is asked with what runs and what is staged.
func (p *Plugin) Observe(ctx context.Context, request ports.Request) (ports.Observation, error) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if err := p.failed(ctx, core.VerbObserve); err != nil {
		return ports.Observation{}, err
	}
	if err := understood(request); err != nil {
		return ports.Observation{}, err
	}
	o := ports.Observation{
		View:      core.View{Verdict: core.VerdictOutdated, Restarts: p.Restarts, Primed: p.bootstrap != nil, Current: p.running, Staged: p.waits, Fallen: p.fallen},
		Installed: p.installed || !slices.Contains(p.Verbs, core.VerbInstall), Reset: p.reset,
	}
	switch {
	case p.trial:
		o.Verdict = core.VerdictUnconfirmed
	case p.staged != "" && p.staged == request.Hash:
		o.Verdict, o.NeedsRestart = core.VerdictStaged, true
	case p.fell != "" && p.fell == request.Hash:
		o.Verdict, o.Detail = core.VerdictRolledBack, "it was not healthy"
	case request.Hash == "" || p.runs == request.Hash:
		o.Verdict = core.VerdictSatisfied
	}
	return o, nil
}

// Do changes what Observe sees.
func (p *Plugin) Do(ctx context.Context, verb core.Verb, request ports.Request, progress func(ports.Progress)) error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if err := p.failed(ctx, verb); err != nil {
		return err
	}
	if !slices.Contains(p.verbs(), verb) {
		return core.Failure{Class: core.FailureFailed, Reason: "VerbNotSupported", Message: fmt.Sprintf("the plugin has no verb %s", verb)}
	}
	p.done = append(p.done, verb)
	switch verb {
	case core.VerbStage:
		return p.stage(request, progress)
	case core.VerbUnstage:
		p.staged, p.waits, p.fell, p.fallen = "", core.Version{}, "", core.Version{}
	case core.VerbConfirm:
		p.trial = false
	case core.VerbBootstrap:
		p.bootstrap = request.Bootstrap
	case core.VerbInstall:
		p.installed = true
	case core.VerbTriggerReset:
		p.reset = core.ResetUnderWay
	case core.VerbReset:
		p.reset, p.bootstrap = core.ResetDone, nil
	}
	return nil
}

func (p *Plugin) stage(request ports.Request, progress func(ports.Progress)) error {
	if err := understood(request); err != nil {
		return err
	}
	progress(ports.Progress{Step: "Staging", Percent: 50, Message: "half of it is there"})
	p.fell, p.fallen = "", core.Version{}
	version := core.Version{Version: request.Hash[:min(12, len(request.Hash))]}
	if p.Restarts {
		p.staged, p.waits = request.Hash, version
	} else {
		p.runs, p.running = request.Hash, version
	}
	return nil
}

func (p *Plugin) failed(ctx context.Context, verb core.Verb) error {
	return errors.Join(ctx.Err(), p.failures[verb])
}

// understood refuses what is not an object.
func understood(request ports.Request) error {
	text, err := core.CanonicalJSON(request.OSVersion)
	if err != nil {
		return core.Failure{Class: core.FailureInvalid, Message: err.Error()}
	}
	if request.Hash != "" && text[0] != '{' {
		return core.Failure{Class: core.FailureInvalid, Message: "osVersionManagement must be an object"}
	}
	return nil
}

// PluginCase is a plugin to be tested, on a host that runs neither of the two versions yet.
type PluginCase struct {
	ports.Plugin
	First, Second string // two versions that it can stage, as osVersionManagement
	Invalid       string // one that it does not understand; empty when it understands everything
}

// TestPlugin holds a plugin against its port.
func TestPlugin(t *testing.T, open func(t *testing.T) PluginCase) {
	for name, check := range map[string]func(*is.I, PluginCase){
		"describes itself":                       describesItself,
		"is satisfied when nothing is requested": satisfiedByNothing,
		"does not have what it was not told":     outdatedAtFirst,
		"has what it staged":                     hasWhatItStaged,
		"stages twice what it stages once":       stagesTwice,
		"compares requests by what they mean":    comparesMeaning,
		"moves on to another version":            movesOn,
		"changes nothing by observing":           observesOnly,
		"drops what is staged":                   unstages,
		"says what is invalid":                   saysInvalid,
		"refuses a verb that it does not have":   refusesUnknownVerb,
		"stops at the end of the context":        stopsWithContext,
		"reports progress within its bounds":     reportsProgress,
	} {
		t.Run(name, func(t *testing.T) {
			check(is.New(t), open(t))
		})
	}
}

// ask makes the request for a version.
func ask(is *is.I, document string) ports.Request {
	is.Helper()
	hash, err := core.HashRequest([]byte(document))
	is.NoErr(err)
	return ports.Request{Host: "host-1", OSVersion: []byte(document), Hash: hash}
}

func ignore(ports.Progress) {}

func describesItself(is *is.I, p PluginCase) {
	d, err := p.Describe(context.Background())
	is.NoErr(err)
	is.True(d.Name != "")
	for _, verb := range []core.Verb{core.VerbDescribe, core.VerbObserve, core.VerbStage, core.VerbUnstage, core.VerbConfirm} {
		is.True(slices.Contains(d.Verbs, verb)) // every plugin has these verbs
	}
}

func satisfiedByNothing(is *is.I, p PluginCase) {
	o, err := p.Observe(context.Background(), ports.Request{Host: "host-1"})
	is.NoErr(err)
	is.Equal(o.Verdict, core.VerdictSatisfied)
	is.True(o.Installed)
	is.Equal(o.Reset, core.ResetNone)
}

func outdatedAtFirst(is *is.I, p PluginCase) {
	o, err := p.Observe(context.Background(), ask(is, p.First))
	is.NoErr(err)
	is.Equal(o.Verdict, core.VerdictOutdated)
	is.Equal(o.Staged, core.Version{})
}

// has checks that a version runs, or waits for a restart if the plugin's versions come true by one.
func has(is *is.I, p PluginCase, document string) {
	is.Helper()
	d, err := p.Describe(context.Background())
	is.NoErr(err)
	o, err := p.Observe(context.Background(), ask(is, document))
	is.NoErr(err)
	is.Equal(o.Restarts, d.Restarts)
	if d.Restarts {
		is.Equal(o.Verdict, core.VerdictStaged)
		is.True(o.NeedsRestart)
		is.True(o.Staged != core.Version{})
		return
	}
	is.Equal(o.Verdict, core.VerdictSatisfied)
	is.True(o.Current != core.Version{})
}

func stage(is *is.I, p PluginCase, document string) {
	is.Helper()
	is.NoErr(p.Do(context.Background(), core.VerbStage, ask(is, document), ignore))
}

func hasWhatItStaged(is *is.I, p PluginCase) {
	stage(is, p, p.First)
	has(is, p, p.First)
	o, err := p.Observe(context.Background(), ask(is, p.Second))
	is.NoErr(err)
	is.Equal(o.Verdict, core.VerdictOutdated)
}

func stagesTwice(is *is.I, p PluginCase) {
	stage(is, p, p.First)
	before, err := p.Observe(context.Background(), ask(is, p.First))
	is.NoErr(err)
	stage(is, p, p.First)
	after, err := p.Observe(context.Background(), ask(is, p.First))
	is.NoErr(err)
	is.Equal(before, after)
}

func comparesMeaning(is *is.I, p PluginCase) {
	stage(is, p, p.First)
	has(is, p, "  "+p.First+"\n")
}

func movesOn(is *is.I, p PluginCase) {
	stage(is, p, p.First)
	stage(is, p, p.Second)
	has(is, p, p.Second)
	o, err := p.Observe(context.Background(), ask(is, p.First))
	is.NoErr(err)
	is.Equal(o.Verdict, core.VerdictOutdated)
}

func observesOnly(is *is.I, p PluginCase) {
	stage(is, p, p.First)
	before, err := p.Observe(context.Background(), ask(is, p.First))
	is.NoErr(err)
	_, err = p.Observe(context.Background(), ask(is, p.Second))
	is.NoErr(err)
	after, err := p.Observe(context.Background(), ask(is, p.First))
	is.NoErr(err)
	is.Equal(before, after)
}

func unstages(is *is.I, p PluginCase) {
	is.NoErr(p.Do(context.Background(), core.VerbUnstage, ports.Request{Host: "host-1"}, ignore)) // nothing is there to drop
	stage(is, p, p.First)
	is.NoErr(p.Do(context.Background(), core.VerbUnstage, ports.Request{Host: "host-1"}, ignore))
	o, err := p.Observe(context.Background(), ask(is, p.First))
	is.NoErr(err)
	is.Equal(o.Staged, core.Version{})
	is.True(o.Verdict != core.VerdictStaged)
}

func saysInvalid(is *is.I, p PluginCase) {
	if p.Invalid == "" {
		return
	}
	_, err := p.Observe(context.Background(), ask(is, p.Invalid))
	var failure core.Failure
	is.True(errors.As(err, &failure)) // observing an invalid request is a core.Failure
	is.Equal(failure.Class, core.FailureInvalid)
	err = p.Do(context.Background(), core.VerbStage, ask(is, p.Invalid), ignore)
	is.True(errors.As(err, &failure)) // staging an invalid request is a core.Failure
	is.Equal(failure.Class, core.FailureInvalid)
	is.True(failure.Message != "")
}

func refusesUnknownVerb(is *is.I, p PluginCase) {
	err := p.Do(context.Background(), "levitate", ask(is, p.First), ignore)
	var failure core.Failure
	is.True(errors.As(err, &failure))
	is.Equal(failure.Class, core.FailureFailed)
}

func stopsWithContext(is *is.I, p PluginCase) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := p.Do(ctx, core.VerbStage, ask(is, p.First), ignore)
	is.True(errors.Is(err, context.Canceled)) // it is the context's error, and no failure of the plugin
}

func reportsProgress(is *is.I, p PluginCase) {
	is.NoErr(p.Do(context.Background(), core.VerbStage, ask(is, p.First), func(progress ports.Progress) {
		is.True(progress.Percent >= -1 && progress.Percent <= 100)
		is.True(progress.Step != "")
	}))
}
