package schema

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"elemental/core"
)

// problem is one thing that is wrong with a document.
type problem struct {
	at              *place
	reason, message string

	keyword string   // type, enum or required, where several of them can be told as one
	words   []string // the types, values or names that would have been right
}

// findings are the problems of one value.
type findings struct{ problems []problem }

func (f *findings) add(problems ...problem) {
	room := max(0, maxProblems-len(f.problems))
	f.problems = append(f.problems, problems[:min(room, len(problems))]...)
}

func (f *findings) wrong(at *place, format string, args ...any) {
	f.add(problem{at: at, reason: ReasonWrongValue, message: fmt.Sprintf(format, args...)})
}

// worst chooses what is told. A field that is not known comes first: what is missing beside it is often the
// same field, mistyped.
func worst(problems []problem) problem {
	for _, p := range problems {
		if p.reason == ReasonUnknownField {
			return p
		}
	}
	return problems[0]
}

func typeProblem(at *place, got string, want []string) problem {
	return problem{
		at: at, reason: ReasonWrongType, keyword: "type", words: want,
		message: fmt.Sprintf("its type is %s; it must be %s", got, or(want)),
	}
}

func enumProblem(at *place, values []any) problem {
	words := make([]string, 0, len(values))
	for _, value := range values {
		words = append(words, shown(value))
	}
	message := "it must be one of these: " + shorten(words)
	switch len(words) {
	case 0:
		message = "nothing is allowed here"
	case 1:
		message = "it must be " + words[0]
	}
	return problem{at: at, reason: ReasonWrongValue, keyword: "enum", words: words, message: message}
}

// missingProblem tells of a field that is required, always or because of another one.
func missingProblem(at *place, name, because string) problem {
	message := "this field is required"
	if because != "" {
		message += " where " + clip(because, 100) + " is set"
	}
	return problem{at: at.in(name), reason: ReasonMissingField, keyword: "required", words: []string{name}, message: message}
}

func unknownProblem(at *place, name string, known []string) problem {
	message := "there is no such field"
	switch meant := core.Nearest(name, known); {
	case meant != "":
		message += "; did you mean " + meant + "?"
	case len(known) > 0:
		message += "; there are: " + shorten(known)
	}
	return problem{at: at.in(name), reason: ReasonUnknownField, message: message}
}

// shown writes a value of the schema, and a text without quotes where it is a word.
func shown(value any) string {
	text, isText := value.(string)
	if isText && isWord(text) {
		return text
	}
	written, err := json.Marshal(value)
	if err != nil {
		return "a value that can't be written"
	}
	return clip(string(written), 100)
}

func or(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// shorten lists as many words as people read.
func shorten(words []string) string {
	const most = 12
	if len(words) > most {
		return strings.Join(words[:most], ", ") + fmt.Sprintf(" and %d more", len(words)-most)
	}
	return strings.Join(words, ", ")
}

// together tells of a value that fits none of several schemas.
func together(at *place, branches [][]problem) problem {
	// A branch that only dislikes something further down is the one that was meant.
	depth, meant := at.depth(), -1
	for i, branch := range branches {
		deeper := !slices.ContainsFunc(branch, func(p problem) bool { return p.keyword != "required" && p.at.depth() <= depth })
		if deeper && !slices.ContainsFunc(branch, func(p problem) bool { return p.keyword == "required" }) &&
			(meant < 0 || len(branch) < len(branches[meant])) {
			meant = i
		}
	}
	if meant >= 0 {
		return worst(branches[meant])
	}
	var words, messages []string
	same := branches[0][0].keyword
	for _, branch := range branches {
		p := worst(branch)
		if len(branch) > 1 || p.keyword != same || p.at.depth() > depth+1 {
			same = ""
		}
		for _, word := range p.words {
			if !slices.Contains(words, word) {
				words = append(words, word)
			}
		}
		if len(messages) == 3 {
			continue
		}
		if below := p.at.below(at); below != "" {
			p.message = clip(below, 200) + ": " + clip(p.message, 200)
		}
		if !slices.Contains(messages, p.message) {
			messages = append(messages, p.message)
		}
	}
	out := problem{at: at, reason: ReasonWrongValue, keyword: same, words: words}
	switch same {
	case "type":
		out.reason, out.message = ReasonWrongType, "its type is wrong; it must be "+or(words)
	case "enum":
		out.message = "it must be one of these: " + shorten(words)
	case "required":
		out.reason, out.message = ReasonMissingField, "one of these fields is required: "+shorten(words)
	default:
		out.message = "it fits none of the forms that are allowed here: " + strings.Join(messages, "; or ")
	}
	return out
}
