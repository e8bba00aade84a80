package cli

import "elemental/core"

// palette paints words on terminals that want it. What a colour says, the word says too.
type palette bool

// coloured says whether a terminal is to show colours: not where someone asked for none. Source: no-color.org.
func coloured(terminal int, environment func(string) string) bool {
	return terminal > 0 && environment("NO_COLOR") == "" && environment("TERM") != "dumb"
}

// paint colours a word by how the host stands of which it speaks.
func (p palette) paint(health core.Health, word string) string {
	switch {
	case !bool(p):
		return word
	case health == core.HealthReady:
		return "\033[32m" + word + "\033[0m"
	case health == core.HealthUpdating, health == core.HealthRetrying, health == core.HealthWaiting:
		return "\033[33m" + word + "\033[0m"
	case health == core.HealthRolledBack, health == core.HealthFailed:
		return "\033[31m" + word + "\033[0m"
	default:
		return word
	}
}

// title makes a word stand out.
func (p palette) title(word string) string {
	if !bool(p) {
		return word
	}
	return "\033[1m" + word + "\033[0m"
}
