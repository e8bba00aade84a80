package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/urfave/cli/v2"

	"elemental/core"
	"elemental/modes/manual"
	"elemental/ports"
)

// mostEvents is how many events a page has room for.
const mostEvents = 10

func describeCommand(clusterFlags []cli.Flag, of func(*cli.Context) world) *cli.Command {
	return &cli.Command{
		Name: "describe", ArgsUsage: "NAME", Usage: "tell all about one host, and what to do next",
		Description: manual.Page{
			Text: "Tells on one page what a host runs and what is asked of it, how it stands, what happened to it, and what to do next. It changes nothing.",
			Examples: []manual.Example{
				{Does: "See why a host is not ready, and what helps.", Line: "elemental host describe my-elemental-host"},
			},
			See: []string{"elemental hosts", "elemental retry"},
		}.String(),
		Flags:        slices.Clone(clusterFlags),
		Action:       func(c *cli.Context) error { return describeHost(c, of(c)) },
		OnUsageError: misused,
	}
}

func describeHost(c *cli.Context, w world) error {
	names, err := namesOf(core.KindHost, c.Args().Slice())
	if err != nil {
		return usage(c, err)
	}
	operator, err := w.connect()
	if err != nil {
		return err
	}
	return describe(c.Context, w, operator, names[0])
}

// describe writes the page of one host. Who may read the host and not its events still gets the page.
func describe(ctx context.Context, w world, operator ports.Operator, name string) error {
	found, err := operator.List(ctx, ports.Selection{Kind: core.KindHost, Names: []string{name}, Objects: true})
	if err != nil {
		return err
	}
	events, err := operator.Events(ctx, found[0])
	p := &page{host: found[0], palette: palette(w.colours), width: w.terminal, now: w.now()}
	p.head()
	p.runs()
	p.asked()
	p.stands()
	p.happened(events, err)
	p.next()
	_, err = w.out.Write(p.text.Bytes())
	return err
}

// page is what is told about one host.
type page struct {
	host    ports.Target
	palette palette
	width   int // of the terminal; 0: there is none
	now     time.Time
	text    bytes.Buffer
}

// labelled is how wide the names of the lines are.
const labelled = 16

func (p *page) section(title string) { fmt.Fprintf(&p.text, "\n%s\n", p.palette.title(title)) }

// line tells one thing, if there is something to tell.
func (p *page) line(label, value string) {
	if value = plain(value); value != "" {
		p.fold("  "+pad(label, labelled), value)
	}
}

// fold writes a text behind what begins its line, and breaks it at the terminal's width.
func (p *page) fold(begin, text string) {
	indent := widthIn(begin)
	line, width := begin, indent
	for i, word := range strings.Fields(text) {
		if wide := widthIn(word); i > 0 && p.width > 0 && width+1+wide > p.width {
			fmt.Fprintln(&p.text, line)
			line, width = strings.Repeat(" ", indent)+word, indent+wide
		} else if i > 0 {
			line, width = line+" "+word, width+1+wide
		} else {
			line, width = line+word, width+wide
		}
	}
	fmt.Fprintln(&p.text, strings.TrimRight(line, " "))
}

func (p *page) head() {
	h := p.host
	fmt.Fprintf(&p.text, "%s\n", p.palette.title(plain(h.Namespace+"/"+h.Name)))
	p.line("Machine", h.Machine)
	if h.Bootstrapped {
		p.line("Node", "yes; in-place-update: "+cmp.Or(string(h.Label), "not set"))
	}
	p.line("Age", age(h.Created, p.now))
}

func (p *page) runs() {
	p.section("What runs")
	h, booted := p.host, p.host.OSVersion.Booted
	if booted == (core.Version{}) && h.System == (ports.Facts{}) {
		p.line("Not known", "the host's agent has not reported it yet")
	}
	p.line("Version", booted.Version)
	p.line("Reference", booted.Reference)
	p.line("Digest", booted.Digest)
	p.line("Since boot", h.System.BootID)
	p.line("OS image", h.System.OSImage)
	p.line("Kernel", strings.TrimSpace(h.System.KernelVersion+" "+h.System.Architecture))
	p.line("Agent", h.System.AgentVersion)
	p.line("Plugin", h.Plugin)
	if staged := h.OSVersion.Staged; staged != (core.Version{}) {
		p.line("Staged", staged.String())
	}
	if previous := h.OSVersion.Previous; previous != (core.Version{}) {
		p.line("Previous", previous.String())
	}
}

