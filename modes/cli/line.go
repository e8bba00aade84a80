package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"elemental/modes/manual"
	"elemental/ports"
)

// Run carries out a command line. Flags stand where kubectl's users put them: before the command, behind it, and
// among its arguments, up to a lone --. The library would take the first argument for the end of the flags.
func Run(ctx context.Context, app *cli.App, args []string) error {
	app.HideHelp = true
	app.Setup()
	prepare(app.Commands)
	l := read(program(app), args[1:])
	switch {
	case l.wrong != nil && (!l.help || l.lost):
		return misuse(manual.Name(l.path), l.wrong)
	case len(l.path) == 1:
		return manual.Overview(app.Writer, widthFor(app.Writer), l.path[0])
	case l.help:
		return manual.Write(app.Writer, widthFor(app.Writer), l.path)
	}
	return app.RunContext(ctx, append([]string{app.Name}, l.forLibrary()...))
}

// program is the whole program as one command.
func program(app *cli.App) *cli.Command {
	return &cli.Command{Name: app.Name, Usage: app.Usage, Subcommands: app.Commands}
}

// prepare leaves to the library what it does well: it neither prints help nor knows a command named help of its own
// everywhere, where hosts may have that name.
func prepare(commands []*cli.Command) {
	for _, c := range commands {
		c.HideHelp = true
		if c.OnUsageError == nil {
			c.OnUsageError = misused
		}
		prepare(c.Subcommands)
	}
}

func misused(c *cli.Context, err error, _ bool) error { return usage(c, err) }

// usage is the error of someone who typed what can't be meant.
func usage(c *cli.Context, err error) error { return misuse(c.Command.HelpName, err) }

func misuse(name string, err error) error {
	// The library says -name where people write --name.
	words := strings.ReplaceAll(err.Error(), " for -", " for --")
	words = strings.ReplaceAll(words, " for flag -", " for flag --")
	words = strings.ReplaceAll(words, "invalid boolean value", "invalid value")
	see := "; see"
	if strings.HasSuffix(words, "?") {
		see = " See"
	}
	return cli.Exit(fmt.Sprintf("%s%s %s --help", words, see, name), exitUsage)
}

// refused is the error of whoever was asked. What they can't make sense of was typed wrongly.
func refused(c *cli.Context, err error) error {
	if errors.Is(err, ports.ErrInvalid) {
		return usage(c, err)
	}
	return err
}

// line is a command line taken apart.
type line struct {
	path    []*cli.Command // from the program to the command that is meant
	flags   []given        // in their order
	words   []string       // the arguments
	rest    []string       // what the command takes as it is; only of a command that parses no flags
	waiting cli.Flag       // the flag at the end whose value is missing
	ended   bool           // there was a lone --
	help    bool           // there was --help
	lost    bool           // there is no such command, so there is nothing that --help could be about
	wrong   error          // what can't be meant, if something can't
}

// given is a flag with its value.
type given struct {
	flag  cli.Flag
	typed string // as it was typed, without its value: that may be a secret
	value string
}

func (l *line) command() *cli.Command { return l.path[len(l.path)-1] }

// read takes a command line apart. It reads on behind what can't be meant, because the one who asks for
// completions has not finished.
func read(root *cli.Command, args []string) *line {
	l := &line{path: []*cli.Command{root}}
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case l.ended || arg == "-" || !strings.HasPrefix(arg, "-"):
			if next := l.command().Command(arg); next != nil && len(l.words) == 0 && !l.ended {
				l.path = append(l.path, next)
				if next.SkipFlagParsing {
					l.rest = args[i+1:]
					return l
				}
				continue
			}
			l.words = append(l.words, arg)
		case arg == "--":
			l.ended = true
		case l.flag(arg) && i+1 < len(args):
			i++
			l.flags[len(l.flags)-1].value, l.waiting = args[i], nil
		}
	}
	l.check()
	return l
}

// flag takes one or more flags from an argument, and says whether the last one's value is the next argument.
func (l *line) flag(arg string) (open bool) {
	if name, long := strings.CutPrefix(arg, "--"); long {
		name, value, with := strings.Cut(name, "=")
		return l.give(name, "--"+name, value, with)
	}
	for letters := arg[1:]; letters != ""; {
		letter := letters[:1]
		letters = letters[1:]
		f := find(l.command(), letter)
		value, with := strings.CutPrefix(letters, "=")
		if f == nil && letter != "h" {
			if typed, _, _ := strings.Cut(arg, "="); letter == typed[1:2] {
				letter = typed[1:] // Whoever knows other programs writes -name.
			}
			l.unknown("-" + letter)
			return false
		}
		if with || letters != "" && f != nil && !isBool(f) {
			return l.give(letter, "-"+letter, value, true)
		}
		if l.give(letter, "-"+letter, "", false) {
			return true
		}
	}
	return false
}

// give takes one flag.
func (l *line) give(name, typed, value string, with bool) (open bool) {
	f := find(l.command(), name)
	switch {
	case f == nil && (name == "help" || name == "h"):
		l.help = true
		return false
	case f == nil:
		l.unknown(typed)
		return false
	case !with && isBool(f):
		value = "true"
	case !with:
		l.waiting = f
	}
	l.flags = append(l.flags, given{flag: f, typed: typed, value: value})
	return l.waiting != nil
}

