package manual

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

const (
	usualWidth = 80  // of what is no terminal
	mostWidth  = 100 // longer lines are hard to read
	leastWidth = 40
)

// OptionsHint is what a page says of the flags that it does not show.
const OptionsHint = "kubectl's other flags work here, too: `elemental options` lists them."

func sorted(statuses []Status) []Status {
	slices.SortStableFunc(statuses, func(a, b Status) int { return cmp.Compare(a.Code, b.Code) })
	return statuses
}

// sheet is a page that is being written.
type sheet struct {
	strings.Builder
	width   int
	program string // what the program is called
}

func newSheet(width int, program string) *sheet {
	if width <= 0 {
		width = usualWidth
	}
	return &sheet{width: max(leastWidth, min(width, mostWidth)), program: program}
}

// Write prints the page of a command. The width is that of the terminal; 0: there is none.
func Write(out io.Writer, width int, path []*cli.Command) error {
	c := path[len(path)-1]
	s, page := newSheet(width, path[0].Name), Read(c.Description)
	s.WriteString("NAME\n")
	s.wrap(4, Name(path)+" - "+c.Usage)
	s.WriteString("\nSYNOPSIS\n")
	s.wrap(4, synopsis(path))
	if page.Text != "" {
		s.WriteString("\nDESCRIPTION\n")
		s.text(4, page.Text)
	}
	s.commands(c)
	s.options(c)
	if len(page.Examples) > 0 {
		s.WriteString("\nEXAMPLES\n")
	}
	for i, e := range page.Examples {
		if i > 0 {
			s.WriteString("\n")
		}
		fmt.Fprintf(s, "    # %s\n    %s\n", e.Does, s.named(e.Line))
	}
	if !IsGroup(c) {
		s.WriteString("\nEXIT STATUS\n")
		for _, status := range withStatuses(page) {
			s.item(4, 9, fmt.Sprint(status.Code), status.Means)
		}
	}
	if also := seeAlso(path, page); len(also) > 0 {
		s.WriteString("\nSEE ALSO\n")
		s.wrap(4, strings.Join(also, ", "))
	}
	_, err := io.WriteString(out, s.String())
	return err
}

// seeAlso are what a page names, and the commands beside this one.
func seeAlso(path []*cli.Command, page Page) []string {
	s := sheet{program: path[0].Name}
	var also []string
	for _, words := range page.See {
		also = append(also, s.named(words))
	}
	if len(path) > 2 {
		for _, beside := range path[len(path)-2].Subcommands {
			name := Name(path[:len(path)-1]) + " " + beside.Name
			if !beside.Hidden && beside != path[len(path)-1] && !slices.Contains(also, name) {
				also = append(also, name)
			}
		}
	}
	return also
}

func (s *sheet) commands(c *cli.Command) {
	most := 0
	for _, sub := range c.Subcommands {
		if !sub.Hidden {
			most = max(most, len(sub.Name))
		}
	}
	if most == 0 {
		return
	}
	s.WriteString("\nCOMMANDS\n")
	for _, sub := range c.Subcommands {
		if !sub.Hidden {
			s.item(4, most+7, sub.Name, sub.Usage)
		}
	}
}

func (s *sheet) options(c *cli.Command) {
	begun, hidden := false, false
	for _, f := range c.Flags {
		flag := FlagOf(f)
		if flag.Hidden {
			hidden = true
			continue
		}
		if !begun {
			s.WriteString("\nOPTIONS\n")
			begun = true
		}
		fmt.Fprintf(s, "    %s\n", flag)
		s.wrap(8, flag.Meaning())
	}
	if hidden {
		s.WriteString("\n")
		s.wrap(4, s.named(OptionsHint))
	}
}

// named writes the program's name as it was called: a plugin of kubectl is kubectl elemental.
func (s *sheet) named(text string) string {
	if s.program == "elemental" {
		return text
	}
	if strings.HasPrefix(text, "elemental ") {
		text = s.program + strings.TrimPrefix(text, "elemental")
	}
	for _, before := range []string{"`", "&& ", "| "} {
		text = strings.ReplaceAll(text, before+"elemental ", before+s.program+" ")
	}
	return text
}

// text writes paragraphs. Lines that begin with blanks stay as they are.
func (s *sheet) text(indent int, text string) {
	var paragraph []string
	flush := func() {
		if len(paragraph) > 0 {
			s.wrap(indent, s.named(strings.Join(paragraph, " ")))
		}
		paragraph = nil
	}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n ")
		switch {
		case line == "":
			flush()
			s.WriteString("\n")
		case strings.HasPrefix(line, "  "):
			flush()
			s.WriteString(strings.Repeat(" ", indent) + s.named(line) + "\n")
		default:
			paragraph = append(paragraph, line)
		}
	}
	flush()
}

// item writes a name, and beside it what it means.
func (s *sheet) item(indent, column int, name, means string) {
	lead := fmt.Sprintf("%*s%-*s", indent, "", column-indent, name)
	s.lines(lead, strings.Repeat(" ", column), means)
}

func (s *sheet) wrap(indent int, text string) {
	blanks := strings.Repeat(" ", indent)
	s.lines(blanks, blanks, text)
}

// unbroken are the words of a text; a command in backticks is one word, unless it is longer than most.
func unbroken(text string, most int) []string {
	var words []string
	open := false
	for word := range strings.FieldsSeq(text) {
		if last := len(words) - 1; open && len(words[last])+len(word) < most {
			words[last] += " " + word
		} else {
			words = append(words, word)
		}
		if strings.Count(word, "`")%2 == 1 {
			open = !open
		}
	}
	return words
}

// lines breaks a text between its words.
func (s *sheet) lines(first, further, text string) {
	line, begun := first, false
	for _, word := range unbroken(text, s.width/2) {
		switch {
		case begun && len([]rune(line))+1+len([]rune(word)) > s.width:
			s.WriteString(line + "\n")
			line = further + word
		case begun:
			line += " " + word
		default:
			line += word
		}
		begun = true
	}
	s.WriteString(strings.TrimRight(line, " ") + "\n")
}
