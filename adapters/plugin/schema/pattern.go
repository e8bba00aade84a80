package schema

import (
	"regexp"
	"regexp/syntax"
)

// pattern is a regular expression whose cost is known. Go's take time in proportion to their own size and
// that of the text, so that no pair of the two runs away.
type pattern struct {
	expression *regexp.Regexp
	size       int // in instructions
}

// steps is what matching a text costs.
func (p *pattern) steps(text string) int { return 1 + len(text)*p.size/32 }

func (k *keywords) compilePattern(keyword, text string) *pattern {
	tree, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		k.fail(keyword, "the pattern %q can't be used: %v", clip(text, 200), clip(err.Error(), 200))
		return nil
	}
	size := instructions(tree)
	if k.compiler.programs += size; size > maxPrograms || k.compiler.programs > maxPrograms {
		k.fail(keyword, "the pattern %q can't be used: the patterns of one schema may have %d instructions together", clip(text, 200), maxPrograms)
		return nil
	}
	expression, err := regexp.Compile(text)
	if err != nil {
		k.fail(keyword, "the pattern %q can't be used: %v", clip(text, 200), clip(err.Error(), 200))
		return nil
	}
	return &pattern{expression, size}
}

// instructions is about how many a regular expression compiles to. Repetitions are written out.
func instructions(tree *syntax.Regexp) int {
	size := 1 + len(tree.Rune)
	for _, part := range tree.Sub {
		size = min(size+instructions(part), maxPrograms+1)
	}
	if tree.Op == syntax.OpRepeat {
		size = min(size*max(1, tree.Min, tree.Max), maxPrograms+1)
	}
	return size
}
