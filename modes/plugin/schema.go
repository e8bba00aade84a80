package plugin

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

func schemaCommand() *cli.Command {
	return &cli.Command{
		Name: "schema", Usage: "print the JSON Schemas of the plugin protocol", ArgsUsage: "[" + strings.Join(schemaNames(), "|") + "]",
		Description: "Without a name all of them are printed, as the members of one object. An answer is one line of what a plugin\n" +
			"writes; a description and an observation are the results of describe and observe.",
		Action: func(c *cli.Context) error {
			if c.NArg() == 0 {
				return printSchemas(c)
			}
			name, err := one(c, "schema")
			if err != nil {
				return err
			}
			text := wireSchema(name)
			if text == nil {
				return cli.Exit(fmt.Sprintf("there is no schema %q; there are: %s", name, strings.Join(schemaNames(), ", ")), 2)
			}
			_, err = c.App.Writer.Write(text)
			return err
		},
	}
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
