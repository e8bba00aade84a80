// Package conformance holds a plugin against what the documentation of the plugin protocol promises, as far as
// that can be seen from outside. Its findings are for the author of the plugin.
package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"elemental/adapters/plugin"
	"elemental/adapters/plugin/schema"
	"elemental/core"
	"elemental/ports"
)

// Config says which plugin is held against what.
type Config struct {
	Plugin *plugin.Runner
	// Document is an osVersionManagement that the plugin understands; nil: nothing is asked for.
	Document []byte
	// Stage says that the document may be made true on this machine.
	Stage bool
	// Configure says that this machine may be named, as it is, and get a cloud config and lose it again.
	Configure bool
	// Reset says that this machine may be reset, by which all that is on it may be lost.
	Reset bool
	// Report is told of each check when it is done.
	Report func(Finding)
}

// Finding is the outcome of one check.
type Finding struct {
	What    string
	Skipped string // why it was not looked at; empty when it was
	Err     error  // what is wrong; nil when it is as it must be
	Log     string // what the plugin wrote to its standard error meanwhile
}

// limit is the time of one call here. The agent gives some verbs more.
const limit = 30 * time.Minute

// short is the time of those verbs that only look.
const short = 30 * time.Second

// run is one run of the checks.
type run struct {
	Config
	description ports.Description
	schema      *schema.Schema
	here        error // why the plugin can't say how this host stands; nil when it can

	log      string
	breaches []error // of the protocol, in whatever call
	left     []string
	answers  map[string]*schema.Schema
}

// notHere is the answer of a check that finds out itself that it can't be made on this machine.
type notHere struct{ why string }

func (n notHere) Error() string { return n.why }

// check is one thing that a plugin must do. Skip says why it can't be looked at; empty when it can.
type check struct {
	what string
	skip func() string
	look func(context.Context) error
}

// Run carries out all checks, the first first, and returns how many failed. The error is the context's, or says
// that no check could be made at all.
func Run(ctx context.Context, config Config) (failed int, err error) {
	r := &run{Config: config, answers: map[string]*schema.Schema{}}
	for _, name := range plugin.WireSchemas() {
		if r.answers[name], err = schema.Compile(plugin.WireSchema(name)); err != nil {
			return 0, fmt.Errorf("reading the protocol's schema of the %s: %w", name, err)
		}
	}
	for _, c := range r.checks() {
		if ctx.Err() != nil {
			return failed, context.Cause(ctx)
		}
		f := Finding{What: c.what, Skipped: c.skip()}
		if f.Skipped == "" {
			r.log = ""
			f.Err = c.look(ctx)
			f.Log = r.log
			if skipped := (notHere{}); errors.As(f.Err, &skipped) {
				f.Skipped, f.Err = skipped.why, nil
			}
		}
		if ctx.Err() != nil {
			return failed, context.Cause(ctx)
		}
		if f.Err != nil {
			failed++
		}
		r.Report(f)
		if f.Err != nil && r.description.Name == "" {
			return failed, nil // Nothing else can be asked.
		}
	}
	return failed, nil
}

