package cli

import (
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"strings"

	"github.com/urfave/cli/v2"

	"elemental/modes/manual"
)

// shells holds the scripts that teach a shell to ask the program for completions.
//
//go:embed shells/elemental.bash shells/elemental.zsh shells/elemental.fish
var shells embed.FS

// general are the commands about the program itself.
func general(version string, clusterFlags []cli.Flag, c *completer) []*cli.Command {
	return []*cli.Command{
		versionCommand(version), optionsCommand(clusterFlags), completionCommand(), helpCommand(),
		{
			Name: "__complete", Hidden: true, SkipFlagParsing: true, Usage: "say what could stand next on a command line",
			Description: "Is run by shells and by kubectl, in the way of programs that are written with cobra: the last argument is the\n" +
				"word to complete. Each candidate is a line, a tab may part it from its description, and the last line is\n" +
				"a colon and a number that says what else the shell may do: 0 complete files, 4 nothing, 16 complete folders.",
			Action: func(ctx *cli.Context) error {
				return c.write(ctx.Context, program(ctx.App), ctx.Args().Slice(), ctx.App.Writer)
			},
		},
	}
}

func versionCommand(version string) *cli.Command {
	return &cli.Command{
		Name: "version", Usage: "print the version of this program",
		Description: manual.Page{
			Text: "Prints the version of this program, of Go, and the platform. It asks no cluster.",
			Examples: []manual.Example{
				{Does: "Print the version.", Line: "elemental version"},
				{Does: "Print it for a script.", Line: "elemental version -o json"},
			},
		}.String(),
		Flags: []cli.Flag{&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "text", Usage: "print as `text|json`"}},
		Action: func(c *cli.Context) error {
			platform := runtime.GOOS + "/" + runtime.GOARCH
			switch form := c.String("output"); form {
			case "text":
				fmt.Fprintf(c.App.Writer, "elemental %s (%s, %s)\n", version, runtime.Version(), platform)
				return nil
			case "json":
				var answer struct {
					Client struct {
						Version   string `json:"version"`
						GoVersion string `json:"goVersion"`
						Platform  string `json:"platform"`
					} `json:"clientVersion"`
				}
				answer.Client.Version, answer.Client.GoVersion, answer.Client.Platform = version, runtime.Version(), platform
				return writeJSON(c.App.Writer, answer)
			default:
				return usage(c, fmt.Errorf("--output is %q: it must be text or json", form))
			}
		},
	}
}

func writeJSON(out io.Writer, value any) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

func optionsCommand(clusterFlags []cli.Flag) *cli.Command {
	return &cli.Command{
		Name: "options", Usage: "list kubectl's flags, which work with every command that asks the cluster",
		Description: manual.Page{
			Text: "Lists the flags that say which cluster is asked, and as whom. They mean what they mean to kubectl, and stand\n" +
				"before the command, behind it, or among its arguments.",
			Examples: []manual.Example{{Does: "List the flags.", Line: "elemental options"}},
		}.String(),
		Action: func(c *cli.Context) error { return manual.Options(c.App.Writer, widthFor(c.App.Writer), clusterFlags) },
	}
}

func completionCommand() *cli.Command {
	return &cli.Command{
		Name: "completion", ArgsUsage: "bash|zsh|fish", Usage: "print a script that completes commands in your shell",
		Description: manual.Page{
			Text: "Prints a script for one shell. With it the shell completes commands, flags, the values of flags, and the names of\n" +
				"hosts and machines, which it asks the cluster for: for two seconds at most, and in silence when the cluster\n" +
				"does not answer.\n\n" +
				"For `kubectl elemental` put the script kubectl_complete-elemental of this project into a folder of your PATH, beside\n" +
				"kubectl-elemental, which is a link to this program: kubectl's own completion then asks it.",
			Examples: []manual.Example{
				{Does: "bash: for this session; to keep it, add the line to ~/.bashrc.", Line: "source <(elemental completion bash)"},
				{Does: "zsh: add the line to ~/.zshrc, after compinit.", Line: "source <(elemental completion zsh)"},
				{Does: "fish: keep it where fish looks for it.", Line: "elemental completion fish > ~/.config/fish/completions/elemental.fish"},
			},
		}.String(),
		Action: func(c *cli.Context) error {
			script, err := shells.ReadFile("shells/elemental." + c.Args().First())
			if err != nil {
				return usage(c, fmt.Errorf("there is a script for bash, zsh and fish, and none for %q", c.Args().First()))
			}
			_, err = c.App.Writer.Write(script)
			return err
		},
	}
}

func helpCommand() *cli.Command {
	return &cli.Command{
		Name: "help", ArgsUsage: "[COMMAND...]", Usage: "show the page of a command",
		Description: manual.Page{
			Text:     "Shows the same as the flag --help of that command. Without a command it lists them all.",
			Examples: []manual.Example{{Does: "Show all about upgrading hosts.", Line: "elemental help upgrade host"}},
		}.String(),
		Action: func(c *cli.Context) error {
			path := []*cli.Command{program(c.App)}
			for _, word := range c.Args().Slice() {
				last := path[len(path)-1]
				next := last.Command(word)
				if next == nil {
					return usage(c, fmt.Errorf("%s has no command %q%s", manual.Name(path), word, didYouMean(word, commandNames(last))))
				}
				path = append(path, next)
			}
			if len(path) == 1 {
				return manual.Overview(c.App.Writer, widthFor(c.App.Writer), path[0])
			}
			return manual.Write(c.App.Writer, widthFor(c.App.Writer), path)
		},
	}
}

// ProgramName is how the program was called: kubectl runs its plugins as kubectl-NAME.
func ProgramName(path string) string {
	base := path[strings.LastIndexAny(path, `/\`)+1:]
	if strings.HasPrefix(base, "kubectl-elemental") {
		return "kubectl elemental"
	}
	return "elemental"
}
