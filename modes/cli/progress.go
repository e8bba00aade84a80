package cli

import (
	"cmp"
	"fmt"
	"os"

	"golang.org/x/term"

	"elemental/core"
	"elemental/ports"
)

// progress shows how a host stands while someone waits: a line that is written over and over on a
// terminal, and elsewhere one line for each change.
type progress struct {
	world
	last  string // what was shown last
	begun bool   // a line stands on the terminal
}

func (p *progress) show(host ports.Target, waiting core.Waiting) {
	if waiting.End != core.WaitGoesOn {
		return // The last word is said in full below.
	}
	phase := cmp.Or(string(host.Phase), "not seen yet")
	line := plain(fmt.Sprintf("%s: %s: %s", phase, waiting.Reason, waiting.Message))
	step, percent := plain(host.OSVersion.Progress.Step), ""
	if step != "" {
		line = phase + ": " + step
		if host.OSVersion.Progress.Percent >= 0 {
			percent = fmt.Sprintf(" %d%%", host.OSVersion.Progress.Percent)
		}
	}
	if p.terminal > 0 {
		if message := plain(host.OSVersion.Progress.Message); step != "" && message != "" {
			percent += " " + message
		}
		// The line must not wrap: a carriage return goes back to the beginning of the last row only.
		fmt.Fprintf(p.out, "\r\033[K%s", shorten(line+percent, p.terminal-1))
		p.begun = true
		return
	}
	if line != p.last {
		p.last = line
		fmt.Fprintf(p.out, "%s %s\n", p.now().UTC().Format("15:04:05"), line)
	}
}

// end takes the line off the terminal.
func (p *progress) end() {
	if p.begun {
		fmt.Fprint(p.out, "\r\033[K")
	}
}

// widthOf returns how wide a terminal is, and 0 for everything else.
func widthOf(file *os.File) int {
	width, _, err := term.GetSize(int(file.Fd()))
	if err != nil {
		return 0
	}
	return width
}
