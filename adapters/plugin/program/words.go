package program

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// escape is what a program writes to a terminal to colour its words.
var escape = regexp.MustCompile(`\x1b\[[0-9;?]*[ -/]*[@-~]`)

// Words is the end of what a program wrote, as one line that may stand in a status: of at most so many bytes,
// and without control characters.
func Words(tail string, most int) string {
	tail = escape.ReplaceAllString(tail, "")
	printable := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(tail, "?"))
	line := strings.Join(strings.Fields(printable), " ")
	if len(line) <= most {
		return line
	}
	const cut = "… "
	line = line[len(line)-max(0, most-len(cut)):]
	for len(line) > 0 && !utf8.RuneStart(line[0]) {
		line = line[1:]
	}
	return cut + line
}