func (r *run) checks() []check {
	always := func() string { return "" }
	return []check{
		{"it describes itself, in an empty folder, and leaves it empty", always, r.describes},
		{"it has the verbs that every host needs", always, r.verbs},
		{"its schema can be used, and refuses a list", r.withoutSchema, r.schemaRefuses},
		{"it answers describe whatever protocol is spoken", always, r.describesAnyProtocol},
		{"it refuses a protocol that it does not speak", always, r.refusesProtocol},
		{"it refuses a verb that there is not", always, r.refusesVerb},
		{"it is satisfied when nothing is requested", always, r.satisfiedByNothing},
		{"it ignores fields that it does not know", r.elsewhere, r.ignoresFields},
		{"it refuses a list as invalid", always, r.refusesList},
		{"its schema accepts the request", r.withoutRequestOrSchema, r.schemaAccepts},
		{"it answers the same when it is asked twice", r.withoutRequest, r.observesTwice},
		{"it changes nothing when it observes", r.withoutRequest, r.observesOnly},
		{"it recovers when it is killed while it stages", r.withoutStage, r.recovers},
		{"it has what it staged, and stages it twice", r.withoutStage, r.stages},
		{"it unstages when nothing is staged", r.withoutStage, r.unstages},
		{"it keeps bootstrap data out of its log", r.withoutBootstrap, r.keepsSecrets},
		{"it names the host, twice", r.without(core.VerbSetHostname, r.Configure, "--configure"), r.names},
		{"it installs a cloud config and takes it away, and shows none of it", r.without(core.VerbInstallCloudConfig, r.Configure, "--configure"), r.configures},
		{"it resets the host, and says how far that is", r.without(core.VerbTriggerReset, r.Reset, "--reset"), r.resets},
		{"all that it wrote on standard output is the protocol", always, func(context.Context) error { return errors.Join(first(r.breaches)...) }},
		{"it left nothing running", always, r.leavesNothing},
	}
}

func first(all []error) []error { return all[:min(len(all), 3)] }

// call asks for a verb and returns its result. What breaks the protocol is kept for its own check, too.
func (r *run) call(ctx context.Context, verb core.Verb, in ports.Request) (json.RawMessage, error) {
	request, err := r.Plugin.Request(verb, in)
	if err != nil {
		return nil, err
	}
	_, result, err := r.send(ctx, string(verb), request, nil)
	return result, err
}

func (r *run) send(ctx context.Context, verb string, request []byte, kill func(string) bool) (plugin.Exchange, json.RawMessage, error) {
	most := limit
	switch core.Verb(verb) {
	case core.VerbDescribe, core.VerbObserve:
		most = short
	default:
	}
	within, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	x, err := r.Plugin.Exchange(within, verb, request, kill)
	r.log += x.Log
	if err != nil {
		return x, nil, err
	}
	if x.Left {
		r.left = append(r.left, verb)
	}
	if x.Killed && ctx.Err() == nil && within.Err() != nil && kill == nil {
		return x, nil, fmt.Errorf("it was not done with %s after %s, and was killed", verb, most)
	}
	result, err := x.Result()
	if !x.Killed {
		r.hold(verb, x, result, err)
	}
	return x, result, err
}

// hold holds an answer against the protocol's own schemas.
func (r *run) hold(verb string, x plugin.Exchange, result json.RawMessage, err error) {
	var failure core.Failure
	if err != nil && !errors.As(err, &failure) {
		r.breaches = append(r.breaches, fmt.Errorf("asked to %s: %w", verb, err))
		return
	}
	complain := func(what string, err error) {
		if err != nil {
			r.breaches = append(r.breaches, fmt.Errorf("asked to %s, its %s is not as the schema of the protocol says: %w", verb, what, err))
		}
	}
	for _, line := range x.Lines {
		complain("answer", r.answers["answer"].Check([]byte(line)))
	}
	switch {
	case err != nil:
	case verb == string(core.VerbDescribe):
		complain("description", r.answers["description"].Check(result))
	case verb == string(core.VerbObserve):
		complain("observation", r.answers["observation"].Check(result))
	}
}

func (r *run) observe(ctx context.Context, document []byte) (ports.Observation, error) {
	in, err := requestOf(document)
	if err != nil {
		return ports.Observation{}, err
	}
	result, err := r.call(ctx, core.VerbObserve, in)
	if err != nil {
		return ports.Observation{}, err
	}
	return plugin.ReadObservation(result, r.description)
}

func requestOf(document []byte) (ports.Request, error) {
	hash, err := core.HashRequest(document)
	if err != nil {
		return ports.Request{}, fmt.Errorf("reading the request: %w", err)
	}
	return ports.Request{Host: "test", OSVersion: document, Hash: hash}, nil
}
