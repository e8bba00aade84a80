// Package schema holds documents against JSON Schemas, and says in words for people which field is wrong.
//
// A schema comes from a plugin, and may reach an operator by way of a host that someone else took over. So
// nothing in it is trusted: it refers to nothing outside itself, and what compiling it and checking with it
// may cost is bounded, whatever it says. It is JSON Schema of the draft 2020-12 without what would break
// that: see unsupported. Known validators have no such bounds, and one compiles the standard's own schemas
// in every process that is linked with it; the tests use it to hold this package against the standard.
package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"elemental/core"
)

// The reasons of the failures that Check returns.
const (
	ReasonMalformed    = "Malformed"    // no JSON, or JSON that could be read in two ways
	ReasonUnknownField = "UnknownField" // the schema knows no such field
	ReasonMissingField = "MissingField"
	ReasonWrongType    = "WrongType"
	ReasonWrongValue   = "WrongValue"
)

const (
	// MaxSchema is how large a schema may be, in bytes.
	MaxSchema = 64 << 10
	// MaxDocument is how large a document may be, in bytes. The API server holds none that is much larger.
	MaxDocument = 1 << 20

	maxNodes    = 4096    // schemas within one schema
	maxPointers = 4 << 20 // bytes of the pointers to all of these
	maxPrograms = 50_000  // instructions of all its regular expressions
	maxSteps    = 1 << 18 // of one check; a step takes about as long as comparing two words
	maxDigits   = 400     // of a number, written out
)

// Schema is a compiled schema. It may be used from several goroutines.
type Schema struct{ root *node }

// Compile reads a JSON Schema. The error says where it is wrong, as a pointer into it.
func Compile(text []byte) (*Schema, error) {
	if len(text) > MaxSchema {
		return nil, fmt.Errorf("reading the schema: it has %d bytes, and may have %d", len(text), MaxSchema)
	}
	document, err := read(text)
	if err != nil {
		return nil, fmt.Errorf("reading the schema: %w", err)
	}
	c := compiler{document: document, nodes: map[string]*node{}}
	root, err := c.compile("", document)
	if err == nil {
		err = endless(c.nodes)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the schema: %w", err)
	}
	return &Schema{root: root}, nil
}

// Check holds a document against the schema. The error is a core.Failure of class invalid with the path of
// the field at fault. No value of the document stands in it, since values may be secrets.
func (s *Schema) Check(document []byte) error {
	if len(document) > MaxDocument {
		return invalid(ReasonWrongValue, nil, fmt.Sprintf("the document has %d bytes, and may have %d", len(document), MaxDocument))
	}
	value, err := read(document)
	if err != nil {
		return invalid(ReasonMalformed, nil, err.Error())
	}
	if at := oversized(value, nil); at != nil {
		return invalid(ReasonWrongValue, at.up, fmt.Sprintf("the number is out of bounds: it may have %d digits", maxDigits))
	}
	c := check{left: maxSteps}
	problems := c.value(s.root, value, nil)
	switch {
	case c.spent():
		return invalid(ReasonWrongValue, nil, "checking the document against its schema takes too long; make the document smaller, or the schema simpler")
	case len(problems) > 0:
		first := worst(problems)
		return invalid(first.reason, first.at, first.message)
	default:
		return nil
	}
}

func invalid(reason string, at *place, message string) error {
	return core.Failure{Class: core.FailureInvalid, Reason: reason, Message: clip(message, 1024), Path: clip(at.String(), 512)}
}

// read reads a document that has one meaning only, and is not nested without end. Its numbers are json.Numbers.
func read(text []byte) (any, error) {
	canonical, err := core.CanonicalJSON(text)
	if err != nil {
		return nil, err
	}
	if canonical == nil {
		return nil, errors.New("reading JSON: there is no document")
	}
	var value any
	decoder := json.NewDecoder(bytes.NewReader(canonical))
	decoder.UseNumber()
	if err := decoder.Decode(&value); err != nil {
		return nil, fmt.Errorf("reading JSON: %w", err)
	}
	return value, nil
}

// place is where a value stands in a document; nil is its top.
type place struct {
	up    *place
	name  string
	index int // in a list, where field is false; below 0: each of its items
	field bool
	deep  int // how far below the top
}

func (p *place) in(name string) *place {
	return &place{up: p, name: name, field: true, deep: p.depth() + 1}
}

func (p *place) at(index int) *place { return &place{up: p, index: index, deep: p.depth() + 1} }

func (p *place) depth() int {
	if p == nil {
		return 0
	}
	return p.deep
}

// String writes a place as people do: osVersion.healthChecks[0].unit, and labels["a.b"] where a name is no word.
func (p *place) String() string { return p.below(nil) }

// below writes a place as it is seen from one above it.
func (p *place) below(top *place) string {
	var parts []*place
	for ; p != nil && p.depth() > top.depth(); p = p.up {
		parts = append(parts, p)
	}
	var text strings.Builder
	for _, part := range slices.Backward(parts) {
		switch {
		case !part.field && part.index < 0:
			text.WriteString("[]")
		case !part.field:
			text.WriteString("[" + strconv.Itoa(part.index) + "]")
		case !isWord(part.name):
			text.WriteString("[" + strconv.Quote(part.name) + "]")
		default:
			if text.Len() > 0 {
				text.WriteByte('.')
			}
			text.WriteString(part.name)
		}
	}
	return text.String()
}

func isWord(name string) bool {
	for i, r := range name {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '_' || r == '$'
		if !letter && (i == 0 || (r < '0' || r > '9') && r != '-') {
			return false
		}
	}
	return name != ""
}

// clip keeps the beginning of a text, never half a character.
func clip(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}
