package policy

import (
	"context"
	"encoding/json"
	"strings"

	"elemental/core"
	"elemental/ports"
)

// Reader reads the policy as it is now.
type Reader func() (Policy, error)

// Now reads the host's policy.
func Now() (Policy, error) { return Read(Path) }

// Gate lets a plugin keep the host's OS version only while the rule plugins of the host lets it. One that it does not is
// never run: a version that is asked for is refused, and without one there is nothing to refuse.
func Gate(plugin ports.Plugin, name string, read Reader) ports.Plugin {
	return gate{plugin, name, read}
}

type gate struct {
	plugin ports.Plugin
	name   string
	read   Reader
}

// allowed says whether the plugin may be run. The error is the denial, or says why the policy can't be read.
func (g gate) allowed() (denial, err error) {
	rules, err := g.read()
	if err != nil {
		return nil, err
	}
	return rules.AllowPlugin(g.name), nil
}

// Describe asks the plugin, if it may be run.
func (g gate) Describe(ctx context.Context) (ports.Description, error) {
	denial, err := g.allowed()
	if err != nil || denial != nil {
		return ports.Description{Name: g.name}, err
	}
	return g.plugin.Describe(ctx)
}

// Observe asks the plugin, if it may be run. Else the host has not what is asked for, and nothing more is known.
func (g gate) Observe(ctx context.Context, request ports.Request) (ports.Observation, error) {
	denial, err := g.allowed()
	if err != nil {
		return ports.Observation{}, err
	}
	if denial == nil {
		return g.plugin.Observe(ctx, request)
	}
	seen := ports.Observation{Installed: true, View: core.View{Verdict: core.VerdictSatisfied, Detail: denial.Error()}}
	if request.Hash != "" {
		seen.Verdict = core.VerdictOutdated
	}
	return seen, nil
}

// Do lets the plugin do it, if it may be run.
func (g gate) Do(ctx context.Context, verb core.Verb, request ports.Request, progress func(ports.Progress)) error {
	denial, err := g.allowed()
	if err != nil {
		return err
	}
	if denial != nil {
		return denial
	}
	return g.plugin.Do(ctx, verb, request, progress)
}

// GateImages holds the rule images against the requests of a plugin that pulls images by itself, before it is asked to.
// What versions they are is known to that plugin alone, and so is never compared.
func GateImages(plugin ports.Plugin, read Reader) ports.Plugin { return imageGate{plugin, read} }

type imageGate struct {
	ports.Plugin
	read Reader
}

// Do lets the plugin do it, if it is no staging or the image that is asked for is allowed.
func (g imageGate) Do(ctx context.Context, verb core.Verb, request ports.Request, progress func(ports.Progress)) error {
	if verb == core.VerbStage || verb == core.VerbInstall {
		if err := g.check(request); err != nil {
			return err
		}
	}
	return g.Plugin.Do(ctx, verb, request, progress)
}

func (g imageGate) check(request ports.Request) error {
	var read struct {
		OSVersion struct {
			ImageURI string `json:"imageUri"`
		} `json:"osVersion"`
	}
	text, err := core.CanonicalJSON(request.OSVersion)
	if err != nil || json.Unmarshal(text, &read) != nil || read.OSVersion.ImageURI == "" {
		return nil // The plugin says what is wrong with it.
	}
	rules, err := g.read()
	if err != nil {
		return err
	}
	if err := rules.AllowImagesFrom(placeOf(read.OSVersion.ImageURI)); err != nil {
		return err
	}
	return rules.AllowDowngrade("this plugin pulls images by itself, so that their versions can't be compared before")
}

// placeOf is where an image lies: its reference without the scheme, the tag and the digest.
func placeOf(reference string) string {
	if _, rest, found := strings.Cut(reference, "://"); found {
		reference = rest
	}
	reference, _, _ = strings.Cut(reference, "@")
	if colon := strings.LastIndexByte(reference, ':'); colon > strings.LastIndexByte(reference, '/') {
		reference = reference[:colon]
	}
	return reference
}
