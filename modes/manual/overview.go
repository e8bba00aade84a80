package manual

import (
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// Overview prints what the program can be: its commands in their groups, which their Category names.
func Overview(out io.Writer, width int, root *cli.Command) error {
	s := newSheet(width, root.Name)
	s.lines("", "", strings.ToUpper(root.Usage[:1])+root.Usage[1:]+".")
	var groups []string
	most := 0
	for _, c := range root.Subcommands {
		if c.Hidden {
			continue
		}
		if !slices.Contains(groups, c.Category) {
			groups = append(groups, c.Category)
		}
		most = max(most, len(c.Name))
	}
	for _, group := range groups {
		s.WriteString("\n" + group + ":\n")
		for _, c := range root.Subcommands {
			if !c.Hidden && c.Category == group {
				s.item(2, most+5, c.Name, c.Usage)
			}
		}
	}
	s.WriteString("\n")
	s.lines("", "", s.named("`elemental COMMAND --help` tells all about a command, with examples."))
	_, err := io.WriteString(out, s.String())
	return err
}

// Options prints flags as kubectl prints its own.
func Options(out io.Writer, width int, flags []cli.Flag) error {
	s := newSheet(width, "elemental")
	s.lines("", "", "The following options can be passed to any command that asks the cluster:")
	for _, f := range flags {
		flag := FlagOf(f)
		equals := ""
		if flag.Placeholder != "" || !strings.HasPrefix(flag.Default, "false") && flag.Default != "" {
			equals = "=" + flag.Placeholder
		}
		s.WriteString("\n    " + strings.Join(flag.Names, ", ") + equals + "\n")
		s.wrap(8, flag.Meaning())
	}
	_, err := io.WriteString(out, s.String())
	return err
}
