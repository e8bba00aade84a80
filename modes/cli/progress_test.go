package cli

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"elemental/core"
	"elemental/ports"
	"elemental/ports/portstest"
)

// glass is a terminal that understands as much as it is told, and wraps and scrolls as terminals do.
type glass struct {
	t             *testing.T
	width, height int

	mutex       sync.Mutex // someone may look at it while it is written
	lines       [][]rune   // all that ever were, the last ones of which are seen
	row, column int
	hidden      bool // the cursor
}

func (g *glass) Write(text []byte) (int, error) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	for rest := string(text); rest != ""; {
		if after, is := strings.CutPrefix(rest, "\033["); is {
			end := strings.IndexAny(after, "AKJlh")
			g.control(after[:end], after[end])
			rest = after[end+1:]
			continue
		}
		r := []rune(rest)[0]
		rest = rest[len(string(r)):]
		switch r {
		case '\r':
			g.column = 0
		case '\n':
			g.row, g.column = g.row+1, 0
			g.line()
		default:
			if g.column+cells(r) > g.width {
				g.row, g.column = g.row+1, 0
			}
			*g.line() = append((*g.line())[:min(g.column, len(*g.line()))], r)
			g.column++
		}
	}
	return len(text), nil
}

func (g *glass) line() *[]rune {
	for len(g.lines) <= g.row {
		g.lines = append(g.lines, nil)
	}
	return &g.lines[g.row]
}

func (g *glass) control(number string, kind byte) {
	switch kind {
	case 'A':
		var up int
		_, err := fmt.Sscan(number, &up)
		if err != nil || up > g.row || len(g.lines)-(g.row-up) > g.height {
			g.t.Errorf("the cursor leaves the screen: %d up from row %d of %d", up, g.row, len(g.lines))
		}
		g.row -= min(up, g.row)
	case 'K':
		*g.line() = (*g.line())[:min(g.column, len(*g.line()))]
	case 'J':
		*g.line() = (*g.line())[:min(g.column, len(*g.line()))]
		g.lines = g.lines[:g.row+1]
	case 'l', 'h':
		if number != "?25" {
			g.t.Errorf("the terminal is told %q", number)
		}
		g.hidden = kind == 'l'
	}
}

// cursor says whether the cursor is hidden.
func (g *glass) cursor() bool {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	return g.hidden
}

func (g *glass) String() string {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	var b strings.Builder
	for _, line := range g.lines {
		b.WriteString(strings.TrimRight(string(line), " ") + "\n")
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

func fetching(percent int, message string) func(*ports.Target) {
	return func(h *ports.Target) {
		h.Phase = core.PhaseReconcilingOSVersion
		h.Conditions = []core.Condition{condition(core.OSVersionReady, core.False, core.ReasonWaitingForOSReconcile, "it is staged", h.Generation)}
		h.OSVersion.Progress = ports.Progress{Step: "Fetching", Percent: percent, Message: message}
	}
}

func TestTerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		f := newFleet(t, "edge-1", "edge-2", "edge-3", "edge-4")
		f.takes = func(string) time.Duration { return time.Minute }
		f.ends = map[string]func(*ports.Target){
			"edge-2": failing(core.ReasonRolledBack, "the boot loader fell back from os:2 to os:1"),
			"edge-3": fetching(40, "of 8 MB"), "edge-4": func(*ports.Target) {},
		}
		g := &glass{t: t, width: 72, height: 8}
		middle, hidden := make(chan string, 1), make(chan bool, 1)
		time.AfterFunc(61*time.Second, func() { middle <- g.String(); hidden <- g.cursor() })
		_, errs, status := f.upgrade(t.Context(), func(u *upgrade) {
			u.terminal, u.size, u.out, u.timeout = g.width, func() (int, int) { return g.width, g.height }, g, 2*time.Minute
		})
		is.Equal("\n"+<-middle, `
4 hosts
1 of 4 run it, 1 failed, 2 under way
edge-3  Reconciling OS Version  Fetching [####------]  40% of 8 MB
edge-4  not seen yet            WaitingForOSReconcile: the agent has n…
edge-2  failed                  RolledBack: the boot loader fell back …
`)
		is.True(<-hidden)
		is.Equal(g.String(), "4 hosts\n") // the table is gone, and what is said is said below
		is.Equal(g.column, 0)
		is.True(!g.hidden)
		is.Equal(status, exitFailed)
		is.Equal(errs, "not done after 2m0s: 1 run it, 1 failed: edge-2: RolledBack: the boot loader fell back from os:2 to os:1, 2 go on by themselves: edge-3, edge-4")
	})
}

func TestTerminalOfOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		d := &desk{Operator: &portstest.Operator{}, width: 60}
		d.Put(t, ports.Target{Name: "a"}, nil, "")
		for _, step := range []func(*ports.Target){fetching(10, "of 8 MB"), fetching(20, "of 8 MB"), func(h *ports.Target) { h.Conditions = ready(core.KindHost, 2) }} {
			d.steps = append(d.steps, func(d *desk) { time.Sleep(time.Second); d.Change(t, "a", step) })
		}
		out, _, status := d.types(t, "upgrade host a --image r/os:2 --wait")
		is.Equal(status, 0)
		is.Equal(out, "host default/a is asked for oci://r/os:2\n"+
			"\033[?25l\ra  not seen yet  WaitingForOSReconcile: the agent has not …\033[K\n\033[J"+
			"\r\033[1Aa  Reconciling OS Version  Fetching [#---------]  10% of 8…\033[K\n\033[J"+
			"\r\033[1Aa  Reconciling OS Version  Fetching [##--------]  20% of 8…\033[K\n\033[J"+
			"\r\033[1A\033[J\033[?25hhost default/a is ready: it runs\n")
	})
}

