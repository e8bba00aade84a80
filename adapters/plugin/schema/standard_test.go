package schema_test

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/matryer/is"

	"elemental/adapters/plugin/schema"
)

// chance makes schemas and documents that have something to do with one another: the same few names and values.
type chance struct{ *rand.Rand }

func (c chance) pick(words ...string) string { return words[c.IntN(len(words))] }

func (c chance) value(depth int) any {
	switch n := c.IntN(10); {
	case n < 2 && depth > 0:
		var list []any
		for range c.IntN(4) {
			list = append(list, c.value(depth-1))
		}
		return list
	case n < 6 && depth > 0:
		object := map[string]any{}
		for range c.IntN(4) {
			object[c.pick("a", "b", "ab", "x")] = c.value(depth - 1)
		}
		return object
	case n < 8:
		return json.RawMessage(c.pick("0", "1", "1.0", "2", "2.5", "-1", "10e-1", "1e2"))
	case n < 9:
		return c.pick("", "a", "ab", "abc", "ä")
	default:
		return []any{nil, true, false}[c.IntN(3)]
	}
}

func (c chance) schemas(depth int) []any {
	var list []any
	for range 1 + c.IntN(3) {
		list = append(list, c.schema(depth-1))
	}
	return list
}

func (c chance) named(depth int) map[string]any {
	object := map[string]any{}
	for range 1 + c.IntN(3) {
		object[c.pick("a", "b", "ab", "x")] = c.schema(depth - 1)
	}
	return object
}

func (c chance) schema(depth int) any {
	if depth <= 0 || c.IntN(12) == 0 {
		return []any{true, false, map[string]any{}, map[string]any{"type": c.pick("string", "number", "integer", "object", "array", "null")}}[c.IntN(4)]
	}
	s := map[string]any{}
	for range 1 + c.IntN(3) {
		switch keyword := keywords[c.IntN(len(keywords))]; keyword {
		case "type":
			s[keyword] = []any{c.pick("string", "number", "integer"), c.pick("object", "array", "boolean", "null")}
		case "enum":
			s[keyword] = []any{c.value(2), c.value(1), c.value(0)}
		case "const":
			s[keyword] = c.value(1)
		case "required":
			s[keyword] = []any{c.pick("a", "b"), c.pick("ab", "x")}
		case "dependentRequired":
			s[keyword] = map[string]any{c.pick("a", "b"): []any{c.pick("ab", "x")}}
		case "properties", "dependentSchemas":
			s[keyword] = c.named(depth)
		case "patternProperties":
			s[keyword] = map[string]any{c.pick("^a", "b$", "x"): c.schema(depth - 1)}
		case "allOf", "anyOf", "oneOf", "prefixItems":
			s[keyword] = c.schemas(depth)
		case "minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties", "minContains", "maxContains":
			s[keyword] = c.IntN(3)
		case "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum":
			s[keyword] = json.RawMessage(c.pick("0", "1", "1.0", "2.5", "1e1"))
		case "multipleOf":
			s[keyword] = json.RawMessage(c.pick("0.5", "1", "2"))
		case "uniqueItems":
			s[keyword] = c.IntN(2) == 0
		case "pattern":
			s[keyword] = c.pick("^a", "b$", "^$", ".")
		case "$ref":
			s[keyword] = c.pick("#/$defs/a", "#/$defs/b")
		default:
			s[keyword] = c.schema(depth - 1)
		}
	}
	return s
}

var keywords = strings.Fields(`type type enum const required dependentRequired properties properties dependentSchemas patternProperties additionalProperties
	additionalProperties propertyNames allOf anyOf oneOf not if then else prefixItems items contains minContains maxContains minItems maxItems uniqueItems
	minLength maxLength pattern minimum maximum exclusiveMinimum exclusiveMaximum multipleOf minProperties maxProperties $ref`)

// TestAsTheStandardSays compares this package with another validator, on schemas and documents made by chance.
func TestAsTheStandardSays(t *testing.T) {
	is := is.New(t)
	c := chance{rand.New(rand.NewPCG(1, 2))}
	compared, accepted := 0, 0
	for range 1200 {
		root, isObject := c.schema(4).(map[string]any)
		if !isObject {
			continue
		}
		root["$defs"] = map[string]any{"a": c.schema(2), "b": c.schema(2)}
		text, err := json.Marshal(root)
		is.NoErr(err)
		s, err := schema.Compile(text)
		if err != nil {
			is.True(strings.Contains(err.Error(), "refers to itself without end"))
			continue
		}
		ask := standard(text)
		if ask == nil {
			continue
		}
		for range 8 {
			document, err := json.Marshal(c.value(3))
			is.NoErr(err)
			err = s.Check(document)
			other, known := ask(document)
			if !known {
				continue
			}
			compared++
			if other {
				accepted++
			}
			if other != (err == nil) {
				t.Fatalf("another validator says %v of %s against %s, this one: %v", other, document, text, err)
			}
		}
	}
	t.Logf("%d compared, %d of them accepted", compared, accepted)
	is.True(compared > 5000 && accepted > compared/10 && accepted < compared*9/10)
}
