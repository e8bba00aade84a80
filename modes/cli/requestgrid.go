package cli

import (
	"bufio"
	"cmp"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"elemental/ports"
)

// requestGrid shows one request on a line, and further lines in the same columns.
type requestGrid struct {
	out      io.Writer
	terminal int  // how wide the terminal is; 0: there is none
	whole    bool // nothing is made shorter
	now      func() time.Time
	columns  []requestColumn
	short    map[string]string // what is shown of the requests' names
	widths   []int             // of the columns; nil: nothing was written yet
}

type requestColumn struct {
	title string
	cell  func(ports.JoinRequest) string
	claim bool // the host says so, and may say a great deal
}

func newRequestGrid(w world, everywhere, whole bool) *requestGrid {
	g := &requestGrid{out: w.out, terminal: w.terminal, whole: whole, now: w.now}
	if everywhere {
		g.columns = append(g.columns, requestColumn{title: "NAMESPACE", cell: func(r ports.JoinRequest) string { return r.Namespace }})
	}
	g.columns = append(g.columns,
		requestColumn{title: "NAME", cell: func(r ports.JoinRequest) string {
			if g.whole {
				return r.Name
			}
			return cmp.Or(g.short[r.Name], r.Name)
		}},
		requestColumn{title: "HOSTNAME", cell: func(r ports.JoinRequest) string { return r.Hostname }, claim: true},
		requestColumn{title: "SERIAL", cell: func(r ports.JoinRequest) string { return r.Serial }, claim: true},
		requestColumn{title: "REGISTRATION", cell: func(r ports.JoinRequest) string { return r.Registration }},
		requestColumn{title: "ANSWER", cell: answerOf},
		requestColumn{title: "HOST", cell: func(r ports.JoinRequest) string { return r.Host }},
		requestColumn{title: "AGE", cell: func(r ports.JoinRequest) string { return age(r.Created, g.now()) }},
	)
	if whole {
		g.columns = append(g.columns, requestColumn{title: "RULING", cell: func(r ports.JoinRequest) string { return r.Ruled }})
	}
	g.columns = append(g.columns, requestColumn{title: titleMessage, cell: func(r ports.JoinRequest) string { return r.Admitted.Message }})
	return g
}

// lengthen shows more of names where less no longer tells them apart.
func (g *requestGrid) lengthen(requests map[string]ports.JoinRequest) {
	g.short = shortNames(slices.Collect(maps.Values(requests)))
}

// write shows requests, below the names of the columns if those were not shown yet.
func (g *requestGrid) write(requests []ports.JoinRequest) error {
	var rows [][]string
	if g.widths == nil {
		g.widths = make([]int, len(g.columns))
		titles := make([]string, len(g.columns))
		for i, c := range g.columns {
			titles[i] = c.title
		}
		rows = append(rows, titles)
	}
	for _, r := range requests {
		row := make([]string, len(g.columns))
		for i, c := range g.columns {
			row[i] = cmp.Or(plain(c.cell(r)), "-")
		}
		rows = append(rows, row)
	}
	last := len(g.columns) - 1
	for _, row := range rows {
		for i := range last {
			if g.columns[i].claim && !g.whole {
				row[i] = fit(row[i], mostOfClaim)
			}
			g.widths[i] = max(g.widths[i], widthIn(row[i]))
		}
	}
	out := bufio.NewWriter(g.out)
	for _, row := range rows {
		row[last] = fit(row[last], g.room(row[last]))
		for i, cell := range row[:last] {
			// No error is lost: what is buffered is flushed, and that tells.
			_, _ = out.WriteString(pad(cell, g.widths[i]) + strings.Repeat(" ", gap))
		}
		_, _ = out.WriteString(row[last] + "\n")
	}
	return out.Flush()
}

// mostOfClaim is how much is shown of what a host says of itself.
const mostOfClaim = 32

// room is how much of a message is shown.
func (g *requestGrid) room(message string) int {
	const least = 10
	switch {
	case g.whole:
		return widthIn(message)
	case g.terminal == 0:
		return mostOfMessage
	}
	left := g.terminal
	for _, width := range g.widths[:len(g.widths)-1] {
		left -= width + gap
	}
	return max(least, left)
}
