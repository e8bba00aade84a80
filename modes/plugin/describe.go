package plugin

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/urfave/cli/v2"

	"elemental/core"
	"elemental/modes/manual"
	"elemental/ports"
)

// field is one field of osVersionManagement, as a plugin's schema names it.
type field struct {
	name, kind, description string
	depth                   int
	required                bool
}

// described is a plugin as it describes itself.
type described struct {
	ports.Description
	where  string // its file; empty when it is built in
	fields []field
	broken error // why its schema can't be used
}

func describeCommand() *cli.Command {
	return &cli.Command{
		Name: "describe", Usage: "show what a plugin can, and the fields of osVersionManagement that it knows", ArgsUsage: "NAME",
		Description: manual.Page{
			Text: "Asks a plugin to describe itself, as the agent does, and shows its version, its verbs, and each field that a request\n" +
				"may have. It changes nothing.",
			Examples: []manual.Example{
				{Does: "Show what may stand in osVersionManagement for the plugin image.", Line: "elemental plugin describe image"},
				{Does: "Print its JSON Schema and all else that it says of itself.", Line: "elemental plugin describe image -o json"},
			},
			See: []string{"docs/plugin-protocol.md", "docs/plugins.md"},
		}.String(),
		Flags: []cli.Flag{&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "text", Usage: "print as `text|json`"}},
		Action: func(c *cli.Context) error {
			form := c.String("output")
			if form != "text" && form != "json" {
				return cli.Exit(fmt.Sprintf("--output is %q: it must be text or json", form), 2)
			}
			d, err := describe(c.Context, c.Args().First())
			if err != nil {
				return err
			}
			if form == "json" {
				return d.writeJSON(c.App.Writer)
			}
			d.writeText(c.App.Writer)
			return nil
		},
	}
}

// writeJSON writes the description as the protocol does.
func (d described) writeJSON(to io.Writer) error {
	out := json.NewEncoder(to)
	out.SetIndent("", "  ")
	return out.Encode(struct {
		Name      string          `json:"name"`
		Protocols []string        `json:"protocols"`
		Verbs     []core.Verb     `json:"verbs"`
		Restarts  bool            `json:"restarts"`
		Schema    json.RawMessage `json:"schema,omitempty"`
	}{d.Name, d.Protocols, d.Verbs, d.Restarts, d.Schema})
}

func (d described) writeText(to io.Writer) {
	where, restarts := "built in", "no"
	if d.where != "" {
		where = d.where
	}
	if d.Restarts {
		restarts = "yes, its versions come true by a restart of the host"
	}
	verbs := make([]string, 0, len(d.Verbs))
	for _, verb := range d.Verbs {
		verbs = append(verbs, string(verb))
	}
	for _, row := range [][2]string{
		{"Name", d.Name}, {"Where", where}, {"Protocols", strings.Join(d.Protocols, ", ")}, {"Verbs", strings.Join(verbs, ", ")}, {"Restarts", restarts},
	} {
		fmt.Fprintf(to, "%-11s%s\n", row[0]+":", printable(row[1]))
	}
	switch {
	case d.broken != nil:
		fmt.Fprintf(to, "\nIts schema can't be used: %s\n", printable(d.broken.Error()))
	case len(d.Schema) == 0:
		fmt.Fprint(to, "\nIt publishes no schema of osVersionManagement.\n")
	case len(d.fields) == 0:
		fmt.Fprint(to, "\nIts schema of osVersionManagement names no fields.\n")
	default:
		fmt.Fprint(to, "\nosVersionManagement:\n")
		for _, f := range d.fields {
			f.write(to)
		}
	}
}

func (f field) write(to io.Writer) {
	indent := strings.Repeat("  ", f.depth+1)
	required := ""
	if f.required {
		required = ", required"
	}
	fmt.Fprintf(to, "%s%s (%s%s)\n", indent, printable(f.name), printable(f.kind), required)
	if f.description != "" {
		fmt.Fprintf(to, "%s    %s\n", indent, printable(f.description))
	}
}

// printable takes out what a terminal would obey: a plugin may be anyone's.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '\uFFFD'
	}, text)
}
