package schema_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"elemental/adapters/plugin/schema"
	"elemental/core"
)

// seeds are schemas and documents that reach every keyword.
var seeds = [][2]string{
	{`{"type":"object","properties":{"osVersion":{"type":"object","additionalProperties":false,"required":["imageUri"],"properties":{"imageUri":{"type":"string","minLength":1,"maxLength":9,"pattern":"^oci:"}}}}}`, `{"osVersion":{"imageUri":"oci://x"}}`},
	{`{"allOf":[{"minimum":1,"maximum":3},{"exclusiveMinimum":1,"exclusiveMaximum":3},{"multipleOf":0.5}]}`, `2.50`},
	{`{"oneOf":[{"type":"integer"},{"type":["null","boolean"]},{"const":{"a":[1]}}]}`, `{"a":[1.0]}`},
	{`{"anyOf":[{"enum":[1,"a",null,[2]]},{"not":{"type":"array"}}]}`, `[2e0]`},
	{`{"prefixItems":[{"type":"string"}],"items":{"type":"number"},"contains":{"const":1},"minContains":1,"maxContains":2,"minItems":1,"maxItems":4,"uniqueItems":true}`, `["a",1,2]`},
	{`{"patternProperties":{"^x":{"type":"string"}},"additionalProperties":false,"propertyNames":{"maxLength":2},"minProperties":1,"maxProperties":2}`, `{"x":"a","xyz":1}`},
	{`{"dependentRequired":{"a":["b"]},"dependentSchemas":{"b":{"required":["c"]}}}`, `{"a":1,"b":2}`},
	{`{"if":{"required":["a"]},"then":{"properties":{"a":true}},"else":{"properties":{"b":false}}}`, `{"b":1}`},
	{`{"$defs":{"tree":{"properties":{"left":{"$ref":"#/$defs/tree"},"value":{"type":"number"}},"additionalProperties":false}},"$ref":"#/$defs/tree"}`, `{"left":{"left":{"value":"1"}}}`},
	{`{"$schema":"https://json-schema.org/draft/2020-12/schema","$id":"https://example.com/x","title":"x","description":"y"}`, `null`},
	{`false`, `1e400`}, {`{"$ref":"http://localhost/"}`, ``}, {`{"type":["x"]}`, `{"a":1,"a":2}`},
}

// FuzzCheck holds any document against any schema. It must end soon with an answer for people; and where the
// standard's own words decide, it is the answer that another validator gives.
func FuzzCheck(f *testing.F) {
	for _, seed := range seeds {
		f.Add([]byte(seed[0]), []byte(seed[1]))
	}
	f.Fuzz(func(t *testing.T, text, document []byte) {
		begin := time.Now()
		s, err := schema.Compile(text)
		if err != nil {
			if !utf8.ValidString(err.Error()) || len(err.Error()) > 2000 {
				t.Fatalf("the error is not for people: %q", err)
			}
			return
		}
		_ = s.Fields()
		err = s.Check(document)
		if took := time.Since(begin); took > 20*time.Second {
			t.Fatalf("it took %s", took)
		}
		var failure core.Failure
		if err != nil {
			if !errors.As(err, &failure) || failure.Class != core.FailureInvalid || failure.Message == "" || failure.Reason == "" ||
				len(failure.Message) > 1100 || len(failure.Path) > 600 || !utf8.ValidString(err.Error()) {
				t.Fatalf("the error is not for people: %#v", err)
			}
		}
		if failure.Reason == schema.ReasonMalformed || strings.Contains(failure.Message, "takes too long") || strings.Contains(failure.Message, "out of bounds") {
			return
		}
		if ask := standard(text); ask != nil {
			if other, known := ask(document); known && other != (err == nil) {
				t.Fatalf("another validator says %v, this one: %v", other, err)
			}
		}
	})
}

// standard returns another validator for a schema; nil where it can't be asked without running away, or knows better.
func standard(text []byte) func(document []byte) (valid, known bool) {
	if len(text) > 2000 {
		return nil
	}
	schema, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	compiler := jsonschema.NewCompiler()
	if err == nil {
		err = compiler.AddResource("schema.json", schema)
	}
	if err != nil {
		return nil
	}
	compiled, err := compiler.Compile("schema.json")
	if err != nil {
		return nil
	}
	return func(document []byte) (valid, known bool) {
		defer func() {
			if recover() != nil { // By numbers that are too large for it.
				valid, known = false, false
			}
		}()
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(document))
		if err != nil || len(document) > 2000 {
			return false, false
		}
		return compiled.Validate(value) == nil, true
	}
}
