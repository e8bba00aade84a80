package agent

import (
	"context"
	"fmt"
	"slices"
	"time"

	"elemental/core"
	"elemental/ports"
)

// sight is what was observed in one look: what the core decides on, and what the report adds.
type sight struct {
	core.Observed
	facts ports.Facts
}

// observe looks at the host. A plugin that gives no answer is an observation too.
func (a *Agent) observe(ctx context.Context, wish ports.Wish) (sight, error) {
	facts, err := a.Machine.Facts(ctx)
	if err != nil {
		return sight{}, fmt.Errorf("reading the host's facts: %w", err)
	}
	joined, err := a.Machine.Joined(ctx)
	if err != nil {
		return sight{}, err
	}
	seen := sight{facts: facts, Observed: core.Observed{
		Boot: facts.BootID, Registered: wish.Registered, Installed: true, Installs: a.Installs,
		Named: !a.Names || facts.Hostname == a.Host, CloudConfig: a.cloudConfig(),
		PostInstall: a.PostInstall, PostReset: a.PostReset,
		Sentinel: joined, Reported: wish.Reported || a.joined, Journal: a.memory, Limits: a.Limits,
	}}
	if wish.Registered {
		a.ask(ctx, wish, &seen.Observed)
	}
	if ctx.Err() != nil {
		return sight{}, ctx.Err()
	}
	seen.Now = time.Now()
	return seen, nil
}

// cloudConfig tells one cloud config from another.
func (a *Agent) cloudConfig() string {
	hash, err := core.HashRequest([]byte(a.Orders.CloudConfig))
	if err != nil { // It has no canonical form, and is handed on as it is.
		return a.Orders.CloudConfig
	}
	return hash
}

// ask lets the plugin say how the host stands. A request that it does not understand says nothing of the
// host, so it is then asked about the host alone.
func (a *Agent) ask(ctx context.Context, wish ports.Wish, seen *core.Observed) {
	description, err := a.Plugin.Describe(ctx)
	if err != nil {
		a.silence(seen, err)
		return
	}
	a.schema = description.Schema
	// A plugin that can't name a host leaves that to whoever manages it.
	seen.Named = seen.Named || !slices.Contains(description.Verbs, core.VerbSetHostname)
	observation, invalid, err := a.stand(ctx, wish, seen.Boot)
	if err != nil {
		a.silence(seen, err)
		return
	}
	a.silences = 0
	a.reset = observation.Reset
	seen.Plugin, seen.Installed, seen.Reset = observation.View, observation.Installed, observation.Reset
	seen.Plugin.Restarts, seen.Plugin.Invalid = description.Restarts, invalid
}

func (a *Agent) stand(ctx context.Context, wish ports.Wish, boot string) (ports.Observation, core.Failure, error) {
	request, invalid := a.request(wish, boot), core.Failure{}
	if wish.Invalid != "" {
		invalid = core.Failure{Class: core.FailureInvalid, Message: wish.Invalid}
	} else {
		observation, err := a.Plugin.Observe(ctx, request)
		if err == nil {
			return observation, core.Failure{}, nil
		}
		if invalid = failure(err); invalid.Class != core.FailureInvalid {
			return ports.Observation{}, core.Failure{}, err
		}
	}
	observation, err := a.Plugin.Observe(ctx, ports.Request{Host: request.Host, Boot: boot, Options: request.Options})
	return observation, invalid, err
}

func (a *Agent) request(wish ports.Wish, boot string) ports.Request {
	request := ports.Request{Host: a.Host, Boot: boot, OSVersion: wish.OSVersion, Hash: wish.Version}
	if a.Installs { // Whether the system is installed may depend on where it is to be.
		if request.Options = object(a.Orders.Install); request.Options == nil {
			request.Options = []byte("{}")
		}
	}
	return request
}

// silence keeps what was known of a reset: it goes on while its plugin says nothing.
func (a *Agent) silence(seen *core.Observed, err error) {
	a.silences++
	seen.Reset = a.reset
	seen.Plugin.Silent, seen.Plugin.Silences = failure(err), a.silences
}
