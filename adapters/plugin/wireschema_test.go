package plugin

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"

	"elemental/adapters/plugin/schema"
	"elemental/core"
	"elemental/ports"
	"elemental/ports/portstest"
)

func compiled(t *testing.T, name string) *schema.Schema {
	t.Helper()
	s, err := schema.Compile(WireSchema(name))
	is.New(t).NoErr(err)
	return s
}

// TestWireSchemasKeepUp holds the schemas of the protocol against the types that read and write it.
func TestWireSchemasKeepUp(t *testing.T) {
	is := is.New(t)
	for name, form := range map[string]any{"request": request{}, "answer": answer{}, "description": description{}, "observation": observation{}} {
		var listed []string
		for _, f := range compiled(t, name).Fields() {
			listed = append(listed, f.Path)
			is.True(f.Description != "") // each field is explained
		}
		written := fields(reflect.TypeOf(form), "")
		slices.Sort(listed)
		slices.Sort(written)
		is.Equal(listed, written) // the fields of the schema, and those of the program
	}
	is.Equal(WireSchemas(), []string{"answer", "description", "observation", "request"})
	is.True(WireSchema("../schemas/answer") == nil)

	var text struct {
		Properties struct {
			Verb, Verdict, Reset struct{ Enum []string }
			Protocol             struct{ Const string }
			Error                struct {
				Properties struct {
					Class struct{ Enum []string }
				}
			}
		}
	}
	for _, name := range WireSchemas() {
		is.NoErr(json.Unmarshal(WireSchema(name), &text))
	}
	var verbs []string
	for verb := range Deadlines() {
		verbs = append(verbs, string(verb))
	}
	is.Equal(slices.Sorted(slices.Values(text.Properties.Verb.Enum)), slices.Sorted(slices.Values(verbs)))
	is.Equal(text.Properties.Protocol.Const, Protocol)
	for _, verdict := range text.Properties.Verdict.Enum {
		for _, reset := range text.Properties.Reset.Enum {
			_, err := parseObservation(fmt.Appendf(nil, `{"verdict":%q,"reset":%q}`, verdict, reset), ports.Description{})
			is.NoErr(err)
		}
	}
	for _, class := range text.Properties.Error.Properties.Class.Enum {
		is.Equal(failure{Class: core.FailureClass(class)}.core().Class, core.FailureClass(class))
	}
	is.Equal(len(text.Properties.Verdict.Enum)+len(text.Properties.Error.Properties.Class.Enum), 8)
}

// fields lists what a type is on the wire.
func fields(of reflect.Type, at string) []string {
	for of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	if of.Kind() == reflect.Slice && of.Elem().Kind() == reflect.Struct {
		of, at = of.Elem(), strings.TrimSuffix(at, ".")+"[]."
	}
	if of.Kind() != reflect.Struct {
		return nil
	}
	var all []string
	for field := range of.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		all = append(all, at+name)
		all = append(all, fields(field.Type, at+name+".")...)
	}
	return all
}

