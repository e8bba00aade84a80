package schema_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/matryer/is"

	"elemental/adapters/plugin/schema"
	"elemental/core"
)

func compile(t testing.TB, text string) *schema.Schema {
	t.Helper()
	s, err := schema.Compile([]byte(text))
	is.New(t).NoErr(err)
	return s
}

// words says what is wrong with a document, as reason, path and message.
func words(t *testing.T, s *schema.Schema, document string) string {
	t.Helper()
	err := s.Check([]byte(document))
	if err == nil {
		return ""
	}
	var failure core.Failure
	if !errors.As(err, &failure) || failure.Class != core.FailureInvalid {
		t.Fatalf("not a core.Failure of class invalid: %v", err)
	}
	return fmt.Sprintf("%s %s: %s", failure.Reason, failure.Path, failure.Message)
}

// TestWords shows what people read for each thing that can be wrong.
func TestWords(t *testing.T) {
	for _, c := range []struct{ schema, document, words string }{
		{`{"type":"object"}`, `{}`, ""},
		{`true`, `[1,{"a":null}]`, ""},
		{`false`, `1`, "WrongValue : nothing is allowed here"},
		{`{"type":"object"}`, `[]`, "WrongType : its type is array; it must be object"},
		{`{"type":["string","null"]}`, `1.5`, "WrongType : its type is number; it must be string or null"},
		{`{"type":"integer"}`, `1.0`, ""},
		{`{"type":"integer"}`, `1.5`, "WrongType : its type is number; it must be integer"},
		{`{"properties":{"osVersion":{"properties":{"imageUri":{}},"additionalProperties":false}}}`, `{"osVersion":{"imageUrl":"x"}}`,
			"UnknownField osVersion.imageUrl: there is no such field; did you mean imageUri?"},
		{`{"properties":{"osVersion":{},"other":{}},"additionalProperties":false}`, `{"packages":1}`,
			"UnknownField packages: there is no such field; there are: osVersion, other"},
		{`{"additionalProperties":false}`, `{"a.b":1}`, `UnknownField ["a.b"]: there is no such field`},
		{`{"properties":{"imageUri":{}},"required":["imageUri"],"additionalProperties":false}`, `{"IMAGEURI":1}`,
			"UnknownField IMAGEURI: there is no such field; did you mean imageUri?"},
		{`{"required":["a"]}`, `{}`, "MissingField a: this field is required"},
		{`{"dependentRequired":{"user":["password"]}}`, `{"user":1}`, "MissingField password: this field is required where user is set"},
		{`{"dependentSchemas":{"a":{"required":["b"]}}}`, `{"a":1}`, "MissingField b: this field is required"},
		{`{"enum":["image","dummy"]}`, `"imag"`, "WrongValue : it must be one of these: image, dummy"},
		{`{"enum":[1,"two words",null]}`, `2`, `WrongValue : it must be one of these: 1, "two words", null`},
		{`{"enum":[1]}`, `1.0`, ""},
		{`{"const":"image"}`, `1`, "WrongValue : it must be image"},
		{`{"properties":{"l":{"items":{"properties":{"a b":{"minLength":1}}}}}}`, `{"l":[{},{"a b":""}]}`, `WrongValue l[1]["a b"]: it must not be empty`},
		{`{"minLength":3}`, `"a"`, "WrongValue : it has 1 character; it must have at least 3"},
		{`{"maxLength":2}`, `"äöü"`, "WrongValue : it has 3 characters; it may have 2"},
		{`{"pattern":"^[a-z]+$"}`, `"A secret"`, "WrongValue : it does not match the pattern ^[a-z]+$"},
		{`{"minimum":1}`, `0`, "WrongValue : it must be 1 or more"},
		{`{"maximum":1.50}`, `2`, "WrongValue : it must be 1.5 or less"},
		{`{"exclusiveMinimum":1}`, `1`, "WrongValue : it must be more than 1"},
		{`{"exclusiveMaximum":1}`, `1e0`, "WrongValue : it must be less than 1"},
		{`{"multipleOf":0.1}`, `0.25`, "WrongValue : it must be a multiple of 0.1"},
		{`{"minItems":1}`, `[]`, "WrongValue : it has 0 items; it must have at least 1"},
		{`{"maxItems":1}`, `[1,2]`, "WrongValue : it has 2 items; it may have 1"},
		{`{"uniqueItems":true}`, `[{"a":1},2,{"a":1.0}]`, "WrongValue [2]: it is the same as [0]; each item may stand in the list once"},
		{`{"prefixItems":[{"type":"string"}],"items":false}`, `["a",1]`, "WrongValue [1]: the list may have 1 item only"},
		{`{"contains":{"type":"string"}}`, `[1]`, "WrongValue : there are 0 items in it as the schema asks for; there must be at least 1"},
		{`{"contains":{"type":"string"},"maxContains":1}`, `["a","b"]`, "WrongValue : there are 2 items in it as the schema asks for; there may be 1"},
		{`{"contains":false,"minContains":0}`, `[]`, ""},
		{`{"minProperties":1}`, `{}`, "WrongValue : it has 0 fields; it must have at least 1"},
		{`{"maxProperties":1}`, `{"a":1,"b":2}`, "WrongValue : it has 2 fields; it may have 1"},
		{`{"propertyNames":{"pattern":"^[a-z]+$"}}`, `{"A":1}`, "WrongValue A: the name of this field is wrong: it does not match the pattern ^[a-z]+$"},
		{`{"patternProperties":{"^x-":{"type":"string"}},"additionalProperties":{"type":"number"}}`, `{"x-a":1}`, "WrongType x-a: its type is number; it must be string"},
		{`{"additionalProperties":{"type":"number"}}`, `{"x-a":"1"}`, "WrongType x-a: its type is string; it must be number"},
		{`{"allOf":[{},{"required":["a"]}]}`, `{}`, "MissingField a: this field is required"},
		{`{"anyOf":[{"type":"string"},{"type":"null"}]}`, `1`, "WrongType : its type is wrong; it must be string or null"},
		{`{"anyOf":[{"const":"a"},{"enum":["b"]}]}`, `1`, "WrongValue : it must be one of these: a, b"},
		{`{"oneOf":[{"required":["unit"]},{"required":["tcp"]}]}`, `{}`, "MissingField : one of these fields is required: unit, tcp"},
		{`{"oneOf":[{"required":["unit"]},{"required":["tcp"]}]}`, `{"tcp":1,"unit":1}`, "WrongValue : only one of these fields may be set: unit, tcp"},
		{`{"oneOf":[{},{}]}`, `{}`, "WrongValue : it fits more than one of the forms that exclude one another"},
		{`{"oneOf":[{"type":"string"},{"type":"object","properties":{"name":{"type":"string"}}}]}`, `{"name":1}`, "WrongType name: its type is number; it must be string"},
		{`{"anyOf":[{"type":"string","minLength":5},{"minimum":3}]}`, `2`,
			"WrongValue : it fits none of the forms that are allowed here: its type is number; it must be string; or it must be 3 or more"},
		{`{"not":{"type":"string"}}`, `"a"`, "WrongValue : it is what the schema says that it must not be"},
		{`{"if":{"required":["a"]},"then":{"required":["b"]},"else":{"required":["c"]}}`, `{"a":1}`, "MissingField b: this field is required"},
		{`{"if":{"required":["a"]},"then":{"required":["b"]},"else":{"required":["c"]}}`, `{}`, "MissingField c: this field is required"},
		{`{"$defs":{"a/b":{"type":"string"}},"items":{"$ref":"#/$defs/a~1b"}}`, `["x",1]`, "WrongType [1]: its type is number; it must be string"},
		{`{"properties":{"child":{"$ref":"#"}},"additionalProperties":false}`, `{"child":{"child":{"chidl":1}}}`,
			"UnknownField child.child.chidl: there is no such field; did you mean child?"},
		{`{}`, `{"a":1,"a":2}`, `Malformed : reading JSON: the key "a" stands twice in one object`},
		{`{}`, `{"a":`, "Malformed : reading JSON: the document is malformed"},
		{`{}`, ``, "Malformed : reading JSON: there is no document"},
		{`{}`, `{"a":[1e999999999]}`, "WrongValue a[0]: the number is out of bounds: it may have 400 digits"},
	} {
		t.Run(c.schema+" "+c.document, func(t *testing.T) {
			is.New(t).Equal(words(t, compile(t, c.schema), c.document), c.words)
		})
	}
}

