package cli

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

// didYouMean completes an error about a word that is not known, if a known one is near.
func didYouMean(typed string, known []string) string {
	bare := strings.TrimLeft(typed, "-")
	best, least := "", len(bare)/3+2 // so many changes make another word of it
	for _, k := range known {
		name := strings.TrimLeft(k, "-")
		d := distance(bare, name)
		if len(bare) > 1 && strings.HasPrefix(name, bare) {
			d = 0 // It was not written to its end.
		}
		if d < least {
			best, least = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %s?", best)
}

// distance counts the letters that must be put in, left out, replaced or swapped with the next.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

func commandNames(c *cli.Command) []string {
	var names []string
	for _, sub := range c.Subcommands {
		if !sub.Hidden {
			names = append(names, sub.Name)
		}
	}
	return names
}

// flagNames are those of a command and of the ones below it, where they may stand.
func flagNames(c *cli.Command) []string {
	names := []string{"--help"}
	for _, f := range c.Flags {
		for _, n := range f.Names() {
			if len(n) > 1 {
				names = append(names, "--"+n)
			}
		}
	}
	for _, sub := range c.Subcommands {
		names = append(names, flagNames(sub)...)
	}
	return names
}
