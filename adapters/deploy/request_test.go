package deploy_test

import (
	"encoding/json"
	"testing"

	"github.com/matryer/is"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"elemental/core"
	"elemental/ports"
)

// TestWhatTheSchemaCannotSay asks for what the schema lets pass. What it does not let pass is told where the plugin
// is served.
func TestWhatTheSchemaCannotSay(t *testing.T) {
	h := newHost(t)
	h.install(h.put("v1", system(t, "1")))
	for document, want := range map[string]core.Failure{
		`{"osVersion":{"imageUri":"x","healthChecks":[{"unit":"a"},{"unit":"a","timeout":"0s"}]}}`:       {Reason: "WrongValue", Path: "osVersion.healthChecks[1].timeout"},
		`{"osVersion":{"imageUri":"x","healthChecks":[{"unit":"a","timeout":"99999999999999999999h"}]}}`: {Reason: "WrongValue", Path: "osVersion.healthChecks[0].timeout"},
		`{"osVersion":{"imageUri":"x"},"osVersion":{"imageUri":"y"}}`:                                    {Reason: "Malformed"},
		`{"osVersion":`: {Reason: "Malformed"},
		`[]`:            {Reason: "Malformed"},
	} {
		t.Run(document, func(t *testing.T) {
			is := is.New(t)
			asked := ports.Request{OSVersion: []byte(document)}
			_, err := h.Observe(t.Context(), asked)
			failure := failureOf(t, err)
			is.Equal(failure.Class, core.FailureInvalid)
			is.Equal(failure.Reason, want.Reason)
			is.Equal(failure.Path, want.Path)
			is.True(failure.Message != "")
			is.Equal(failureOf(t, h.Stage(t.Context(), asked, nil)), failure)
		})
	}
}

func TestNothingAskedIsSatisfied(t *testing.T) {
	h := newHost(t)
	h.install(h.put("v1", system(t, "1")))
	for _, document := range []string{"", "null", "{}", `{"osVersion":null}`[:0]} {
		seen, err := h.Observe(t.Context(), ports.Request{OSVersion: []byte(document)})
		h.is.NoErr(err)
		h.is.Equal(seen.Verdict, core.VerdictSatisfied)
		h.is.Equal(seen.Current.Version, "Test 1")
	}
}

func TestTheSchemaIsPublished(t *testing.T) {
	is := is.New(t)
	h := newHost(t)
	description, err := h.Describe(t.Context())
	is.NoErr(err)
	is.Equal(description.Name, "image")
	is.True(description.Restarts)
	var document any
	is.NoErr(json.Unmarshal(description.Schema, &document))
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	is.NoErr(compiler.AddResource("x.json", document))
	_, err = compiler.Compile("x.json")
	is.NoErr(err)
}
