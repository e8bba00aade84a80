// Package manual is what the program says about itself: the page of each command, on a terminal and in the
// documents, printed from the one tree of commands.
package manual

import (
	"fmt"
	"strconv"
	"strings"
)

// Page is what the manual says of a command besides its usage and its flags. A command carries it as its
// Description, which is text: Page.String writes it, and Read reads it again.
type Page struct {
	// Text is in full sentences what the command reads, changes and needs. An empty line ends a paragraph;
	// a line that begins with two blanks is shown as it is. Commands stand in backticks.
	Text     string
	Examples []Example
	Statuses []Status // those that mean more than that it was done, that it failed, or wrong usage
	See      []string // commands and documents
}

// Example is a line that works as it is written; a test runs every one. A command that has no flags and no
// arguments needs one, too.
type Example struct {
	Does string // a sentence, which becomes a comment above the line
	Line string // begins with elemental
}

// Status is an exit status.
type Status struct {
	Code  int
	Means string
}

// The headings within a description.
const (
	examples = "Examples:"
	statuses = "Exit status:"
	see      = "See also:"
)

// String is the page as a command's Description.
func (p Page) String() string {
	var b strings.Builder
	b.WriteString(strings.TrimSpace(p.Text))
	if len(p.Examples) > 0 {
		b.WriteString("\n\n" + examples)
	}
	for _, e := range p.Examples {
		fmt.Fprintf(&b, "\n  # %s\n  %s", e.Does, e.Line)
	}
	if len(p.Statuses) > 0 {
		b.WriteString("\n\n" + statuses)
	}
	for _, s := range p.Statuses {
		fmt.Fprintf(&b, "\n  %d %s", s.Code, s.Means)
	}
	if len(p.See) > 0 {
		b.WriteString("\n\n" + see)
	}
	for _, s := range p.See {
		b.WriteString("\n  " + s)
	}
	return b.String()
}

// Read takes a command's Description apart. What it can't tell apart is text.
func Read(description string) Page {
	var p Page
	var text []string
	section, does := "", ""
	for line := range strings.Lines(description) {
		line = strings.TrimSuffix(line, "\n")
		indented, within := strings.CutPrefix(line, "  ")
		switch {
		case line == examples || line == statuses || line == see:
			section = line
		case section == examples && strings.HasPrefix(indented, "# "):
			does = strings.TrimPrefix(indented, "# ")
		case section == examples && within:
			p.Examples = append(p.Examples, Example{Does: does, Line: indented})
			does = ""
		case section == statuses && within:
			code, means, _ := strings.Cut(indented, " ")
			number, err := strconv.Atoi(code)
			if err != nil {
				text = append(text, line)
				continue
			}
			p.Statuses = append(p.Statuses, Status{Code: number, Means: means})
		case section == see && within:
			p.See = append(p.See, indented)
		case line == "" && section != "":
		default:
			section = ""
			text = append(text, line)
		}
	}
	p.Text = strings.TrimSpace(strings.Join(text, "\n"))
	return p
}
