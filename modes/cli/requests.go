package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"elemental/core"
	"elemental/modes/manual"
	"elemental/ports"
)

// requestsCommand shows who asks to join.
func requestsCommand(clusterFlags []cli.Flag, of func(*cli.Context) world) *cli.Command {
	return &cli.Command{
		Name: "requests", Aliases: []string{"request"}, ArgsUsage: "[REQUEST...]", Usage: "show the hosts that ask to join, and what became of it",
		Description: manual.Page{
			Text: "Reads ElementalHostRequests and shows one on a line, the oldest first. It changes nothing.\n\n" +
				"A request bears the hash of its host's key as its name; NAME is as much of it as tells it from all others, and every command " +
				"that takes a request takes that. What a host says of itself, such as its serial number, is a claim. ANSWER is the controller's: " +
				"why the host was let in, is not let in, or waits. A request goes when its host has taken up the answer.\n\n" +
				"With --watch there follows one line for each request that comes to stand otherwise, until it is interrupted.",
			Examples: []manual.Example{
				{Does: "Show who asks to join.", Line: "elemental requests"},
				{Does: "Read one request as YAML.", Line: "elemental requests 3b5c1f02 -o yaml"},
				{Does: "Show all of it, in all namespaces, and go on to show what changes.", Line: "elemental requests -A -o wide --watch"},
			},
			Statuses: []manual.Status{{Code: exitInterrupted, Means: "the watching was interrupted"}},
			See:      []string{"elemental approve", "elemental deny", "docs/joining.md"},
		}.String(),
		Flags: append(slices.Clone(clusterFlags),
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: outputTable, Usage: "show them as `" + strings.Join(outputs(), "|") + "`"},
			&cli.BoolFlag{Name: "watch", Aliases: []string{"w"}, Usage: "go on to show what changes, in a table"},
			&cli.BoolFlag{Name: "all-namespaces", Aliases: []string{"A"}, Usage: "show the requests of all namespaces"},
		),
		Action:       func(c *cli.Context) error { return showRequests(c, of(c)) },
		OnUsageError: misused,
	}
}

func showRequests(c *cli.Context, w world) error {
	output, watching, names := c.String("output"), c.Bool("watch"), c.Args().Slice()
	tabular := output == outputTable || output == outputWide
	switch {
	case !slices.Contains(outputs(), output):
		return usage(c, fmt.Errorf("--output %q is none of %s", output, strings.Join(outputs(), ", ")))
	case watching && !tabular:
		return usage(c, errors.New("--watch shows a table: leave it out, or --output"))
	case len(names) > 0 && (watching || c.Bool("all-namespaces")):
		return usage(c, errors.New("requests that are named are those of one namespace as they stand now: leave out the names, or --watch and --all-namespaces"))
	}
	gate, err := w.gate()
	if err != nil {
		return err
	}
	selection := ports.RequestSelection{Everywhere: c.Bool("all-namespaces"), Objects: output == outputJSON || output == outputYAML}
	requests, err := gate.Requests(c.Context, selection)
	if err != nil {
		return err
	}
	g := newRequestGrid(w, selection.Everywhere, output == outputWide)
	g.short = shortNames(requests)
	if len(names) > 0 {
		if requests, err = named(requests, names); err != nil {
			return err
		}
	}
	switch {
	case output == outputName:
		return writeRequestNames(w.out, requests)
	case !tabular:
		return writeObjects(w.out, output, objectsOf(requests), len(names) == 1)
	case watching:
		return watchRequests(c.Context, gate, selection, g, requests)
	case len(requests) == 0:
		fmt.Fprintln(w.errs, "No one asks to join.")
		return nil
	default:
		return g.write(requests)
	}
}

func writeRequestNames(out io.Writer, requests []ports.JoinRequest) error {
	for _, r := range requests {
		if _, err := fmt.Fprintln(out, "elementalhostrequest.infrastructure.cluster.x-k8s.io/"+r.Name); err != nil {
			return err
		}
	}
	return nil
}

