package schema

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxProblems bounds what one check collects; people mend one at a time.
const maxProblems = 16

// maxDeep bounds how far schemas may lead from one to another; a document nests 200 deep at most.
const maxDeep = 10_000

// check is one document being checked.
type check struct {
	left int // steps
	deep int
}

// take takes steps, and says whether there are any left.
func (c *check) take(steps int) bool {
	c.left -= steps
	return c.left >= 0
}

func (c *check) spent() bool { return c.left < 0 }

// value returns what is wrong with one value; nothing when it is as the schema wants it, or when the check
// took too long.
func (c *check) value(n *node, value any, at *place) []problem {
	if c.deep++; c.deep > maxDeep {
		c.left = -1
	}
	defer func() { c.deep-- }()
	if !c.take(1) {
		return nil
	}
	if n.never {
		return []problem{{at: at, reason: ReasonWrongValue, message: "nothing is allowed here"}}
	}
	if kind := kindOf(value); len(n.types) > 0 && !n.accepts(kind, value) {
		c.take(8)
		return []problem{typeProblem(at, kind, n.types)}
	}
	f := &findings{}
	c.fixedValue(n, value, at, f)
	if n.ref != nil {
		f.add(c.value(n.ref, value, at)...)
	}
	switch v := value.(type) {
	case map[string]any:
		c.object(n, v, at, f)
	case []any:
		c.list(n, v, at, f)
	case string:
		c.text(n, v, at, f)
	case json.Number:
		c.number(n, number(v), at, f)
	}
	c.combined(n, value, at, f)
	if !c.take(len(f.problems)) {
		return nil
	}
	return f.problems
}

// holds says whether a value is as a schema wants it.
func (c *check) holds(n *node, value any, at *place) bool { return len(c.value(n, value, at)) == 0 }

func kindOf(value any) string {
	switch value.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case json.Number:
		return "number"
	case string:
		return "string"
	case []any:
		return "array"
	default:
		return "object"
	}
}

func (n *node) accepts(kind string, value any) bool {
	if slices.Contains(n.types, kind) {
		return true
	}
	v, isNumber := value.(json.Number)
	return isNumber && slices.Contains(n.types, "integer") && number(v).IsInt()
}

func (c *check) fixedValue(n *node, value any, at *place, f *findings) {
	for _, v := range []*values{n.fixed, n.values} {
		if v != nil && c.take(weight(value)) && !v.set[identity(value)] {
			f.add(enumProblem(at, v.list))
		}
	}
}