// TestBadSchema shows what the author of a schema reads.
func TestBadSchema(t *testing.T) {
	for text, message := range map[string]string{
		``:                                    "there is no document",
		`{`:                                   "malformed",
		`[]`:                                  "at #: it must be an object, true or false",
		`{"properties":{"a":1}}`:              "at #/properties/a: it must be an object, true or false",
		`{"type":"text"}`:                     `at #/type: there is no type "text"; there are: null,`,
		`{"type":[]}`:                         "at #/type: it must not be empty",
		`{"type":7}`:                          "at #/type: it must be a list of texts",
		`{"required":["a","a"]}`:              "at #/required: it must be a list of texts, each of them once",
		`{"minLength":-1}`:                    "at #/minLength: it must be a whole number",
		`{"minLength":"1"}`:                   "at #/minLength: it must be a number",
		`{"minimum":1e99999}`:                 "at #/minimum: it must be a number of at most 400 digits",
		`{"enum":[1e99999]}`:                  "at #/enum: a number in it has more than 400 digits",
		`{"multipleOf":0}`:                    "at #/multipleOf: it must be more than 0",
		`{"pattern":"("}`:                     "at #/pattern: the pattern \"(\" can't be used",
		`{"pattern":"(?=a)"}`:                 "can't be used",
		`{"pattern":"(x{1000}){1000}"}`:       "can't be used",
		`{"pattern":"` + repeat("x{999}", 60): "at #/pattern: the pattern",
		`{"patternProperties":{"[":{}}}`:      "at #/patternProperties: the pattern",
		`{"allOf":[]}`:                        "at #/allOf: it must not be empty",
		`{"$schema":"http://json-schema.org/draft-07/schema#"}`:                     "at #/$schema: it is",
		`{"$schema":"file:///etc/passwd"}`:                                          "and must be https://json-schema.org/draft/2020-12/schema",
		`{"$ref":"file:///etc/passwd"}`:                                             "a schema may refer to its own parts only",
		`{"$ref":"https://example.com/schema.json"}`:                                "a schema may refer to its own parts only",
		`{"$ref":"https://json-schema.org/draft/2020-12/schema"}`:                   "a schema may refer to its own parts only",
		`{"$ref":"#name"}`:                                                          "a schema may refer to its own parts only",
		`{"$ref":"#/$defs/a"}`:                                                      `"#/$defs/a", which does not exist`,
		`{"$ref":"#"}`:                                                              "at #: it refers to itself without end",
		`{"$defs":{"a":{"$ref":"#/$defs/b"},"b":{"anyOf":[{"$ref":"#/$defs/a"}]}}}`: "it refers to itself without end",
		`{"properties":{"a":{"$id":"http://example.com"}}}`:                         "only the whole schema may have a name",
		`{"$dynamicRef":"#a"}`:                                                      "this keyword is not supported",
		`{"unevaluatedProperties":false}`:                                           "at #/unevaluatedProperties: this keyword is not supported",
		`{"description":"` + strings.Repeat("x", schema.MaxSchema) + `"}`:           "it has 65554 bytes, and may have 65536",
		strings.Repeat(`{"not":`, 300) + "{}" + strings.Repeat("}", 300):            "nested deeper than 200",
		strings.Repeat(`{"properties":{"`+strings.Repeat("x", 400)+`":`, 95) + `{"allOf":[` + strings.Repeat("true,", 2000) + "true]}" + strings.Repeat("}}", 95): "nested too deeply",
		`{"allOf":[` + strings.Repeat("true,", 5000) + `true]}`: "more than 4096 schemas",
	} {
		_, err := schema.Compile([]byte(text))
		if err == nil || !strings.Contains(err.Error(), message) || len(err.Error()) > 1000 {
			t.Errorf("%.80s: %v", text, err)
		}
	}
}

