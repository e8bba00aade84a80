package modes

import (
	"flag"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"
	"github.com/urfave/cli/v2"

	operator "elemental/modes/cli"
	"elemental/modes/manual"
)

var rewrite = flag.Bool("rewrite", false, "write docs/commands.md")

func tree() *cli.Command {
	app := App("v1", "elemental")
	return &cli.Command{Name: app.Name, Usage: app.Usage, Subcommands: app.Commands}
}

// clusterFlags are those that every command has that asks the cluster.
func clusterFlags(root *cli.Command) []cli.Flag {
	var flags []cli.Flag
	for _, f := range root.Command("hosts").Flags {
		if g, ok := f.(*cli.GenericFlag); ok {
			flags = append(flags, g)
		}
	}
	return flags
}

func TestCommandsDocument(t *testing.T) {
	is := is.New(t)
	file := filepath.Join("..", "docs", "commands.md")
	document := manual.Document(tree(), clusterFlags(tree()))
	if *rewrite {
		is.NoErr(os.WriteFile(file, []byte(document), 0o644))
	}
	written, err := os.ReadFile(file)
	is.NoErr(err)
	is.True(string(written) == document) // `make generate` writes it again
}

func TestEveryCommandHasItsPage(t *testing.T) {
	kinds := map[string]bool{}
	for _, path := range manual.Walk(tree()) {
		c, page, name := path[len(path)-1], manual.Read(path[len(path)-1].Description), manual.Name(path)
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			is.True(c.Usage != "" && !strings.HasSuffix(c.Usage, ".")) // one line, no sentence
			is.True(path[1].Category != "")
			is.True(!strings.Contains(c.Description, "\t"))
			names := map[string]bool{}
			for _, sub := range c.Subcommands {
				is.True(!names[sub.Name]) // each name is one command
				names[sub.Name] = true
			}
			if len(c.Subcommands) == 0 {
				is.True(strings.HasSuffix(page.Text, ".")) // full sentences
				is.True(len(page.Examples) > 0)            // every command has an example
			}
			for _, f := range c.Flags {
				shown := manual.FlagOf(f)
				t.Log(shown, shown.Meaning())
				is.True(shown.Hidden || shown.Placeholder != "VALUE") // every flag says what its value is
				is.True(shown.Usage != "")
				for _, name := range shown.Names {
					kind, known := kinds[name]
					is.True(!known || kind == (shown.Placeholder == "")) // flags of one name need a value everywhere or nowhere
					kinds[name] = shown.Placeholder == ""
				}
			}
			for _, s := range page.Statuses {
				is.True(s.Code >= 0 && s.Code < 256 && s.Means != "")
			}
		})
	}
}

// TestEveryExampleParses runs each example with actions that do nothing; the stories run them for real.
func TestEveryExampleParses(t *testing.T) {
	for _, path := range manual.Walk(tree()) {
		for _, example := range manual.Read(path[len(path)-1].Description).Examples {
			t.Run(example.Line, func(t *testing.T) {
				is := is.New(t)
				is.True(example.Does != "" && strings.HasSuffix(example.Does, "."))
				line, within := strings.CutPrefix(example.Line, "source <(")
				if within {
					line = strings.TrimSuffix(line, ")")
				}
				line, _, _ = strings.Cut(line, " > ")
				line, _, _ = strings.Cut(line, " | ")
				words := split(line)
				var ran []string
				app := App("v1", words[0])
				stub(app.Commands, []string{app.Name}, &ran)
				app.Writer, app.ErrWriter = io.Discard, io.Discard
				is.NoErr(operator.Run(t.Context(), app, words))
				is.Equal(strings.Join(ran, " "), manual.Name(path)) // it is an example of this command
			})
		}
	}
}

// split parts a line as a shell does that knows single quotes alone.
func split(line string) []string {
	var words []string
	for i, part := range strings.Split(line, "'") {
		if i%2 == 0 {
			words = append(words, strings.Fields(part)...)
		} else {
			words = append(words, part)
		}
	}
	return words
}

// stub replaces what commands do by keeping their names.
func stub(commands []*cli.Command, names []string, ran *[]string) {
	for _, c := range commands {
		name := append(slices.Clone(names), c.Name)
		c.Action = func(*cli.Context) error { *ran = name; return nil }
		stub(c.Subcommands, name, ran)
	}
}
