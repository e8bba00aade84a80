package manual

import (
	"testing"

	"github.com/matryer/is"
)

func TestPageIsReadAsItWasWritten(t *testing.T) {
	is := is.New(t)
	page := Page{
		Text:     "Asks for it.\n\nThen waits:\n  as it is",
		Examples: []Example{{Does: "Ask.", Line: "elemental ask a"}, {Does: "Ask again.", Line: "elemental ask b"}},
		Statuses: []Status{{Code: 3, Means: "it was away"}, {Code: 124, Means: "it was too late"}},
		See:      []string{"elemental tell", "docs/asking.md"},
	}
	is.Equal(Read(page.String()), page)
	is.Equal(Read(Page{}.String()), Page{})
	is.Equal(Read("Only words."), Page{Text: "Only words."})
	is.Equal(Read("Examples:\n  elemental a\n\nMore words."), Page{Text: "More words.", Examples: []Example{{Line: "elemental a"}}})
}
