package manual

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// Document is the manual of all commands in Markdown. The shared flags are listed once, at the end.
func Document(root *cli.Command, shared []cli.Flag) string {
	var b strings.Builder
	b.WriteString("# The commands\n\n<!-- Printed from the commands by `make generate`: change their pages there. -->\n\n" +
		"`elemental COMMAND --help` shows the same on a terminal. As `kubectl-elemental` in your PATH, a link to `elemental`, the\n" +
		"program is a plugin of kubectl: `kubectl elemental hosts`.\n\n" +
		"Flags stand before the command, behind it, or among its arguments, as `-n x`, `-nx`, `-n=x`, `--namespace x` or\n" +
		"`--namespace=x`; a lone `--` ends them. kubectl lets no flag stand between its own name and that of a plugin.\n")
	group := ""
	for _, path := range Walk(root) {
		c := path[len(path)-1]
		if path[1].Category != group {
			group = path[1].Category
			b.WriteString("\n# " + group + "\n")
		}
		writeCommand(&b, path, c)
	}
	b.WriteString("\n# kubectl's flags\n\nThey work with every command that asks the cluster.\n\n")
	for _, f := range shared {
		flag := FlagOf(f)
		fmt.Fprintf(&b, "- `%s`: %s\n", flag, flag.Meaning())
	}
	return b.String()
}

// Walk returns the ways to all commands that are shown, each below the one it belongs to.
func Walk(root *cli.Command) [][]*cli.Command {
	var all [][]*cli.Command
	var below func(path []*cli.Command)
	below = func(path []*cli.Command) {
		for _, c := range path[len(path)-1].Subcommands {
			if !c.Hidden {
				way := append(slices.Clone(path), c)
				all = append(all, way)
				below(way)
			}
		}
	}
	below([]*cli.Command{root})
	return all
}

func writeCommand(b *strings.Builder, path []*cli.Command, c *cli.Command) {
	page := Read(c.Description)
	fmt.Fprintf(b, "\n## %s\n\n%s%s.\n\n```\n%s\n```\n", Name(path), strings.ToUpper(c.Usage[:1]), c.Usage[1:], synopsis(path))
	if page.Text != "" {
		b.WriteString("\n" + markdown(page.Text) + "\n")
	}
	for i, f := range slices.DeleteFunc(flagsOf(c), func(f Flag) bool { return f.Hidden }) {
		if i == 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(b, "- `%s`: %s\n", f, f.Meaning())
	}
	if len(page.Examples) > 0 {
		b.WriteString("\n```sh\n")
		for _, e := range page.Examples {
			fmt.Fprintf(b, "# %s\n%s\n", e.Does, e.Line)
		}
		b.WriteString("```\n")
	}
	if len(page.Statuses) > 0 {
		b.WriteString("\nExit status:\n\n")
		for _, s := range withStatuses(page) {
			fmt.Fprintf(b, "- %d: %s\n", s.Code, s.Means)
		}
	}
}

func flagsOf(c *cli.Command) []Flag {
	var flags []Flag
	for _, f := range c.Flags {
		flags = append(flags, FlagOf(f))
	}
	return flags
}

// markdown puts what is shown as it is between fences.
func markdown(text string) string {
	var lines []string
	fenced := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n ")
		if verbatim := strings.HasPrefix(line, "  "); verbatim != fenced && (verbatim || line != "") {
			if fenced = verbatim; fenced {
				lines = append(lines, "", "```")
			} else {
				lines = append(lines, "```", "")
			}
		}
		lines = append(lines, strings.TrimPrefix(line, "  "))
	}
	if fenced {
		lines = append(lines, "```")
	}
	return strings.Join(lines, "\n")
}
