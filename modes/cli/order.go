package cli

import (
	"cmp"
	"slices"
	"strings"

	"elemental/core"
	"elemental/ports"
)

// orders are what hosts can be sorted by.
func orders() []string { return []string{"name", "age", "phase", "ready", "version"} }

// orderBy compares two hosts by what is named; nil: there is no such order. Hosts that are alike in it stay in that of
// their names.
func orderBy(what string) func(a, b ports.Target) int {
	switch what {
	case "name":
		return func(a, b ports.Target) int {
			return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
		}
	case "age":
		return func(a, b ports.Target) int { return a.Created.Compare(b.Created) }
	case "phase":
		place := func(t ports.Target) int { return slices.Index(core.Phases(), t.Phase) }
		return func(a, b ports.Target) int { return cmp.Compare(place(a), place(b)) }
	case "ready":
		place := func(t ports.Target) int {
			return slices.Index([]core.ConditionStatus{core.False, core.Unknown, "", core.True}, readiness(t))
		}
		return func(a, b ports.Target) int { return cmp.Compare(place(a), place(b)) }
	case "version":
		return func(a, b ports.Target) int {
			return compareVersions(versionName(a.OSVersion.Booted), versionName(b.OSVersion.Booted))
		}
	default:
		return nil
	}
}

// compareVersions compares as people do: v1.9 comes before v1.10.
func compareVersions(a, b string) int {
	for a != "" && b != "" {
		var wordA, wordB, numberA, numberB string
		wordA, numberA, a = chunk(a)
		wordB, numberB, b = chunk(b)
		c := cmp.Or(cmp.Compare(wordA, wordB), cmp.Compare(len(numberA), len(numberB)), cmp.Compare(numberA, numberB))
		if c != 0 {
			return c
		}
	}
	return cmp.Compare(a, b)
}

// chunk takes off the beginning of a version all up to a number, and the number without leading zeros.
func chunk(version string) (word, number, rest string) {
	digits := "0123456789"
	begin := strings.IndexAny(version, digits)
	if begin < 0 {
		return version, "", ""
	}
	rest = strings.TrimLeft(version[begin:], digits)
	number = strings.TrimLeft(version[begin:len(version)-len(rest)], "0")
	return version[:begin], number, rest
}
