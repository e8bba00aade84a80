package schema

import (
	"maps"
	"slices"
)

// Field is one field that a schema knows.
type Field struct {
	Name        string
	Path        string // as Check writes it; [] stands for each item of a list
	Depth       int    // how many fields it is within
	Type        string // for people: string, array of object
	Required    bool
	Description string
}

// Fields lists the fields that a schema names, each before those within it. What refers to itself is told once.
func (s *Schema) Fields() []Field {
	l := lister{open: map[*node]bool{}, told: map[string]bool{}, left: maxVisits}
	l.list(s.root, nil, 0)
	return l.fields
}

const (
	maxFields = 500
	maxVisits = 10_000
	maxLevels = 16
)

type lister struct {
	fields []Field
	open   map[*node]bool  // those that are being listed
	told   map[string]bool // by path
	left   int             // visits
}

func (l *lister) list(n *node, at *place, depth int) {
	if l.left--; l.left < 0 || l.open[n] || depth > maxLevels {
		return
	}
	l.open[n] = true
	defer delete(l.open, n)
	for _, name := range n.names {
		at := at.in(clip(name, 256))
		path := at.String()
		if len(l.fields) == maxFields || l.told[path] {
			continue
		}
		l.told[path] = true
		next := n.properties[name].target()
		description := n.properties[name].description
		if description == "" {
			description = next.description
		}
		l.fields = append(l.fields, Field{
			Name: at.name, Path: path, Depth: depth, Type: next.words(0), Required: slices.Contains(n.required, name),
			Description: description,
		})
		l.list(next, at, depth+1)
	}
	if n.items != nil && at.depth() < 2*maxLevels {
		l.list(n.items.target(), at.at(-1), depth)
	}
	for _, part := range slices.Concat(n.all, n.some, n.one) {
		l.list(part.target(), at, depth)
	}
	for _, name := range slices.Sorted(maps.Keys(n.needsSchemas)) {
		l.list(n.needsSchemas[name].target(), at, depth)
	}
}

// target follows references.
func (n *node) target() *node {
	for n.ref != nil {
		n = n.ref
	}
	return n
}

// words writes the type of a schema.
func (n *node) words(depth int) string {
	switch {
	case n.fixed != nil:
		return shown(n.fixed.list[0])
	case n.values != nil:
		words := make([]string, 0, len(n.values.list))
		for _, value := range n.values.list {
			words = append(words, shown(value))
		}
		return shorten(words)
	case len(n.types) == 1 && n.types[0] == "array" && n.items != nil && depth < 4:
		return "array of " + n.items.target().words(depth+1)
	case len(n.types) > 0:
		return or(n.types)
	default:
		return "any"
	}
}
