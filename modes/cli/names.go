package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"elemental/core"
)

// namesOf reads names as they were typed. They may stand behind their kind, as -o name writes them and kubectl takes them.
func namesOf(kind core.Kind, typed []string) ([]string, error) {
	resource := "elemental" + string(kind)
	names := make([]string, len(typed))
	for i, text := range typed {
		before, name, behind := strings.Cut(text, "/")
		if !behind {
			before, name = resource, text
		}
		before, _, _ = strings.Cut(before, ".")
		known := slices.Contains([]string{resource, resource + "s", string(kind), string(kind) + "s"}, before)
		switch {
		case name == "":
			return nil, errors.New("the name of a " + string(kind) + " is empty")
		case strings.ContainsAny(name, "/%") || !known:
			return nil, fmt.Errorf("%q is no name of a %s, nor %s/NAME", text, kind, resource)
		}
		names[i] = name
	}
	return names, nil
}