func repeat(pattern string, times int) string { return strings.Repeat(pattern, times) + `"}` }

// TestHostile checks with schemas that are made to take for ever: each ends soon.
func TestHostile(t *testing.T) {
	var doubling strings.Builder
	for i := range 60 {
		fmt.Fprintf(&doubling, `"d%d":{"allOf":[{"$ref":"#/$defs/d%d"},{"$ref":"#/$defs/d%d"}]},`, i, i+1, i+1)
	}
	nested := strings.Repeat(`{"a":`, 190) + "1" + strings.Repeat("}", 190)
	chain := make([]string, 0, 2000)
	for i := range 1500 {
		chain = append(chain, fmt.Sprintf(`"%d":{"$ref":"#/$defs/%d"}`, i, i+1))
	}
	numbers := "[" + strings.Repeat("1,", 60_000) + "2]"
	for name, c := range map[string]struct{ schema, document string }{
		"references that double":          {`{"$defs":{` + doubling.String() + `"d60":{}},"$ref":"#/$defs/d0"}`, `1`},
		"recursion that doubles":          {`{"allOf":[{"properties":{"a":{"$ref":"#"}}},{"properties":{"a":{"$ref":"#"}}}]}`, nested},
		"recursion that doubles, asked":   {`{"anyOf":[{"properties":{"a":{"$ref":"#"}},"required":["b"]},{"properties":{"a":{"$ref":"#"}},"required":["c"]}]}`, nested},
		"a chain through a deep document": {`{"$defs":{` + strings.Join(chain, ",") + `,"1500":{"additionalProperties":{"$ref":"#/$defs/0"}}},"$ref":"#/$defs/0"}`, nested},
		"a large pattern and a long text": {`{"items":{"pattern":"(x{20}y?){40}z"}}`, `["` + strings.Repeat("x", 1_000_000) + `"]`},
		"many patterns and many names":    {`{"patternProperties":{` + patterns(1500) + `}}`, "{" + names(3000) + "}"},
		"unique among many":               {`{"allOf":[` + strings.Repeat(`{"uniqueItems":true},`, 1000) + `true]}`, "[" + numbered(100_000) + "]"},
		"many items, each wrong":          {`{"items":{"type":"string"}}`, numbers},
		"many items, many schemas":        {`{"items":{"allOf":[` + strings.Repeat(`{"minimum":0},`, 3000) + `true]}}`, numbers},
		"many values":                     {`{"items":{"enum":[` + numbered(8000) + `]}}`, numbers},
		"long numbers":                    {`{"items":{"multipleOf":1e-400}}`, "[" + strings.Repeat(strings.Repeat("9", 390)+",", 2000) + "1]"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := schema.Compile([]byte(c.schema))
			if err != nil {
				t.Log(err)
				return
			}
			before := worked(t)
			err = s.Check([]byte(c.document))
			took := worked(t) - before
			t.Log(took, err)
			is.New(t).True(took < 10*time.Second) // of a processor; a tenth of it, without the race detector
			fields := s.Fields()
			is.New(t).True(len(fields) <= 500)
		})
	}
}