// TestRequestsAreAsTheSchemaSays catches what the runner sends for each verb.
func TestRequestsAreAsTheSchemaSays(t *testing.T) {
	is := is.New(t)
	verbs := slices.Sorted(maps.Keys(Deadlines()))
	list, err := json.Marshal(verbs)
	is.NoErr(err)
	folder := t.TempDir()
	path := filepath.Join(folder, "plugin")
	is.NoErr(os.WriteFile(path, []byte(`#!/bin/sh
cat > "request-$1"
case $1 in
describe) echo '{"result":{"name":"x","protocols":["elemental.io/plugin/v1"],"verbs":`+string(list)+`}}';;
observe) echo '{"result":{"verdict":"satisfied"}}';;
*) echo '{"result":{}}';;
esac
`), 0o755))
	document := []byte(`{"a":[1.50,"ü",null]}`)
	hash, err := core.HashRequest(document)
	is.NoErr(err)
	s := compiled(t, "request")
	for name, in := range map[string]ports.Request{
		"nothing": {}, "a host": {Host: "host-1"}, "a version": {Host: "host-1", OSVersion: document, Hash: hash},
		"what a registration says": {
			Host: "host-1", Hostname: "host-1", CloudConfig: []byte(`{"runcmd":["true"]}`), Options: []byte(`{}`), Keep: []string{"/etc/elemental"},
			Files: []ports.File{{Path: "/etc/elemental/agent.yaml", Mode: 0o600, Data: []byte{0, 255, 7}}},
		},
		"bootstrap data": {Host: "host-1", Bootstrap: &ports.BootstrapData{Format: "ignition", Data: []byte{0, 255, 7}}},
	} {
		r := NewRunner(Config{Name: path, WorkDir: t.TempDir()})
		for _, verb := range verbs {
			if verb == core.VerbObserve || verb == core.VerbDescribe {
				_, err = r.Observe(t.Context(), in)
			} else {
				err = r.Do(t.Context(), verb, in, nil)
			}
			is.NoErr(err)
			sent, err := os.ReadFile(filepath.Join(r.WorkDir(), "request-"+string(verb)))
			is.NoErr(err)
			if err := s.Check(sent); err != nil {
				t.Errorf("%s of %s sends %s: %v", verb, name, sent, err)
			}
			if read, err := readRequest(strings.NewReader(string(sent))); err != nil || read.Verb != verb {
				t.Errorf("%s of %s can't be read again: %v", verb, name, err)
			}
		}
	}
	is.True(s.Check([]byte(`{"protocol":"elemental.io/plugin/v1","verb":"levitate","host":"","workDir":"/","input":{}}`)) != nil)
}

// TestAnswersAreAsTheSchemaSays holds all that a served plugin answers against the schemas.
func TestAnswersAreAsTheSchemaSays(t *testing.T) {
	is := is.New(t)
	line, results := compiled(t, "answer"), map[core.Verb]*schema.Schema{
		core.VerbDescribe: compiled(t, "description"), core.VerbObserve: compiled(t, "observation"),
	}
	kinds := map[string]int{}
	hold := func(verb core.Verb, p ports.Plugin, input string) {
		var out strings.Builder
		request := `{"protocol":"elemental.io/plugin/v1","verb":"` + string(verb) + `","host":"h","workDir":"/","input":` + input + `}`
		is.NoErr(Serve(t.Context(), strings.NewReader(request), &out, func(Opening) (ports.Plugin, error) { return p, nil }))
		for text := range strings.Lines(out.String()) {
			if err := line.Check([]byte(text)); err != nil {
				t.Errorf("%s of %s answers %s: %v", verb, input, text, err)
			}
			a, err := parseAnswer([]byte(text))
			is.NoErr(err)
			switch {
			case a.Progress != nil:
				kinds["progress"]++
			case a.Error != nil:
				kinds["error"]++
			default:
				kinds["result"]++
				if s := results[verb]; s != nil {
					is.NoErr(s.Check(a.Result))
				}
			}
		}
	}
	verbs := append(slices.Sorted(maps.Keys(Deadlines())), "levitate")
	all := func(p *portstest.Plugin) {
		for _, input := range []string{`{}`, `{"osVersionManagement":{"a":1}}`, `{"osVersionManagement":["a list"]}`, `{"bootstrap":{"format":"ignition","data":"AA=="}}`} {
			for _, verb := range verbs {
				hold(verb, p, input)
			}
		}
	}
	p := &portstest.Plugin{Restarts: true, Trial: true, Verbs: []core.Verb{core.VerbInstall, core.VerbRollback}}
	all(p)
	p.Restart()
	all(p)
	p.FallBack()
	all(p)
	for _, err := range []error{
		os.ErrNotExist, core.Failure{Class: core.FailureRetryable, Reason: "Away", Message: "away", Path: "a.b[0]"}, core.Failure{Class: "odd"}, core.Failure{},
	} {
		for _, verb := range verbs {
			p.Fail(verb, err)
		}
		all(p)
	}
	is.True(kinds["progress"] > 0 && kinds["error"] > 20 && kinds["result"] > 20)
	is.True(line.Check([]byte(`{"result":{},"error":{"message":"x"}}`)) != nil)
	is.True(line.Check([]byte(`{"results":{}}`)) != nil)
}
