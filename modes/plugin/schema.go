package plugin

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"elemental/modes/manual"
)

func schemaCommand() *cli.Command {
	return &cli.Command{
		Name: "schema", Usage: "print the JSON Schemas of the plugin protocol", ArgsUsage: "[" + strings.Join(schemaNames(), "|") + "]",
		Description: manual.Page{
			Text: "Prints what the messages of the plugin protocol look like. Without a name all schemas are printed, as the members of\n" +
				"one object. An answer is one line of what a plugin writes; a description and an observation are the results of\n" +
				"describe and observe.",
			Examples: []manual.Example{{Does: "Keep the schema of an observation, to test a plugin with.", Line: "elemental plugin schema observation > observation.json"}},
			See:      []string{"docs/plugin-protocol.md"},
		}.String(),
		Action: func(c *cli.Context) error {
			if c.NArg() == 0 {
				return printSchemas(c)
			}
			return printSchema(c, c.Args().First())
		},
	}
}

func printSchema(c *cli.Context, name string) error {
	text := wireSchema(name)
	if text == nil {
		return cli.Exit(fmt.Sprintf("there is no schema %q; there are: %s", name, strings.Join(schemaNames(), ", ")), 2)
	}
	_, err := c.App.Writer.Write(text)
	return err
}

func printSchemas(c *cli.Context) error {
	all := map[string]json.RawMessage{}
	for _, name := range schemaNames() {
		all[name] = wireSchema(name)
	}
	out := json.NewEncoder(c.App.Writer)
	out.SetEscapeHTML(false)
	out.SetIndent("", "  ")
	return out.Encode(all)
}
