package cli

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"elemental/core"
	"elemental/ports"
)

const (
	mostOfMessage = 100 // how much of a message a table shows that no terminal bounds
	gap           = 3   // between two columns
)

// column is one of a table.
type column struct {
	title string
	cell  func(h ports.Target, now time.Time) string
}

const (
	titleReady   = "READY"
	titlePhase   = "PHASE"
	titleVersion = "VERSION"
	titleOutcome = "OUTCOME"
	titleAttempt = "LAST-ATTEMPT"
	titleMessage = "MESSAGE"
	titleAge     = "AGE"
)

// dropped is the width of a column that is left out.
const dropped = -1

// shrinking is the order in which columns give way on a narrow terminal, and to which width: what a host says is the
// last to lose what anyone would read of it.
var shrinking = []struct {
	title string
	least int
}{
	{titleMessage, 60}, {titleVersion, 16}, {titleOutcome, dropped}, {titlePhase, 9}, {titleMessage, 10},
}

// columnsOf are the columns of a table.
func columnsOf(everywhere, wide bool) []column {
	of := func(title string, cell func(h ports.Target) string) column {
		return column{title, func(h ports.Target, _ time.Time) string { return cell(h) }}
	}
	var all []column
	if everywhere {
		all = append(all, of("NAMESPACE", func(h ports.Target) string { return h.Namespace }))
	}
	all = append(all,
		of("NAME", func(h ports.Target) string { return h.Name }),
		of(titlePhase, func(h ports.Target) string { return string(h.Phase) }),
		of(titleReady, func(h ports.Target) string { return string(readiness(h)) }),
		of(titleVersion, func(h ports.Target) string { return versionName(h.OSVersion.Booted) }),
		of(titleOutcome, func(h ports.Target) string { return string(h.Outcome) }),
	)
	if wide {
		all = append(all,
			of("DIGEST", func(h ports.Target) string { return h.OSVersion.Booted.Digest }),
			of("MACHINE", func(h ports.Target) string { return h.Machine }),
			of("PLUGIN", func(h ports.Target) string { return h.Plugin }),
			of("AGENT", func(h ports.Target) string { return h.System.AgentVersion }),
			of("PROGRESS", func(h ports.Target) string { return progressOf(h.OSVersion.Progress) }),
			column{titleAttempt, func(h ports.Target, now time.Time) string { return age(h.OSVersion.Last, now) }},
		)
	}
	return append(all,
		of(titleMessage, messageOf),
		column{titleAge, func(h ports.Target, now time.Time) string { return age(h.Created, now) }},
	)
}

// readiness is what Ready says, unless it is true of what was asked before.
func readiness(h ports.Target) core.ConditionStatus {
	ready, _ := core.Find(h.Conditions, core.Ready)
	if ready.Status == core.True && ready.Generation < h.Generation {
		return core.Unknown
	}
	return ready.Status
}

func messageOf(h ports.Target) string {
	ready, told := core.Find(h.Conditions, core.Ready)
	if told && ready.Generation < h.Generation {
		return core.Advise(caseOf(h)).Because
	}
	return ready.Message
}

// progressOf says how far a long step is.
func progressOf(p ports.Progress) string {
	if p.Step == "" || p.Percent < 0 {
		return p.Step
	}
	return fmt.Sprintf("%s %d%%", p.Step, p.Percent)
}

// table shows one host on a line, and further lines in the same columns.
type table struct {
	out      io.Writer
	columns  []column
	headless bool
	whole    bool // nothing is made shorter
	terminal int  // how wide the terminal is; 0: there is none
	palette  palette
	now      func() time.Time

	natural []int // how wide each column would be
	widths  []int // how wide it is
}

// row is a line of a table.
type row struct {
	cells  []string
	health core.Health
}

func newTable(w world, v view) *table {
	t := &table{
		out: w.out, columns: columnsOf(v.selection.Everywhere, v.output == outputWide), headless: v.headless,
		whole: v.output == outputWide, terminal: w.terminal, palette: palette(w.colours), now: w.now,
	}
	t.natural = make([]int, len(t.columns))
	for i, c := range t.columns {
		if !t.headless {
			t.natural[i] = len(c.title)
		}
	}
	return t
}

