package cli

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"elemental/core"
	"elemental/ports"
)

// redrawing is how often a terminal is drawn anew at most.
const redrawing = 100 * time.Millisecond

// progress shows how the members of a rollout stand: a table that is written over and over on a terminal, and
// elsewhere one line for each change.
type progress struct {
	*running
	screen *screen // nil where there is no terminal, or nothing to wait for
	stale  bool    // the screen does not show what is
	last   map[string]string
}

func newProgress(r *running) *progress {
	p := &progress{running: r, last: map[string]string{}}
	if r.terminal > 0 && r.wait {
		p.screen = &screen{out: r.out, size: r.size}
	}
	return p
}

// ticks come as often as the screen may be drawn; never where there is none.
func (p *progress) ticks() (ticks <-chan time.Time, stop func()) {
	if p.screen == nil {
		return nil, func() {}
	}
	t := time.NewTicker(redrawing)
	return t.C, t.Stop
}

// asked tells that a member was asked.
func (p *progress) asked(m *member, what string) {
	switch many := len(p.members) > 1; {
	case many && p.screen != nil:
		p.stale = true // The table says it.
	case many && p.wait:
		p.tell(m, what)
	default:
		fmt.Fprintf(p.out, "%s %s\n", nameOf(m.before), what)
	}
}

// show tells what has changed with a member.
func (p *progress) show(m *member) {
	if p.screen != nil {
		// What is told while one watches is told calmly.
		if p.stale = true; p.screen.drawn == nil {
			p.draw()
		}
		return
	}
	if len(p.members) == 1 && (m.stage == stageDone || m.stage == stageFailed) {
		return // The last word is said in full at the end.
	}
	if line := m.line(); line != p.last[m.before.Name] {
		p.last[m.before.Name] = line
		p.tell(m, line)
	}
}

func (p *progress) tell(m *member, what string) {
	fmt.Fprintf(p.out, "%s %s %s\n", p.now().UTC().Format(time.TimeOnly), m.before.Name, what)
}

// line says how a member stands, without what changes all the time.
func (m *member) line() string {
	switch {
	case m.stage == stageDone:
		return "is ready: " + plain(m.says.Message)
	case m.stage == stageFailed:
		return m.failure()
	case m.seen.OSVersion.Progress.Step != "":
		return m.phase() + ": " + plain(m.seen.OSVersion.Progress.Step)
	default:
		return m.phase() + ": " + said(m.says)
	}
}

func (m *member) phase() string {
	if m.seen.Kind == core.KindMachine {
		return "waiting for its host" // A machine has no phase.
	}
	return cmp.Or(plain(string(m.seen.Phase)), "not seen yet")
}

// failure says why a member has failed.
func (m *member) failure() string {
	if m.err != nil {
		return plain(m.err.Error())
	}
	return said(m.says)
}

func said(w core.Waiting) string { return plain(fmt.Sprintf("%s: %s", w.Reason, w.Message)) }

// nameOf is how a host or machine is called among others.
func nameOf(t ports.Target) string {
	return fmt.Sprintf("%s %s/%s", cmp.Or(t.Kind, core.KindHost), t.Namespace, t.Name)
}

func (p *progress) draw() {
	if p.screen == nil || !p.stale {
		return
	}
	p.stale = false
	width, height := p.size()
	p.screen.draw(frame(p.members, width, height))
}

// end takes the table off the terminal.
func (p *progress) end() {
	if p.screen != nil {
		p.screen.erase()
	}
}

// frame is the table of a terminal: those that work and those that have failed, one on a line, below a count of
// all. It leaves a column and a line free, so that no line wraps and nothing scrolls.
func frame(members []*member, width, height int) []string {
	var lines []string
	if len(members) > 1 {
		lines = append(lines, counts(members))
	}
	var rows []*member
	for _, of := range []stage{stageWorking, stageFailed} {
		for _, m := range members {
			if m.stage == of {
				rows = append(rows, m)
			}
		}
	}
	rest := ""
	if room := max(1, height-1-len(lines)); len(rows) > room {
		rest = fmt.Sprintf("… and %d more", len(rows)-(room-1))
		rows = rows[:room-1]
	}
	name, phase := 0, 0
	for _, m := range rows {
		name, phase = max(name, widthIn(m.before.Name)), max(phase, widthIn(m.rowPhase()))
	}
	name = min(name, max(8, width/4)) // A long name must not push out all else.
	for _, m := range rows {
		lines = append(lines, strings.TrimSpace(pad(fit(m.before.Name, name), name)+"  "+pad(m.rowPhase(), phase)+"  "+m.doing()))
	}
	if rest != "" {
		lines = append(lines, rest)
	}
	lines = lines[:min(len(lines), max(1, height-1))]
	for i := range lines {
		lines[i] = fit(lines[i], max(0, width-1))
	}
	return lines
}

func (m *member) rowPhase() string {
	if m.stage == stageFailed {
		return "failed"
	}
	return m.phase()
}

// doing says what a member does, with a bar where it says how far it is.
func (m *member) doing() string {
	done := m.seen.OSVersion.Progress
	switch {
	case m.stage == stageFailed:
		return m.failure()
	case done.Step == "":
		return said(m.says)
	case done.Percent < 0:
		return strings.TrimSpace(plain(done.Step) + " " + plain(done.Message))
	default:
		return strings.TrimSpace(fmt.Sprintf("%s %s %3d%% %s", plain(done.Step), bar(done.Percent), done.Percent, plain(done.Message)))
	}
}

// bar draws a hundred percent in ten characters.
func bar(percent int) string {
	full := min(10, max(0, percent/10))
	return "[" + strings.Repeat("#", full) + strings.Repeat("-", 10-full) + "]"
}

func pad(text string, width int) string {
	return text + strings.Repeat(" ", max(0, width-widthIn(text)))
}

// counts says how many stand how.
func counts(members []*member) string {
	var count tally
	for _, m := range members {
		count[m.stage]++
	}
	parts := []string{fmt.Sprintf("%d of %d run it", count[stageDone], len(members))}
	for _, part := range []struct {
		count int
		words string
	}{
		{count[stageFailed], "failed"}, {count[stageAsking] + count[stageWorking], "under way"}, {count[stageIdle], "not asked yet"},
	} {
		if part.count > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", part.count, part.words))
		}
	}
	return strings.Join(parts, ", ")
}