// objectsOf are the requests as they are written whole.
func objectsOf(requests []ports.JoinRequest) []ports.Target {
	objects := make([]ports.Target, len(requests))
	for i, r := range requests {
		objects[i] = ports.Target{Namespace: r.Namespace, Name: r.Name, Object: r.Object}
	}
	return objects
}

// watchRequests shows requests as they stand, and then each that comes to stand otherwise.
func watchRequests(ctx context.Context, gate ports.Gatekeeper, selection ports.RequestSelection, g *requestGrid, requests []ports.JoinRequest) error {
	shown := map[string]ports.JoinRequest{}
	for _, r := range requests {
		shown[r.Namespace+"/"+r.Name] = r
	}
	if len(requests) > 0 {
		if err := g.write(requests); err != nil {
			return err
		}
	}
	var failed error
	err := gate.FollowRequests(ctx, selection, func(r ports.JoinRequest) bool {
		key := r.Namespace + "/" + r.Name
		before, known := shown[key]
		switch {
		case r.Gone && !known:
			return true
		case r.Gone:
			delete(shown, key)
			before.Gone = true
			r = before
		case known && reflect.DeepEqual(before, r):
			return true
		default:
			shown[key] = r
			g.lengthen(shown)
		}
		failed = g.write([]ports.JoinRequest{r})
		return failed == nil
	})
	return interrupted(errors.Join(failed, err))
}

// leastOfName is how much of a request's name is shown at least, so that it is still the same name tomorrow.
const leastOfName = 8

// shortNames are the beginnings of the names of requests that tell them apart, by their names.
func shortNames(requests []ports.JoinRequest) map[string]string {
	names := make([]string, len(requests))
	for i, r := range requests {
		names[i] = r.Name
	}
	slices.Sort(names)
	short := map[string]string{}
	for i, name := range names {
		length := leastOfName
		for _, j := range []int{i - 1, i + 1} {
			if j >= 0 && j < len(names) && names[j] != name { // Of two namespaces they may be the same.
				length = max(length, common(name, names[j])+1)
			}
		}
		short[name] = name[:min(length, len(name))]
	}
	return short
}

// common is how much two names have in common at their beginning.
func common(a, b string) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// named finds the requests that are meant by the beginnings of their names.
func named(requests []ports.JoinRequest, beginnings []string) ([]ports.JoinRequest, error) {
	var found []ports.JoinRequest
	for _, beginning := range beginnings {
		var meant []ports.JoinRequest
		for _, r := range requests {
			if r.Name == beginning || beginning != "" && strings.HasPrefix(r.Name, beginning) {
				meant = append(meant, r)
			}
		}
		switch len(meant) {
		case 0:
			return nil, fmt.Errorf("no request of this namespace begins with %q: elemental requests shows those that there are; -n names another namespace: %w", beginning, ports.ErrNotFound)
		case 1:
			if !slices.ContainsFunc(found, func(r ports.JoinRequest) bool { return r.Name == meant[0].Name }) {
				found = append(found, meant[0])
			}
		default:
			short := shortNames(requests)
			var names []string
			for _, r := range meant {
				names = append(names, short[r.Name])
			}
			return nil, fmt.Errorf("%q is the beginning of %d requests: say which of %s", beginning, len(meant), list(names))
		}
	}
	return found, nil
}

// answerOf is what became of a request, in a word.
func answerOf(r ports.JoinRequest) string {
	switch {
	case r.Gone:
		return "Deleted"
	case r.Admitted.Status == "" && r.Ruling == core.RulingApproved:
		return "Approving"
	default:
		return r.Admitted.Reason
	}
}

// wordsAbout are what people know a host by that asks to join.
func wordsAbout(r ports.JoinRequest) string {
	var words []string
	if r.Hostname != "" {
		words = append(words, "hostname "+plain(r.Hostname))
	}
	if r.Serial != "" {
		words = append(words, "serial number "+plain(r.Serial))
	}
	if len(words) == 0 {
		return ""
	}
	return " (" + strings.Join(words, ", ") + ")"
}
