package cli

import (
	"errors"
	"flag"
	"io"
	"slices"

	"github.com/urfave/cli/v2"
)

// arguments returns what is not a flag, and takes the flags that stand after it, where the library stops
// looking but kubectl's users put them.
func arguments(c *cli.Context) ([]string, error) {
	var words []string
	rest := c.Args().Slice()
	for len(rest) > 0 {
		words = append(words, rest[0])
		late := flag.NewFlagSet(c.Command.Name, flag.ContinueOnError)
		late.SetOutput(io.Discard)
		for _, f := range c.Command.Flags {
			if err := f.Apply(late); err != nil {
				return nil, usage(c, err)
			}
		}
		if err := late.Parse(rest[1:]); err != nil {
			return nil, usage(c, err)
		}
		var failed error
		late.Visit(func(given *flag.Flag) { failed = errors.Join(failed, set(c, given)) })
		if failed != nil {
			return nil, usage(c, failed)
		}
		rest = late.Args()
	}
	if c.Bool("help") {
		return nil, errors.Join(cli.ShowSubcommandHelp(c), cli.Exit("", 0))
	}
	return words, nil
}

// set gives a flag its value under every name that it has.
func set(c *cli.Context, given *flag.Flag) error {
	for _, f := range c.Command.Flags {
		if !slices.Contains(f.Names(), given.Name) {
			continue
		}
		for _, name := range f.Names() {
			if err := c.Set(name, given.Value.String()); err != nil {
				return err
			}
		}
	}
	return nil
}
