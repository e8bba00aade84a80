package cli

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/term"
)

// screen is a few lines at the end of a terminal that are written over and over.
type screen struct {
	out   io.Writer
	size  func() (width, height int)
	drawn []string // what stands there; nil: nothing
	width int      // of the terminal when that was drawn
}

// draw replaces the lines that stand there. None may be wider than the terminal.
func (s *screen) draw(lines []string) {
	width, _ := s.size()
	if s.width == width && slices.Equal(s.drawn, lines) {
		return
	}
	var b strings.Builder
	if s.drawn == nil {
		b.WriteString("\033[?25l") // The cursor would flicker.
	}
	b.WriteString(s.home())
	for _, line := range lines {
		b.WriteString(line + "\033[K\n")
	}
	b.WriteString("\033[J")
	fmt.Fprint(s.out, b.String())
	s.drawn, s.width = lines, width
}

// erase takes the lines away, and gives the cursor back.
func (s *screen) erase() {
	if s.drawn != nil {
		fmt.Fprint(s.out, s.home()+"\033[J\033[?25h")
		s.drawn = nil
	}
}

// home goes back to where the first line begins. A terminal that became narrower has wrapped the lines.
func (s *screen) home() string {
	width, _ := s.size()
	rows := 0
	for _, line := range s.drawn {
		rows += max(1, (widthIn(line)+width-1)/max(1, width))
	}
	if rows == 0 {
		return "\r"
	}
	return fmt.Sprintf("\r\033[%dA", rows)
}

// sizeOf returns how large a terminal is, and nothing for everything else, or one that can't move its cursor.
func sizeOf(file *os.File) (width, height int) {
	if os.Getenv("TERM") == "dumb" {
		return 0, 0
	}
	width, height, err := term.GetSize(int(file.Fd()))
	if err != nil {
		return 0, 0
	}
	return width, height
}

// wide are the characters that take two cells of a terminal. Source: Unicode's East Asian Width, W and F, in blocks.
var wide = &unicode.RangeTable{
	R16: []unicode.Range16{
		{Lo: 0x1100, Hi: 0x115f, Stride: 1}, {Lo: 0x2e80, Hi: 0xa4cf, Stride: 1}, {Lo: 0xac00, Hi: 0xd7a3, Stride: 1},
		{Lo: 0xf900, Hi: 0xfaff, Stride: 1}, {Lo: 0xfe30, Hi: 0xfe6f, Stride: 1}, {Lo: 0xff00, Hi: 0xff60, Stride: 1},
		{Lo: 0xffe0, Hi: 0xffe6, Stride: 1},
	},
	R32: []unicode.Range32{{Lo: 0x1f300, Hi: 0x1faff, Stride: 1}, {Lo: 0x20000, Hi: 0x3fffd, Stride: 1}},
}

// cells is how many cells of a terminal a character takes.
func cells(r rune) int {
	switch {
	case r < 0x300: // As nearly all are.
		return 1
	case unicode.Is(unicode.Mn, r), unicode.Is(unicode.Me, r):
		return 0
	case unicode.Is(wide, r):
		return 2
	default:
		return 1
	}
}

// widthIn is how many cells of a terminal a text takes.
func widthIn(text string) (width int) {
	for _, r := range text {
		width += cells(r)
	}
	return width
}

// fit keeps as much of a text as so many cells hold.
func fit(text string, most int) string {
	if widthIn(text) <= most {
		return text
	}
	var b strings.Builder
	left := most - 1 // The last is for the ellipsis.
	for _, r := range text {
		if left -= cells(r); left < 0 {
			break
		}
		b.WriteRune(r)
	}
	if most < 1 {
		return ""
	}
	return b.String() + "…"
}
