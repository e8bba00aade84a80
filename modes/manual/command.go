package manual

import (
	"math"
	"strings"

	"github.com/urfave/cli/v2"
)

// Name is a command as it is typed.
func Name(path []*cli.Command) string {
	var names []string
	for _, c := range path {
		names = append(names, c.Name)
	}
	return strings.Join(names, " ")
}

// IsGroup says that a command is only a name for those below it.
func IsGroup(c *cli.Command) bool { return len(c.Subcommands) > 0 && c.ArgsUsage == "" }

// Arity says how many arguments a command takes, as its ArgsUsage does: NAME is one, [NAME] may be left out, and
// NAME... is one or more.
func Arity(c *cli.Command) (least, most int) {
	optional := false
	for word := range strings.FieldsSeq(c.ArgsUsage) {
		optional = optional || strings.HasPrefix(word, "[")
		if !optional {
			least++
		}
		if strings.Contains(word, "...") {
			most = math.MaxInt
		} else if most < math.MaxInt {
			most++
		}
		optional = optional && !strings.HasSuffix(word, "]")
	}
	return least, most
}

// Flag is a flag as the manual shows it.
type Flag struct {
	Names       []string // as they are typed, the short ones first
	Placeholder string   // empty: it needs no value
	Optional    string   // what may be its value, where it needs none
	Usage       string
	Default     string
	Hidden      bool
}

// FlagOf describes a flag. What stands in backticks in its usage is its placeholder, which is not part of the text
// if a colon follows it.
func FlagOf(f cli.Flag) Flag {
	var flag Flag
	for _, name := range f.Names() {
		if len(name) == 1 {
			flag.Names = append([]string{"-" + name}, flag.Names...)
		} else {
			flag.Names = append(flag.Names, "--"+name)
		}
	}
	documented, ok := f.(cli.DocGenerationFlag)
	if !ok {
		return flag
	}
	flag.Usage = documented.GetUsage()
	if visible, ok := f.(cli.VisibleFlag); ok {
		flag.Hidden = !visible.IsVisible()
	}
	if before, rest, marked := strings.Cut(flag.Usage, "`"); marked {
		if name, after, closed := strings.Cut(rest, "`"); closed {
			flag.Placeholder, flag.Usage = name, strings.TrimPrefix(before+name+after, name+": ")
		}
	}
	if flag.Placeholder == "" {
		flag.Placeholder = "VALUE"
	}
	if !strings.Contains(flag.Usage, "default") {
		flag.Default = strings.Trim(documented.GetDefaultText(), `"`)
	}
	switch f := f.(type) {
	case *cli.BoolFlag:
		flag.Placeholder = ""
		if flag.Default == "false" {
			flag.Default = ""
		}
	case *cli.DurationFlag:
		flag.Default = duration(flag.Default)
		if flag.Placeholder == "VALUE" {
			flag.Placeholder = "DURATION"
		}
	case *cli.GenericFlag:
		if b, ok := f.Value.(interface{ IsBoolFlag() bool }); ok && b.IsBoolFlag() {
			if strings.Contains(flag.Placeholder, "|") {
				flag.Optional = flag.Placeholder
			}
			flag.Placeholder, flag.Default = "", ""
		}
	}
	if flag.Default == "[]" {
		flag.Default = ""
	}
	return flag
}

// duration is one without the zeros that say nothing: 30m0s is 30m.
func duration(text string) string {
	for _, zeros := range []string{"0s", "0m"} {
		if shorter, cut := strings.CutSuffix(text, zeros); cut && strings.HasSuffix(shorter, map[string]string{"0s": "m", "0m": "h"}[zeros]) {
			text = shorter
		}
	}
	if text == "0s" {
		return ""
	}
	return text
}

// Choices are the values that a flag can have, if its placeholder lists them.
func (f Flag) Choices() []string {
	if values := f.Placeholder + f.Optional; strings.Contains(values, "|") {
		return strings.Split(values, "|")
	}
	return nil
}

// String is the flag as it is typed.
func (f Flag) String() string {
	if f.Optional != "" {
		return strings.Join(f.Names, ", ") + "[=" + f.Optional + "]"
	}
	if f.Placeholder == "" {
		return strings.Join(f.Names, ", ")
	}
	return strings.Join(f.Names, ", ") + " " + f.Placeholder
}

// Meaning is what the flag does, and its default.
func (f Flag) Meaning() string {
	if f.Default == "" {
		return f.Usage
	}
	return f.Usage + " (default: " + f.Default + ")"
}

// synopsis is how a command is typed.
func synopsis(path []*cli.Command) string {
	c := path[len(path)-1]
	words := []string{Name(path)}
	if IsGroup(c) {
		words = append(words, "COMMAND")
	}
	if c.ArgsUsage != "" {
		words = append(words, c.ArgsUsage)
	}
	flags := 0
	for _, f := range c.Flags {
		flag := FlagOf(f)
		if strings.HasSuffix(flag.Usage, "(required)") {
			words = append(words, flag.Names[len(flag.Names)-1]+" "+flag.Placeholder)
		} else {
			flags++
		}
	}
	if flags > 0 {
		words = append(words, "[OPTIONS]")
	}
	return strings.Join(words, " ")
}

// withStatuses completes the statuses of a page with those that all commands have.
func withStatuses(p Page) []Status {
	all := []Status{
		{0, "it was done"}, {1, "it could not be done, and the error says why"}, {2, "what was typed can't be meant; nothing was done"},
	}
	var statuses []Status
	for _, general := range all {
		known := false
		for _, own := range p.Statuses {
			known = known || own.Code == general.Code
		}
		if !known {
			statuses = append(statuses, general)
		}
	}
	return sorted(append(statuses, p.Statuses...))
}
