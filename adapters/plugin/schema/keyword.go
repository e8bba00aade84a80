package schema

import (
	"maps"
	"slices"
	"strings"
)

// read reads all keywords. Those that it does not know are left alone, as the standard wants it.
func (k *keywords) read(n *node) {
	for _, keyword := range unsupported {
		if _, there := k.get(keyword); there {
			k.fail(keyword, "this keyword is not supported")
		}
	}
	if text, there := k.text("$schema"); there && strings.TrimSuffix(text, "#") != draft {
		k.fail("$schema", "it is %q, and must be %s", clip(text, 200), draft)
	}
	if _, there := k.get("$id"); there && k.pointer != "" {
		k.fail("$id", "only the whole schema may have a name")
	}
	n.title, _ = k.text("title")
	n.description, _ = k.text("description")
	if ref, there := k.text("$ref"); there && k.err == nil {
		n.ref, k.err = k.compiler.resolve(k.pointer+"/$ref", ref)
	}
	k.readValue(n)
	k.readObject(n)
	k.readList(n)
	n.minLength, n.maxLength = k.count("minLength"), k.count("maxLength")
	if text, there := k.text("pattern"); there {
		n.pattern = k.compilePattern("pattern", text)
	}
	n.minimum, n.maximum = k.number("minimum"), k.number("maximum")
	n.above, n.below = k.number("exclusiveMinimum"), k.number("exclusiveMaximum")
	if n.multiple = k.number("multipleOf"); n.multiple != nil && n.multiple.Sign() <= 0 {
		k.fail("multipleOf", "it must be more than 0")
	}
	n.all, n.some, n.one, n.not = k.schemas("allOf"), k.schemas("anyOf"), k.schemas("oneOf"), k.schema("not")
	if n.when = k.schema("if"); n.when != nil {
		n.then, n.other = k.schema("then"), k.schema("else")
	}
	// What nothing refers to must be well-formed all the same.
	k.named("$defs")
}

func (k *keywords) readValue(n *node) {
	if value, there := k.get("type"); there {
		if one, isText := value.(string); isText {
			n.types = []string{one}
		} else {
			n.types = k.texts("type", value)
		}
		for _, name := range n.types {
			if !slices.Contains(types, name) {
				k.fail("type", "there is no type %q; there are: %s", clip(name, 100), strings.Join(types, ", "))
			}
		}
		if len(n.types) == 0 {
			k.fail("type", "it must not be empty")
		}
	}
	if list, there := k.list("enum"); there && k.bounded("enum", list) {
		n.values = valuesOf(list)
	}
	if value, there := k.get("const"); there && k.bounded("const", value) {
		n.fixed = valuesOf([]any{value})
	}
}

func (k *keywords) bounded(keyword string, value any) bool {
	if oversized(value, nil) != nil {
		k.fail(keyword, "a number in it has more than %d digits", maxDigits)
		return false
	}
	return true
}

func (k *keywords) readObject(n *node) {
	n.properties = k.named("properties")
	n.names = slices.Sorted(maps.Keys(n.properties))
	patterns := k.named("patternProperties")
	for _, text := range slices.Sorted(maps.Keys(patterns)) {
		n.patterns = append(n.patterns, patternNode{k.compilePattern("patternProperties", text), patterns[text]})
	}
	n.additional, n.nameRule = k.schema("additionalProperties"), k.schema("propertyNames")
	if value, there := k.get("required"); there {
		n.required = k.texts("required", value)
	}
	if value, there := k.get("dependentRequired"); there {
		object, ok := value.(map[string]any)
		if !ok {
			k.fail("dependentRequired", "it must be an object")
		}
		n.needs = map[string][]string{}
		for name, list := range object {
			n.needs[name] = k.texts("dependentRequired", list)
		}
	}
	n.needsSchemas = k.named("dependentSchemas")
	n.minFields, n.maxFields = k.count("minProperties"), k.count("maxProperties")
}

func (k *keywords) readList(n *node) {
	n.prefix, n.items = k.schemas("prefixItems"), k.schema("items")
	if n.contains = k.schema("contains"); n.contains != nil {
		n.minContains, n.maxContains = k.count("minContains"), k.count("maxContains")
	}
	n.minItems, n.maxItems, n.unique = k.count("minItems"), k.count("maxItems"), k.flag("uniqueItems")
}