func (l *line) unknown(typed string) {
	meant := didYouMean(typed, flagNames(l.command()))
	if c := l.command().Command(strings.TrimLeft(typed, "-")); c != nil {
		meant = fmt.Sprintf("; did you mean %s %s?", manual.Name(l.path), c.Name)
	}
	l.fail(fmt.Errorf("%s has no flag %s%s", manual.Name(l.path), typed, meant))
}

func (l *line) fail(err error) {
	if l.wrong == nil {
		l.wrong = err
	}
}

// check looks at the line as a whole.
func (l *line) check() {
	c, name := l.command(), manual.Name(l.path)
	for _, g := range l.flags {
		if own(c, g.flag.Names()[0]) == nil && !manual.IsGroup(c) {
			l.unknown(g.typed)
		}
		if needs := neededBy(g.flag, g.value); needs != "" && g.flag != l.waiting {
			l.fail(fmt.Errorf("%s is %q: it must be %s", g.typed, g.value, needs))
		}
	}
	if l.waiting != nil {
		l.fail(fmt.Errorf("%s needs a value", l.flags[len(l.flags)-1].typed))
	}
	least, most := manual.Arity(c)
	switch n := len(l.words); {
	case manual.IsGroup(c) && n > 0:
		l.lost = true
		l.fail(fmt.Errorf("%s has no command %q%s", name, l.words[0], l.meant()))
	case len(commandNames(c)) > 0 && n == 0 && (manual.IsGroup(c) || least > 0) && len(l.path)+len(l.flags) > 1:
		l.fail(fmt.Errorf("%s needs to know what: %s", name, strings.Join(commandNames(c), ", ")))
	case n > most && most == 0:
		l.fail(fmt.Errorf("%s takes no arguments, and %q is one", name, l.words[0]))
	case n > most:
		l.fail(fmt.Errorf("%s needs %s, %s, and not %d", name, counted(most), c.ArgsUsage, n))
	case n < least:
		l.fail(fmt.Errorf("%s needs %s, %s", name, counted(least), c.ArgsUsage))
	}
}

// neededBy says what the value of a flag must be, if it is not that. The library would speak of a parse error.
func neededBy(f cli.Flag, value string) string {
	switch f.(type) {
	case *cli.DurationFlag:
		if _, err := time.ParseDuration(value); err != nil {
			return "a number with its unit, such as 90s, 30m or 2h"
		}
	case *cli.IntFlag:
		if _, err := strconv.Atoi(value); err != nil {
			return "a whole number"
		}
	case *cli.BoolFlag:
		if _, err := strconv.ParseBool(value); err != nil {
			return "true or false"
		}
	}
	return ""
}

// meant completes an error about a word that is no command, if it is clear which one was meant. Who knows kubectl writes
// the verb first.
func (l *line) meant() string {
	c, typed := l.command(), l.words[0]
	for _, sub := range c.Subcommands {
		if below := sub.Command(typed); below != nil && !sub.Hidden && !below.Hidden {
			return fmt.Sprintf("; did you mean %s %s %s?", manual.Name(l.path), sub.Name, below.Name)
		}
	}
	return didYouMean(typed, commandNames(c))
}

func counted(n int) string {
	if n == 1 {
		return "one argument"
	}
	return fmt.Sprintf("%d arguments", n)
}

// forLibrary is the line as the library understands it: the command, its flags, and then its arguments.
func (l *line) forLibrary() []string {
	var args []string
	for _, c := range l.path[1:] {
		args = append(args, c.Name)
	}
	if l.rest != nil {
		return append(args, l.rest...)
	}
	for _, g := range l.flags {
		args = append(args, "--"+g.flag.Names()[0]+"="+g.value)
	}
	return append(append(args, "--"), l.words...)
}

// own is the flag of a command by one of its names.
func own(c *cli.Command, name string) cli.Flag {
	for _, f := range c.Flags {
		for _, n := range f.Names() {
			if n == name {
				return f
			}
		}
	}
	return nil
}

// find looks for a flag at a command and then, because it may stand before them, at those below it. Flags of one name
// must be of one kind, which a test holds.
func find(c *cli.Command, name string) cli.Flag {
	if f := own(c, name); f != nil {
		return f
	}
	for _, sub := range c.Subcommands {
		if f := find(sub, name); f != nil {
			return f
		}
	}
	return nil
}

// isBool says whether a flag may stand without a value.
func isBool(f cli.Flag) bool {
	switch f := f.(type) {
	case *cli.BoolFlag:
		return true
	case *cli.GenericFlag:
		b, ok := f.Value.(interface{ IsBoolFlag() bool })
		return ok && b.IsBoolFlag()
	default:
		return false
	}
}

// widthFor is how wide a terminal is; 0 for everything else.
func widthFor(out io.Writer) int {
	file, ok := out.(*os.File)
	if !ok {
		return 0
	}
	width, _, err := term.GetSize(int(file.Fd()))
	if err != nil {
		return 0
	}
	return width
}
