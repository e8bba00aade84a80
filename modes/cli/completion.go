package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"elemental/core"
	"elemental/modes/manual"
	"elemental/ports"
)

// completionTime is how long someone who pressed the tabulator may be kept waiting for the cluster.
const completionTime = 2 * time.Second

// What else the shell may do, in the words of cobra.
const (
	completeFiles   = 0
	completeNothing = 4
	completeFolders = 16
)

// completer knows what could stand next on a command line.
type completer struct {
	connect func() (ports.Operator, error)
	gate    func() (ports.Gatekeeper, error)
	names   func(flag string) []string // of the kubeconfig: its contexts, clusters, users and namespaces
}

// candidate is what could stand there.
type candidate struct{ word, means string }

// write answers in cobra's way. It never fails: someone is in the middle of a line.
func (c *completer) write(ctx context.Context, root *cli.Command, args []string, out io.Writer) error {
	if len(args) == 0 {
		args = []string{""}
	}
	ctx, cancel := context.WithTimeout(ctx, completionTime)
	defer cancel()
	type answer struct {
		found []candidate
		then  int
	}
	answers := make(chan answer, 1)
	go func() {
		// A program that fetches credentials for the kubeconfig need not obey the context.
		found, then := c.complete(ctx, root, args[:len(args)-1], args[len(args)-1])
		answers <- answer{found, then}
	}()
	a := answer{then: completeNothing}
	select {
	case a = <-answers:
	case <-ctx.Done():
	}
	for _, f := range a.found {
		if f.means = plain(f.means); f.means != "" {
			f.word += "\t" + f.means
		}
		fmt.Fprintln(out, f.word)
	}
	fmt.Fprintf(out, ":%d\n", a.then)
	return nil
}

// complete returns what could stand in the place of a word behind others.
func (c *completer) complete(ctx context.Context, root *cli.Command, before []string, word string) ([]candidate, int) {
	l := read(root, before)
	for _, g := range l.flags {
		if f, ok := g.flag.(*cli.GenericFlag); ok && g.flag != l.waiting {
			_ = f.Value.Set(g.value) // It leads to the cluster to ask; what can't be meant leads nowhere.
		}
	}
	var found []candidate
	then := completeNothing
	name, value, assigned := strings.Cut(word, "=")
	switch {
	case l.rest != nil:
	case l.waiting != nil:
		found, then = c.values(ctx, l, l.waiting)
	case !l.ended && strings.HasPrefix(word, "--") && assigned:
		word = value
		if f := find(l.command(), strings.TrimPrefix(name, "--")); f != nil {
			found, then = c.values(ctx, l, f)
		}
	case !l.ended && strings.HasPrefix(word, "-"):
		found = flagsAt(l, word)
	default:
		found, then = c.arguments(ctx, l)
	}
	found = slices.DeleteFunc(found, func(f candidate) bool { return !strings.HasPrefix(f.word, word) })
	slices.SortStableFunc(found, func(a, b candidate) int { return cmp.Compare(a.word, b.word) })
	return slices.CompactFunc(found, func(a, b candidate) bool { return a.word == b.word }), then
}

// flagsAt are the flags of a command that were not given yet. Those that its page does not show come once it is clear
// that one of them is meant.
func flagsAt(l *line, word string) []candidate {
	found := []candidate{{"--help", "show all about it"}}
	for _, f := range l.command().Flags {
		flag := manual.FlagOf(f)
		if flag.Hidden && len(word) <= len("--") || slices.ContainsFunc(l.flags, func(g given) bool { return g.flag == f }) {
			continue
		}
		for _, name := range flag.Names {
			if len(name) > 2 || word == "-" {
				found = append(found, candidate{name, flag.Usage})
			}
		}
	}
	return found
}

// values are what a flag can have.
func (c *completer) values(ctx context.Context, l *line, f cli.Flag) ([]candidate, int) {
	flag := manual.FlagOf(f)
	var found []candidate
	for _, choice := range flag.Choices() {
		found = append(found, candidate{word: choice})
	}
	for _, name := range c.names(f.Names()[0]) {
		found = append(found, candidate{word: name})
	}
	if f.Names()[0] == "namespace" {
		for _, t := range c.list(ctx, ports.Selection{Kind: core.KindHost, Everywhere: true}) {
			found = append(found, candidate{word: t.Namespace})
		}
	}
	switch flag.Placeholder {
	case "FILE":
		return found, completeFiles
	case "FOLDER":
		return found, completeFolders
	case "HOST":
		if own(l.command(), "replaces") == f {
			found = append(found, c.targets(ctx, core.KindHost, nil)...)
		}
		return found, completeNothing
	default:
		return found, completeNothing
	}
}