func (p *page) asked() {
	p.section("What is asked")
	h := p.host
	version, spoken := core.Find(h.Conditions, core.OSVersionReady)
	switch {
	case h.Requested == "":
		p.line("Nothing", "the host keeps what it runs")
		return
	case !spoken || version.Generation < h.Generation:
		p.line("It runs", "not known yet: the agent has not answered for it")
	case version.Status == core.True:
		p.line("It runs", "yes")
	default:
		p.line("It runs", "no: "+version.Reason)
	}
	var text bytes.Buffer
	value, err := decode(h.Asked)
	if err == nil {
		err = writeYAML(&text, value)
	}
	if err != nil {
		p.line("Unreadable", err.Error())
		return
	}
	for line := range strings.Lines(text.String()) {
		fmt.Fprintf(&p.text, "  %s\n", harmless(strings.TrimSuffix(line, "\n")))
	}
}

// harmless takes out of a line whatever is no character to be seen, and keeps its blanks.
func harmless(line string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsGraphic(r) {
			return -1
		}
		return r
	}, line)
}

func (p *page) stands() {
	p.section("How it stands")
	h, advice := p.host, core.Advise(caseOf(p.host))
	begin, health := p.text.Len(), string(advice.Health)
	p.line("In short", health+": "+advice.Because)
	line := strings.Replace(p.text.String()[begin:], health, p.palette.paint(advice.Health, health), 1) // Paint has no width.
	p.text.Truncate(begin)
	p.text.WriteString(line)
	p.line("Phase", string(h.Phase))
	p.line("Ready", string(readiness(h)))
	p.line("Outcome", string(h.Outcome))
	if did := progressOf(h.OSVersion.Progress); did != "" {
		p.line("Progress", did+" "+h.OSVersion.Progress.Message)
	}
	if n := h.OSVersion.Attempts; n > 0 || !h.OSVersion.Last.IsZero() {
		text := fmt.Sprint(n)
		if last := h.OSVersion.Last; !last.IsZero() {
			text += ", the last " + age(last, p.now) + " ago"
		}
		p.line("Attempts", text)
	}
	if next := h.OSVersion.Next; !next.IsZero() {
		p.line("Next attempt", "in "+age(p.now, next)+", at "+next.UTC().Format(time.RFC3339))
	}
	if f := h.OSVersion.Failure; f.Class != "" {
		p.line("Failure", strings.Join(nonEmpty(string(f.Class), f.Reason, f.Path), ", ")+": "+f.Message)
	}
	p.conditions()
}

func nonEmpty(words ...string) []string {
	return slices.DeleteFunc(words, func(word string) bool { return word == "" })
}

// conditions shows them in the order in which they are reported, each with its age and below it what it says.
func (p *page) conditions() {
	if len(p.host.Conditions) == 0 {
		return
	}
	p.section("Conditions")
	since := transitions(p.host.Object)
	for _, c := range p.host.Conditions {
		stale := ""
		if c.Generation < p.host.Generation && c.Type != core.AgentConnected && c.Type != core.Paused {
			stale = "  (of what was asked before)"
		}
		fmt.Fprintf(&p.text, "  %s  %s  %s  %s%s\n", pad(plain(c.Type), 18), pad(plain(string(c.Status)), 7),
			pad(cmp.Or(age(since[c.Type], p.now), "-"), 4), plain(c.Reason), stale)
		if message := plain(c.Message); message != "" {
			p.fold(strings.Repeat(" ", 22), message)
		}
	}
}

// transitions says since when each condition has its status, as far as the object tells.
func transitions(object []byte) map[string]time.Time {
	var o struct {
		Status struct {
			Conditions []struct {
				Type               string
				LastTransitionTime time.Time
			}
		}
	}
	since := map[string]time.Time{}
	if json.Unmarshal(object, &o) == nil { // What can't be read tells no ages.
		for _, c := range o.Status.Conditions {
			since[c.Type] = c.LastTransitionTime
		}
	}
	return since
}

func (p *page) happened(events []ports.Event, err error) {
	p.section("What happened")
	switch more := len(events) - mostEvents; {
	case err != nil:
		p.line("Not readable", err.Error())
		return
	case len(events) == 0:
		p.line("Nothing", "the cluster remembers events for about an hour")
	case more > 0:
		p.line("…", fmt.Sprintf("%d earlier events", more))
		events = events[more:]
	}
	for _, e := range events {
		kind, times := "", ""
		if e.Warning {
			kind = "Warning "
		}
		if e.Count > 1 {
			times = fmt.Sprintf(" (%d times)", e.Count)
		}
		p.line(age(e.Last, p.now)+" ago", kind+e.Reason+": "+e.Message+times)
	}
}

// next says what to do. A command has a line of its own, to be copied as it is.
func (p *page) next() {
	p.section("What to do")
	steps := core.Advise(caseOf(p.host)).Steps
	if len(steps) == 0 {
		fmt.Fprintln(&p.text, "  Nothing.")
	}
	for _, s := range steps {
		p.fold("  ", plain(s.Text))
		if s.Command != "" {
			fmt.Fprintf(&p.text, "    %s\n", plain(s.Command))
		}
	}
}
