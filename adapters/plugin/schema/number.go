package schema

import (
	"encoding/json"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"
)

// number reads a number that bounded has let pass.
func number(n json.Number) *big.Rat {
	r, _ := new(big.Rat).SetString(n.String())
	if r == nil {
		return new(big.Rat)
	}
	return r
}

// bounded says whether a number can be calculated with at little cost: 1e1000000000 is a short text.
func bounded(n json.Number) bool {
	digits, exponent, scientific := strings.Cut(strings.ToLower(n.String()), "e")
	if len(digits) > maxDigits {
		return false
	}
	e, err := strconv.Atoi(exponent)
	return !scientific || err == nil && e >= -maxDigits && e <= maxDigits
}

// oversized finds a number that is not bounded, and returns a place within it; nil when there is none.
func oversized(value any, at *place) *place {
	switch v := value.(type) {
	case json.Number:
		if !bounded(v) {
			return &place{up: at}
		}
	case []any:
		for i, item := range v {
			if found := oversized(item, at.at(i)); found != nil {
				return found
			}
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if found := oversized(v[name], at.in(name)); found != nil {
				return found
			}
		}
	}
	return nil
}

// identity writes a value so that equal values, 1 and 1.0 among them, have the same text.
func identity(value any) string {
	var text strings.Builder
	writeIdentity(&text, value)
	return text.String()
}

func writeIdentity(text *strings.Builder, value any) {
	switch v := value.(type) {
	case nil:
		text.WriteString("null")
	case bool:
		text.WriteString(strconv.FormatBool(v))
	case json.Number:
		text.WriteString(number(v).RatString())
	case string:
		text.WriteString(strconv.Quote(v))
	case []any:
		text.WriteByte('[')
		for _, item := range v {
			writeIdentity(text, item)
			text.WriteByte(',')
		}
		text.WriteByte(']')
	case map[string]any:
		text.WriteByte('{')
		for _, name := range slices.Sorted(maps.Keys(v)) {
			text.WriteString(strconv.Quote(name) + ":")
			writeIdentity(text, v[name])
			text.WriteByte(',')
		}
		text.WriteByte('}')
	}
}

// weight is about how many steps it takes to look at all of a value.
func weight(value any) int {
	sum := 1
	switch v := value.(type) {
	case string:
		sum += len(v) / 64
	case json.Number:
		sum += 4
	case []any:
		for _, item := range v {
			sum += weight(item)
		}
	case map[string]any:
		for name, member := range v {
			sum += 1 + len(name)/64 + weight(member)
		}
	}
	return sum
}
