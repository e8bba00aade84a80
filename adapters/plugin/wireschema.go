package plugin

import (
	"embed"
	"slices"
	"strings"
)

//go:embed schemas/*.json
var wireSchemas embed.FS

// WireSchema returns the JSON Schema of a part of the protocol: request, answer (one line of it), description
// or observation (the results of those verbs). It is nil for any other name.
func WireSchema(name string) []byte {
	if !slices.Contains(WireSchemas(), name) {
		return nil
	}
	text, err := wireSchemas.ReadFile("schemas/" + name + ".json")
	if err != nil {
		return nil // It is part of the binary.
	}
	return text
}

// WireSchemas lists the parts of the protocol that have a schema.
func WireSchemas() []string {
	entries, err := wireSchemas.ReadDir("schemas")
	if err != nil {
		return nil // They are part of the binary.
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".json"))
	}
	return names
}