func (c *check) object(n *node, object map[string]any, at *place, f *findings) {
	if n.minFields != nil && len(object) < *n.minFields {
		f.wrong(at, "it has %s; it must have at least %d", count(len(object), "field"), *n.minFields)
	}
	if n.maxFields != nil && len(object) > *n.maxFields {
		f.wrong(at, "it has %s; it may have %d", count(len(object), "field"), *n.maxFields)
	}
	c.take(len(n.required))
	for _, name := range n.required {
		if _, there := object[name]; !there {
			f.add(missingProblem(at, name, ""))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		if !c.take(1 + len(name)/64 + len(n.needs[name])) {
			return
		}
		c.field(n, name, object[name], at, f)
		for _, needed := range n.needs[name] {
			if _, there := object[needed]; !there {
				f.add(missingProblem(at, needed, name))
			}
		}
		if next := n.needsSchemas[name]; next != nil {
			f.add(c.value(next, object, at)...)
		}
	}
}

// field checks one member of an object.
func (c *check) field(n *node, name string, value any, at *place, f *findings) {
	known := false
	if next := n.properties[name]; next != nil {
		known = true
		f.add(c.value(next, value, at.in(name))...)
	}
	for _, p := range n.patterns {
		if c.take(p.pattern.steps(name)) && p.pattern.expression.MatchString(name) {
			known = true
			f.add(c.value(p.node, value, at.in(name))...)
		}
	}
	switch {
	case known || n.additional == nil:
	case n.additional.never:
		c.take(len(n.names))
		f.add(unknownProblem(at, name, n.names))
	default:
		f.add(c.value(n.additional, value, at.in(name))...)
	}
	if n.nameRule != nil {
		for _, p := range c.value(n.nameRule, name, at.in(name)) {
			p.message = "the name of this field is wrong: " + p.message
			p.reason = ReasonWrongValue
			f.add(p)
		}
	}
}

func (c *check) list(n *node, list []any, at *place, f *findings) {
	if n.minItems != nil && len(list) < *n.minItems {
		f.wrong(at, "it has %s; it must have at least %d", count(len(list), "item"), *n.minItems)
	}
	if n.maxItems != nil && len(list) > *n.maxItems {
		f.wrong(at, "it has %s; it may have %d", count(len(list), "item"), *n.maxItems)
	}
	if n.unique && c.take(weight(list)) {
		seen := map[string]int{}
		for i, item := range list {
			text := identity(item)
			if first, twice := seen[text]; twice {
				f.wrong(at.at(i), "it is the same as %s; each item may stand in the list once", at.at(first))
				break
			}
			seen[text] = i
		}
	}
	for i, item := range list {
		switch {
		case c.spent():
			return
		case i < len(n.prefix):
			f.add(c.value(n.prefix[i], item, at.at(i))...)
		case n.items != nil && n.items.never:
			f.wrong(at.at(i), "the list may have %s only", count(len(n.prefix), "item"))
		case n.items != nil:
			f.add(c.value(n.items, item, at.at(i))...)
		}
	}
	c.contained(n, list, at, f)
}

func (c *check) contained(n *node, list []any, at *place, f *findings) {
	if n.contains == nil {
		return
	}
	found, least := 0, 1
	for i, item := range list {
		if c.holds(n.contains, item, at.at(i)) {
			found++
		}
	}
	if n.minContains != nil {
		least = *n.minContains
	}
	if found < least {
		f.wrong(at, "%s in it as the schema asks for; there must be at least %d", are(found), least)
	}
	if n.maxContains != nil && found > *n.maxContains {
		f.wrong(at, "%s in it as the schema asks for; there may be %d", are(found), *n.maxContains)
	}
}

func (c *check) text(n *node, text string, at *place, f *findings) {
	if n.minLength != nil || n.maxLength != nil {
		c.take(len(text) / 64)
		length := utf8.RuneCountInString(text)
		switch {
		case n.minLength != nil && *n.minLength > 0 && length == 0:
			f.wrong(at, "it must not be empty")
		case n.minLength != nil && length < *n.minLength:
			f.wrong(at, "it has %s; it must have at least %d", count(length, "character"), *n.minLength)
		case n.maxLength != nil && length > *n.maxLength:
			f.wrong(at, "it has %s; it may have %d", count(length, "character"), *n.maxLength)
		}
	}
	if n.pattern != nil && c.take(n.pattern.steps(text)) && !n.pattern.expression.MatchString(text) {
		f.wrong(at, "it does not match the pattern %s", clip(n.pattern.expression.String(), 200))
	}
}

func (c *check) number(n *node, value *big.Rat, at *place, f *findings) {
	c.take(4)
	switch {
	case n.minimum != nil && value.Cmp(n.minimum) < 0:
		f.wrong(at, "it must be %s or more", decimal(n.minimum))
	case n.above != nil && value.Cmp(n.above) <= 0:
		f.wrong(at, "it must be more than %s", decimal(n.above))
	case n.maximum != nil && value.Cmp(n.maximum) > 0:
		f.wrong(at, "it must be %s or less", decimal(n.maximum))
	case n.below != nil && value.Cmp(n.below) >= 0:
		f.wrong(at, "it must be less than %s", decimal(n.below))
	case n.multiple != nil && !new(big.Rat).Quo(value, n.multiple).IsInt():
		f.wrong(at, "it must be a multiple of %s", decimal(n.multiple))
	}
}

// decimal writes a number as people do.
func decimal(r *big.Rat) string {
	if r.IsInt() {
		return clip(r.RatString(), 40)
	}
	return strings.TrimRight(clip(r.FloatString(12), 60), "0")
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func are(n int) string {
	if n == 1 {
		return "there is 1 item"
	}
	return fmt.Sprintf("there are %d items", n)
}
