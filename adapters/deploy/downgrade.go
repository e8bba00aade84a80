package deploy

import (
	"cmp"
	"fmt"
	"strings"
)

// checkDowngrade asks the host whether it takes an image that is older than the one that runs, or that can't be compared
// with it. All that is known before anything is fetched is what images say of themselves by their label.
func (s *staging) checkDowngrade() error {
	if s.engine.Downgrade == nil {
		return nil
	}
	running, runs := s.state.records[s.state.booted]
	wanted := s.image.Version
	switch order, ordered := CompareVersions(wanted, running.ImageVersion); {
	case s.state.booted == "" || !runs:
		return s.engine.Downgrade(fmt.Sprintf("%s can't be compared with what runs, which is no image that was staged on this host", s.want.ImageURI))
	case wanted == "":
		return s.engine.Downgrade(s.want.ImageURI + " can't be compared with what runs, since it has no label org.opencontainers.image.version")
	case running.ImageVersion == "":
		return s.engine.Downgrade(fmt.Sprintf("%s can't be compared with what runs, %s: when that was staged, it was not known to have a label org.opencontainers.image.version",
			s.want.ImageURI, running.version()))
	case !ordered:
		return s.engine.Downgrade(fmt.Sprintf("%s is version %.100q, which can't be compared with version %.100q that runs", s.want.ImageURI, wanted, running.ImageVersion))
	case order < 0:
		return s.engine.Downgrade(fmt.Sprintf("%s is version %.100q, which is older than version %.100q that runs", s.want.ImageURI, wanted, running.ImageVersion))
	default:
		return nil
	}
}

// CompareVersions orders two versions as Semantic Versioning does, but with any number of numbers, and with or without a
// v before them. Not all versions can be compared: one without numbers has no order, and whether 1.2-3 is before 1.2 or
// after it depends on who made them.
func CompareVersions(a, b string) (order int, ordered bool) {
	numbersA, suffixA, okA := splitVersion(a)
	numbersB, suffixB, okB := splitVersion(b)
	if !okA || !okB {
		return 0, false
	}
	for i := range max(len(numbersA), len(numbersB)) {
		if order := compareNumbers(at(numbersA, i), at(numbersB, i)); order != 0 {
			return order, true
		}
	}
	switch {
	case suffixA == suffixB:
		return 0, true
	case suffixA == "":
		return 1, !startsWithDigit(suffixB)
	case suffixB == "":
		return -1, !startsWithDigit(suffixA)
	default:
		return compareSuffixes(strings.Split(suffixA, "."), strings.Split(suffixB, ".")), true
	}
}

// longestVersion is how many bytes of a version are looked at, at most.
const longestVersion = 128

// splitVersion splits v1.2.3-rc.1+build into its numbers and its suffix.
func splitVersion(version string) (numbers []string, suffix string, ok bool) {
	if len(version) > longestVersion {
		return nil, "", false
	}
	version, _, _ = strings.Cut(strings.TrimPrefix(version, "v"), "+")
	version, suffix, cut := strings.Cut(version, "-")
	numbers = strings.Split(version, ".")
	for _, n := range numbers {
		if !isNumber(n) {
			return nil, "", false
		}
	}
	if cut {
		for part := range strings.SplitSeq(suffix, ".") {
			if part == "" || strings.Trim(part, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-") != "" {
				return nil, "", false
			}
		}
	}
	return numbers, suffix, true
}

// compareSuffixes orders the parts of two suffixes: numbers before words, and the shorter before the longer.
func compareSuffixes(a, b []string) int {
	for i := range min(len(a), len(b)) {
		numberA, numberB := isNumber(a[i]), isNumber(b[i])
		order := strings.Compare(a[i], b[i])
		switch {
		case numberA && numberB:
			order = compareNumbers(a[i], b[i])
		case numberA:
			order = -1
		case numberB:
			order = 1
		}
		if order != 0 {
			return order
		}
	}
	return cmp.Compare(len(a), len(b))
}

// compareNumbers orders two decimal numbers of any length.
func compareNumbers(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
}

func isNumber(text string) bool { return text != "" && strings.Trim(text, "0123456789") == "" }

func startsWithDigit(text string) bool { return text != "" && isNumber(text[:1]) }

// at is a number of a version; those that it does not have are 0.
func at(numbers []string, i int) string {
	if i < len(numbers) {
		return numbers[i]
	}
	return "0"
}