// row makes the cells of a host harmless and not empty.
func (t *table) row(h ports.Target) row {
	r := row{cells: make([]string, len(t.columns)), health: core.Advise(caseOf(h)).Health}
	now := t.now()
	for i, c := range t.columns {
		text := plain(c.cell(h, now))
		if c.title == titleMessage && !t.whole && t.terminal == 0 {
			text = fit(text, mostOfMessage)
		}
		r.cells[i] = cmp.Or(text, "-")
	}
	return r
}

// deleted is the last row of a host, which says that it is no more.
func (t *table) deleted(cells []string) row {
	for i, c := range t.columns {
		switch c.title {
		case titlePhase:
			cells[i] = "Deleted"
		case titleReady, titleMessage:
			cells[i] = "-"
		}
	}
	return row{cells: cells, health: core.HealthLeaving}
}

// alike says whether two rows differ in nothing but their ages.
func (t *table) alike(a, b []string) bool {
	for i, c := range t.columns {
		if a[i] != b[i] && c.title != titleAge && c.title != titleAttempt {
			return false
		}
	}
	return true
}

// write shows hosts, below the names of the columns.
func (t *table) write(hosts []ports.Target) error {
	rows := make([]row, len(hosts))
	for i, h := range hosts {
		rows[i] = t.row(h)
	}
	t.measure(rows)
	out := bufio.NewWriter(t.out)
	t.head(out)
	for _, r := range rows {
		t.line(out, r)
	}
	return out.Flush()
}

// writeRow shows one more host.
func (t *table) writeRow(r row) error {
	first := t.widths == nil
	t.measure([]row{r})
	out := bufio.NewWriter(t.out)
	if first {
		t.head(out)
	}
	t.line(out, r)
	return out.Flush()
}

func (t *table) head(out *bufio.Writer) {
	if t.headless {
		return
	}
	titles := make([]string, len(t.columns))
	for i, c := range t.columns {
		titles[i] = c.title
	}
	t.line(out, row{cells: titles})
}

// measure makes the columns as wide as more rows need and the terminal lets them be.
func (t *table) measure(rows []row) {
	for _, r := range rows {
		for i, cell := range r.cells {
			t.natural[i] = max(t.natural[i], widthIn(cell))
		}
	}
	t.widths = append([]int{}, t.natural...)
	if t.terminal == 0 || t.whole {
		return
	}
	over := gap*(len(t.columns)-1) - t.terminal
	for _, width := range t.widths {
		over += width
	}
	for _, s := range shrinking {
		for i, c := range t.columns {
			switch {
			case c.title != s.title || over <= 0:
			case s.least == dropped:
				over -= t.widths[i] + gap
				t.widths[i] = dropped
			default:
				less := min(over, max(0, t.widths[i]-s.least))
				over -= less
				t.widths[i] -= less
			}
		}
	}
}

// line writes one row. The last column is not filled up.
func (t *table) line(out *bufio.Writer, r row) {
	spaces := 0
	for i, cell := range r.cells {
		if t.widths[i] == dropped {
			continue
		}
		cell = fit(cell, t.widths[i])
		// No error is lost: what is buffered is flushed, and that tells.
		_, _ = out.WriteString(strings.Repeat(" ", spaces))
		spaces = t.widths[i] - widthIn(cell) + gap
		if title := t.columns[i].title; title == titleReady || title == titlePhase {
			cell = t.palette.paint(r.health, cell)
		}
		_, _ = out.WriteString(cell)
	}
	_, _ = out.WriteString("\n")
}

// versionName is how a person tells versions apart: by the system's own name, else by the image.
func versionName(v core.Version) string {
	if v == (core.Version{}) {
		return ""
	}
	return cmp.Or(v.Version, v.String())
}

// plain makes one harmless line of a text that a host has written.
func plain(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsGraphic(r) }), " ")
}

// age says how long ago something was, in the one or two units that matter, as kubectl does.
func age(since, now time.Time) string {
	if since.IsZero() {
		return ""
	}
	d := max(0, now.Sub(since))
	switch day := 24 * time.Hour; {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < 3*time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 2*day:
		return fmt.Sprintf("%dh", d/time.Hour)
	default:
		return fmt.Sprintf("%dd", d/day)
	}
}