func TestTerminalIsGivenBackToWhoInterrupts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		f := newFleet(t, "a", "b", "c")
		g := &glass{t: t, width: 40, height: 10}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(30*time.Second, func() {
			is.True(g.cursor() && strings.Contains(g.String(), "under way"))
			cancel()
		})
		_, errs, status := f.upgrade(ctx, func(u *upgrade) {
			u.terminal, u.size, u.out, u.parallel = g.width, func() (int, int) { return g.width, g.height }, g, 2
		})
		is.Equal(status, exitInterrupted)
		is.Equal(errs, "interrupted: 0 run it, 2 go on by themselves: a, b, 1 not asked: c")
		is.Equal(g.String(), "3 hosts\n")
		is.Equal(g.column, 0)
		is.True(!g.hidden)
		time.Sleep(time.Hour) // The hosts end before the test does.
	})
}

// A terminal that someone makes narrower wraps what stands there.
func TestTerminalBecomesNarrower(t *testing.T) {
	is := is.New(t)
	var out bytes.Buffer
	width := 80
	s := &screen{out: &out, size: func() (int, int) { return width, 24 }}
	s.draw([]string{strings.Repeat("x", 79), "short"})
	out.Reset()
	width = 30
	s.draw([]string{"one"})
	is.True(strings.HasPrefix(out.String(), "\r\033[4Aone\033[K\n")) // three rows and one
	out.Reset()
	s.draw([]string{"one"})
	is.Equal(out.String(), "") // It stands there.
	s.erase()
	is.Equal(out.String(), "\r\033[1A\033[J\033[?25h")
	out.Reset()
	s.erase()
	is.Equal(out.String(), "")
}

// rows makes members that work, each with a name of its own.
func rows(n int) (members []*member) {
	for _, name := range numbered(n) {
		m := &member{stage: stageWorking, before: ports.Target{Name: name}}
		fetching(70, "of 日本語 "+name)(&m.seen)
		members = append(members, m)
	}
	return members
}

func TestFrameFits(t *testing.T) {
	for _, n := range []int{1, 2, 3, 30} {
		members := rows(n)
		members[n-1].stage, members[n-1].says = stageFailed, core.Waiting{Reason: "RolledBack", Message: strings.Repeat("wide 語 ", 40)}
		for width := range 130 {
			for _, height := range []int{0, 1, 2, 3, 4, 24, 40} {
				lines := frame(members, width, height)
				widest := 0
				for _, line := range lines {
					widest = max(widest, widthIn(line))
				}
				if len(lines) > max(1, height-1) || widest > max(0, width-1) {
					t.Fatalf("%d members take %d lines of %d cells, where there are %d of %d", n, len(lines), widest, height, width)
				}
			}
		}
	}
}

func TestFrame(t *testing.T) {
	members := rows(5)
	members[0].stage = stageDone
	members[1].seen.OSVersion.Progress = ports.Progress{Step: "Verifying", Percent: -1}
	members[2].stage, members[2].err = stageFailed, fmt.Errorf("asking: %w", ports.ErrDenied)
	members[4].stage = stageIdle
	for name, c := range map[string]struct {
		width, height int
		want          string
	}{
		"roomy": {100, 24, `
1 of 5 run it, 1 failed, 2 under way, 1 not asked yet
edge-002  Reconciling OS Version  Verifying
edge-004  Reconciling OS Version  Fetching [#######---]  70% of 日本語 edge-004
edge-003  failed                  asking: denied
`},
		"narrow": {40, 24, `
1 of 5 run it, 1 failed, 2 under way, …
edge-002  Reconciling OS Version  Veri…
edge-004  Reconciling OS Version  Fetc…
edge-003  failed                  aski…
`},
		"low": {100, 4, `
1 of 5 run it, 1 failed, 2 under way, 1 not asked yet
edge-002  Reconciling OS Version  Verifying
… and 2 more
`},
		"tiny":    {9, 3, "\n1 of 5 …\n… and 3…\n"},
		"nothing": {1, 1, "\n\n"},
	} {
		t.Run(name, func(t *testing.T) {
			is.New(t).Equal("\n"+strings.Join(frame(members, c.width, c.height), "\n")+"\n", c.want)
		})
	}
}

func TestFit(t *testing.T) {
	is := is.New(t)
	is.Equal(fit("plain", 5), "plain")
	is.Equal(fit("plainly", 5), "plai…")
	is.Equal(fit("日本語", 6), "日本語")
	is.Equal(fit("日本語", 5), "日本…")
	is.Equal(fit("日本語", 4), "日…")
	is.Equal(fit("e\u0301e\u0301", 2), "e\u0301e\u0301") // an accent takes no room of its own
	is.Equal(fit("x", 0), "")
}
