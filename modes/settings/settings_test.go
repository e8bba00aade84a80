package settings

import (
	"strings"
	"testing"

	"github.com/matryer/is"
)

func TestDecode(t *testing.T) {
	for text, want := range map[string]struct {
		tries int
		words string // of the error
	}{
		"":                          {3, ""},
		"# nothing\n":               {3, ""},
		"tries: 5":                  {5, ""},
		"tires: 5":                  {3, "field tires not found"},
		"tries: five":               {3, "cannot unmarshal"},
		"tries: 5\n---\ntries: 6\n": {5, "one document"},
		"\t":                        {3, "cannot start any token"},
	} {
		is := is.New(t)
		read := struct{ Tries int }{3}
		err := Decode([]byte(text), &read)
		is.Equal(read.Tries, want.tries)
		is.Equal(err != nil, want.words != "")
		is.True(err == nil || strings.Contains(err.Error(), want.words))
	}
}