// worked is the processor time that this process has used.
func worked(t *testing.T) time.Duration {
	t.Helper()
	var usage syscall.Rusage
	is.New(t).NoErr(syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func patterns(n int) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf(`"%d.*x":true`, i))
	}
	return strings.Join(all, ",")
}

func names(n int) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf(`"%0200d":1`, i))
	}
	return strings.Join(all, ",")
}

func numbered(n int) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprint(i))
	}
	return strings.Join(all, ",")
}

func TestSecretsAreNotTold(t *testing.T) {
	is := is.New(t)
	s := compile(t, `{"properties":{"password":{"type":"string","maxLength":3,"pattern":"^a","enum":["b"],"const":"c","not":{}}},"additionalProperties":{"minimum":5}}`)
	for _, document := range []string{`{"password":"hunter2"}`, `{"password":["hunter2"]}`, `{"password":{"hunter2":1}}`} {
		is.True(!strings.Contains(words(t, s, document), "hunter2"))
	}
}

func TestFields(t *testing.T) {
	is := is.New(t)
	text, err := os.ReadFile("../../deploy/schema.json")
	is.NoErr(err)
	var paths []string
	for _, f := range compile(t, string(text)).Fields() {
		paths = append(paths, fmt.Sprint(strings.Repeat("  ", f.Depth), f.Path, " ", f.Type, " ", f.Required))
		is.True(f.Description != "")
	}
	listed := strings.Join(paths, "\n")
	t.Log(listed)
	is.True(strings.HasPrefix(listed, "osVersion object false\n  osVersion."))
	is.True(strings.Contains(listed, "\n  osVersion.imageUri string true\n"))
	is.True(strings.Contains(listed, "\n  osVersion.healthChecks array of object false\n    osVersion.healthChecks[].command array of string false\n"))
	tree := compile(t, `{"$defs":{"t":{"description":"A tree.","properties":{"left":{"$ref":"#/$defs/t"},"kind":{"enum":["a","b"]},"n":{"const":1}}}},"anyOf":[{"$ref":"#/$defs/t"}]}`)
	is.Equal(len(tree.Fields()), 3)
	is.Equal(tree.Fields()[0], schema.Field{Name: "kind", Path: "kind", Type: "a, b"})
	is.Equal(tree.Fields()[1].Description, "A tree.")
}
