package plugin

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"elemental/modes/manual"
)

func testCommand() *cli.Command {
	return &cli.Command{
		Name: "test", Usage: "test whether a plugin keeps to the plugin protocol", ArgsUsage: "NAME",
		Description: manual.Page{
			Text: "Runs a plugin in a work dir of its own, as the agent does, and says of each thing that a plugin must do whether it\n" +
				"does it. Without --stage, --configure and --reset nothing is changed on this machine.",
			Examples: []manual.Example{
				{Does: "Test a built-in plugin.", Line: "elemental plugin test dummy"},
				{Does: "Test one of your own, and let it do what it is for.", Line: "elemental plugin test ./my-plugin --request request.json --stage"},
			},
			Statuses: []manual.Status{{Code: 0, Means: "all is as it must be"}, {Code: 1, Means: "something is not as it must be"}},
			See:      []string{"docs/plugin-protocol.md"},
		}.String(),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "request", Usage: "the `FILE` with an osVersionManagement that the plugin understands, as JSON; by default nothing is requested"},
			&cli.BoolFlag{Name: "stage", Usage: "also stage the request, on this machine, and kill the plugin meanwhile"},
			&cli.BoolFlag{Name: "configure", Usage: "also let the plugin name this machine, as it is named, and install a cloud config and take it away again"},
			&cli.BoolFlag{Name: "reset", Usage: "also let the plugin reset this machine, by which all that is on it may be lost"},
			&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "show the plugin's log"},
		},
		Action: func(c *cli.Context) error {
			if c.Bool("stage") && c.String("request") == "" {
				return cli.Exit("--stage needs --request", 2)
			}
			test := trial{name: c.Args().First(), stage: c.Bool("stage"), configure: c.Bool("configure"), reset: c.Bool("reset"), verbose: c.Bool("verbose"), out: c.App.Writer}
			if file := c.String("request"); file != "" {
				var err error
				if test.document, err = os.ReadFile(file); err != nil {
					return fmt.Errorf("reading the request: %w", err)
				}
				// What no cluster could hand on is no test of the plugin.
				var whole map[string]any
				if err := json.Unmarshal(test.document, &whole); err != nil || whole == nil {
					return cli.Exit(fmt.Sprintf("reading the request: %s does not hold an osVersionManagement as one JSON object, such as "+
						`{"packages":{"install":["curl"]}}`, file), 2)
				}
			}
			return test.run(c.Context)
		},
	}
}

// trial is one conformance test and its report.
type trial struct {
	name                             string
	document                         []byte
	stage, configure, reset, verbose bool
	out                              io.Writer

	ok, failed, skipped int
}

// say writes the outcome of one check.
func (t *trial) say(what, skipped string, err error, log string) {
	switch {
	case err != nil:
		t.failed++
		fmt.Fprintf(t.out, "FAILED  %s: %s\n", what, told(err.Error()))
	case skipped != "":
		t.skipped++
		fmt.Fprintf(t.out, "skipped %s (%s)\n", what, told(skipped))
	default:
		t.ok++
		fmt.Fprintf(t.out, "ok      %s\n", what)
	}
	if !t.verbose {
		return
	}
	for line := range strings.Lines(log) {
		fmt.Fprintln(t.out, "        | "+printable(strings.TrimRight(line, "\n")))
	}
}

// told puts an error of several lines on one.
func told(text string) string { return printable(strings.ReplaceAll(text, "\n", "; ")) }

// end writes the sum of it all.
func (t *trial) end() error {
	fmt.Fprintf(t.out, "%d ok, %d failed, %d skipped\n", t.ok, t.failed, t.skipped)
	if t.failed > 0 {
		return cli.Exit(fmt.Sprintf("the plugin %s does not keep to the protocol", t.name), 1)
	}
	return nil
}
