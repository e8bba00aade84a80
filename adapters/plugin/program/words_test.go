package program

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/matryer/is"
)

func TestWords(t *testing.T) {
	is := is.New(t)
	is.Equal(Words("\x1b[1;31mred\x1b[0m\r\n\n second\x00\x07\tline \xff\u202e\n", 100), "red second line ?")
	is.Equal(Words(" \n", 100), "")
	for most := 8; most < 40; most++ {
		long := Words(strings.Repeat("ä", 100)+" end", most)
		is.True(len(long) <= most && utf8.ValidString(long))
		is.True(strings.HasSuffix(long, "end"))
	}
}