// arguments are the commands below a command, or what its next argument could be.
func (c *completer) arguments(ctx context.Context, l *line) ([]candidate, int) {
	var found []candidate
	command := l.command()
	if len(l.words) == 0 && !l.ended {
		for _, sub := range command.Subcommands {
			if !sub.Hidden {
				found = append(found, candidate{sub.Name, sub.Usage})
			}
		}
	}
	usage := strings.Fields(command.ArgsUsage)
	if _, most := manual.Arity(command); len(usage) == 0 || len(l.words) >= most {
		return found, completeNothing
	}
	switch what := strings.Trim(usage[min(len(l.words), len(usage)-1)], "[]."); {
	case strings.Contains(what, "|"):
		for choice := range strings.SplitSeq(what, "|") {
			found = append(found, candidate{word: choice})
		}
	case what == "COMMAND":
		for _, sub := range read(l.path[0], l.words).command().Subcommands {
			if !sub.Hidden {
				found = append(found, candidate{sub.Name, sub.Usage})
			}
		}
	case what == "REGISTRATION":
		return append(found, c.registrations(ctx)...), completeNothing
	case what == "REQUEST":
		return append(found, c.requests(ctx, l.words)...), completeNothing
	case (what == "NAME" || what == "HOST") && own(command, "context") != nil:
		kind := core.KindHost
		if slices.ContainsFunc(l.path, func(c *cli.Command) bool { return strings.HasPrefix(c.Name, "machine") }) {
			kind = core.KindMachine
		}
		found = append(found, c.targets(ctx, kind, l.words)...)
	case what == "FILE" || what == "PATH":
		return found, completeFiles
	}
	return found, completeNothing
}

// targets are hosts or machines that do not stand on the line yet.
func (c *completer) targets(ctx context.Context, kind core.Kind, words []string) (found []candidate) {
	for _, t := range c.list(ctx, ports.Selection{Kind: kind}) {
		if !slices.Contains(words, t.Name) {
			found = append(found, candidate{t.Name, standing(t)})
		}
	}
	return found
}

// registrations are those of the namespace.
func (c *completer) registrations(ctx context.Context) (found []candidate) {
	gate, err := c.gate()
	if err != nil {
		return nil
	}
	all, err := gate.Registrations(ctx, "")
	if err != nil {
		return nil
	}
	for _, r := range all {
		found = append(found, candidate{r.Name, fmt.Sprintf("%s, %d hosts", r.Approval, r.Hosts)})
	}
	return found
}

// requests are those of the namespace that do not stand on the line yet, by as much of their names as tells them apart.
func (c *completer) requests(ctx context.Context, words []string) (found []candidate) {
	gate, err := c.gate()
	if err != nil {
		return nil
	}
	all, err := gate.Requests(ctx, ports.RequestSelection{})
	if err != nil {
		return nil
	}
	short := shortNames(all)
	for _, r := range all {
		if !slices.ContainsFunc(words, func(word string) bool { return strings.HasPrefix(r.Name, word) }) {
			found = append(found, candidate{short[r.Name], strings.Join(nonEmpty(r.Hostname, r.Serial, r.Admitted.Reason), ", ")})
		}
	}
	return found
}

// standing is a host or a machine in a few words.
func standing(t ports.Target) string {
	var words []string
	for _, word := range []string{string(t.Phase), versionName(t.OSVersion.Booted)} {
		if word != "" {
			words = append(words, word)
		}
	}
	return strings.Join(words, ", ")
}

// list asks the cluster, and knows nothing when it does not answer.
func (c *completer) list(ctx context.Context, selection ports.Selection) []ports.Target {
	operator, err := c.connect()
	if err != nil {
		return nil
	}
	targets, err := operator.List(ctx, selection)
	if err != nil {
		return nil
	}
	return targets
}
