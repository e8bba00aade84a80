package policy

import (
	"context"
	"errors"
	"testing"

	"github.com/matryer/is"

	"elemental/core"
	"elemental/ports"
)

// counted is a plugin that counts how often it is run.
type counted struct{ runs int }

func (c *counted) Describe(context.Context) (ports.Description, error) {
	c.runs++
	return ports.Description{Name: "counted", Restarts: true}, nil
}

func (c *counted) Observe(context.Context, ports.Request) (ports.Observation, error) {
	c.runs++
	return ports.Observation{Installed: true, View: core.View{Verdict: core.VerdictStaged}}, nil
}

func (c *counted) Do(context.Context, core.Verb, ports.Request, func(ports.Progress)) error {
	c.runs++
	return nil
}

func TestAPluginThatTheHostDoesNotNameIsNeverRun(t *testing.T) {
	is := is.New(t)
	inner := &counted{}
	now := written(t, "plugins: [image, /opt/plugins/own]")
	read := func() (Policy, error) { return now, nil }
	gated := Gate(inner, "commands", read)
	asked := ports.Request{Host: "a", OSVersion: []byte(`{}`), Hash: "hash"}

	d, err := gated.Describe(t.Context())
	is.NoErr(err)
	is.Equal(d.Name, "commands")
	seen, err := gated.Observe(t.Context(), asked)
	is.NoErr(err)
	is.Equal(seen.Verdict, core.VerdictOutdated)
	seen, err = gated.Observe(t.Context(), ports.Request{Host: "a"})
	is.NoErr(err)
	is.Equal(seen.Verdict, core.VerdictSatisfied) // Nothing is asked.
	for _, verb := range []core.Verb{core.VerbStage, core.VerbConfirm, core.VerbBootstrap, core.VerbTriggerReset} {
		denied(t, now, gated.Do(t.Context(), verb, asked, nil), "plugins", "")
	}
	is.Equal(inner.runs, 0)

	for _, name := range []string{"image", "/opt/plugins/own"} {
		is.NoErr(Gate(inner, name, read).Do(t.Context(), core.VerbStage, asked, nil))
	}
	now = written(t, "") // The policy is read anew at each call.
	is.NoErr(gated.Do(t.Context(), core.VerbStage, asked, nil))
	seen, err = gated.Observe(t.Context(), asked)
	is.NoErr(err)
	is.Equal(seen.Verdict, core.VerdictStaged)
	is.Equal(inner.runs, 4)
}

func TestWithoutAPolicyThatCanBeReadNoPluginIsRun(t *testing.T) {
	is := is.New(t)
	broken := errors.New("it is a folder")
	inner := &counted{}
	for _, gated := range []ports.Plugin{Gate(inner, "image", func() (Policy, error) { return Policy{}, broken })} {
		_, err := gated.Describe(t.Context())
		is.True(errors.Is(err, broken))
		_, err = gated.Observe(t.Context(), ports.Request{})
		is.True(errors.Is(err, broken))
		is.True(errors.Is(gated.Do(t.Context(), core.VerbStage, ports.Request{}, nil), broken))
	}
	image := ports.Request{OSVersion: []byte(`{"osVersion":{"imageUri":"oci://a/b"}}`)}
	is.True(errors.Is(GateImages(inner, func() (Policy, error) { return Policy{}, broken }).Do(t.Context(), core.VerbStage, image, nil), broken))
	is.Equal(inner.runs, 0)
}

func TestAPluginThatPullsByItselfIsHeldToTheRuleOnImages(t *testing.T) {
	is := is.New(t)
	inner := &counted{}
	now := written(t, "images: {registries: [registry.example.com:5000/os]}")
	gated := GateImages(inner, func() (Policy, error) { return now, nil })
	stage := func(reference string) error {
		return gated.Do(t.Context(), core.VerbStage, ports.Request{OSVersion: []byte(`{"osVersion":{"imageUri":"` + reference + `"}}`)}, nil)
	}
	for _, reference := range []string{"oci://registry.example.com:5000/os:v1", "oci://registry.example.com:5000/os/a@sha256:00", "oci://registry.example.com:5000/os/a:v1@sha256:00"} {
		is.NoErr(stage(reference))
	}
	runs := inner.runs
	for _, reference := range []string{"oci://registry.example.com/os:v1", "oci://registry.example.com:5000:v1", "oci://registry.example.com:5000/os2:v1", "oci://os:v1", "oci://evil/a@registry.example.com:5000/os"} {
		denied(t, now, stage(reference), "images.registries", fieldOfImage)
	}
	now = written(t, "images: {downgrade: deny}")
	denied(t, now, stage("oci://a/b:v1"), "images.downgrade", fieldOfImage)
	is.Equal(inner.runs, runs)
	is.NoErr(gated.Do(t.Context(), core.VerbUnstage, ports.Request{OSVersion: []byte(`{"osVersion":{"imageUri":"oci://a/b"}}`)}, nil))
}
