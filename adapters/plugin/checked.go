package plugin

import (
	"context"

	"elemental/adapters/plugin/schema"
	"elemental/core"
	"elemental/ports"
)

// Checked holds osVersionManagement against the schema that a plugin publishes, before the plugin is asked to
// observe or to stage it. What is published and what is accepted can't differ then, and a plugin need only
// check what a schema can't say.
func Checked(p ports.Plugin) ports.Plugin { return checked{p} }

type checked struct{ ports.Plugin }

// Observe asks the plugin if its schema accepts the request.
func (c checked) Observe(ctx context.Context, request ports.Request) (ports.Observation, error) {
	if err := c.check(ctx, core.VerbObserve, request); err != nil {
		return ports.Observation{}, err
	}
	return c.Plugin.Observe(ctx, request)
}

// Do asks the plugin if its schema accepts the request.
func (c checked) Do(ctx context.Context, verb core.Verb, request ports.Request, progress func(ports.Progress)) error {
	if err := c.check(ctx, verb, request); err != nil {
		return err
	}
	return c.Plugin.Do(ctx, verb, request, progress)
}

func (c checked) check(ctx context.Context, verb core.Verb, request ports.Request) error {
	if !reads(verb, request) {
		return nil
	}
	d, err := c.Describe(ctx)
	if err != nil {
		return err
	}
	if len(d.Schema) == 0 {
		return nil
	}
	compiled, err := schema.Compile(d.Schema)
	if err != nil {
		return broken("BadSchema", "the plugin %q publishes a schema that can't be used: %v", d.Name, err)
	}
	return compiled.Check(request.OSVersion)
}

// reads says whether a verb looks at osVersionManagement, and something is requested. The other verbs must work
// whatever the request says by then: a trial is confirmed although the next version is nonsense.
func reads(verb core.Verb, request ports.Request) bool {
	if verb != core.VerbObserve && verb != core.VerbStage {
		return false
	}
	hash, err := core.HashRequest(request.OSVersion)
	return err != nil || hash != ""
}
