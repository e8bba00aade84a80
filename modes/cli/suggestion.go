package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"elemental/core"
)

// didYouMean completes an error about a word that is not known, if a known one is near.
func didYouMean(typed string, known []string) string {
	bare := make([]string, len(known))
	for i, k := range known {
		bare[i] = strings.TrimLeft(k, "-")
	}
	best := slices.Index(bare, core.Nearest(strings.TrimLeft(typed, "-"), bare))
	if best < 0 {
		return ""
	}
	return fmt.Sprintf("; did you mean %s?", known[best])
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
