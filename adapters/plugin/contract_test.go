package plugin_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"testing"

	"elemental/adapters/plugin"
	"elemental/adapters/plugin/dummy"
	"elemental/core"
	"elemental/ports"
	"elemental/ports/portstest"
)

const (
	first   = `{"osVersion":{"imageUri":"oci://registry/os:1"},"n":1.50}`
	second  = `{"osVersion":{"imageUri":"oci://registry/os:2"}}`
	invalid = `["a list"]`
)

func TestDummy(t *testing.T) {
	portstest.TestPlugin(t, func(t *testing.T) portstest.PluginCase {
		return portstest.PluginCase{Plugin: dummy.New(t.TempDir()), First: first, Second: second, Invalid: invalid}
	})
}

func TestRunnerOfBuiltin(t *testing.T) {
	portstest.TestPlugin(t, func(t *testing.T) portstest.PluginCase {
		r := plugin.NewRunner(plugin.Config{
			Name: "dummy", WorkDir: t.TempDir(), Builtins: []string{"dummy"}, Folder: t.TempDir(), Deadlines: deadlines(),
		})
		return portstest.PluginCase{Plugin: r, First: first, Second: second, Invalid: invalid}
	})
}

// TestServe holds the server alone against the port, over pipes.
func TestServe(t *testing.T) {
	portstest.TestPlugin(t, func(*testing.T) portstest.PluginCase {
		return portstest.PluginCase{
			Plugin: served{&portstest.Plugin{Restarts: true}},
			First:  first, Second: second, Invalid: invalid,
		}
	})
}

// served speaks to a plugin through Serve, with a client of a few lines that shares nothing with Runner.
type served struct{ plugin ports.Plugin }

func (s served) ask(ctx context.Context, verb core.Verb, in ports.Request, progress func(ports.Progress), result any) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	text, err := json.Marshal(map[string]any{
		"protocol": "elemental.io/plugin/v1", "verb": verb, "host": in.Host, "workDir": os.DevNull,
		"input": map[string]any{"osVersionManagement": json.RawMessage(orNull(in.OSVersion))},
	})
	if err != nil {
		return err
	}
	requestReader, requestWriter := io.Pipe()
	answerReader, answerWriter := io.Pipe()
	go func() {
		_, err := requestWriter.Write(text)
		requestWriter.CloseWithError(err)
	}()
	go func() {
		answerWriter.CloseWithError(plugin.Serve(ctx, requestReader, answerWriter, func(plugin.Opening) (ports.Plugin, error) { return s.plugin, nil }))
	}()
	for answers := json.NewDecoder(answerReader); ; {
		var a struct {
			Progress *ports.Progress
			Result   json.RawMessage
			Error    *core.Failure
		}
		switch err := answers.Decode(&a); {
		case err != nil:
			return errors.Join(errors.New("the answer has no end"), err)
		case a.Progress != nil:
			progress(*a.Progress)
		case a.Error != nil:
			return *a.Error
		default:
			return json.Unmarshal(a.Result, result)
		}
	}
}

func orNull(document []byte) []byte {
	if document == nil {
		return []byte("null")
	}
	return document
}

func (s served) Describe(ctx context.Context) (d ports.Description, err error) {
	var out struct {
		Name      string
		Protocols []string
		Verbs     []core.Verb
		Schema    json.RawMessage
		Restarts  bool
	}
	err = s.ask(ctx, core.VerbDescribe, ports.Request{}, nil, &out)
	return ports.Description{Name: out.Name, Protocols: out.Protocols, Verbs: out.Verbs, Schema: out.Schema, Restarts: out.Restarts}, err
}

func (s served) Observe(ctx context.Context, in ports.Request) (o ports.Observation, err error) {
	d, err := s.Describe(ctx)
	if err != nil {
		return o, err
	}
	err = s.ask(ctx, core.VerbObserve, in, nil, &o)
	o.Restarts = d.Restarts
	return o, err
}

func (s served) Do(ctx context.Context, verb core.Verb, in ports.Request, progress func(ports.Progress)) error {
	return s.ask(ctx, verb, in, progress, &struct{}{})
}
