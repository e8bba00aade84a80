package settings

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"elemental/core"
)

// What the decoder says of a document that does not fit, with the names that types have in a program.
var (
	unknownField = regexp.MustCompile(`(?s)^line (\d+): field (.*) not found in type (.*)$`)
	wrongType    = regexp.MustCompile("(?s)^line (\\d+): cannot unmarshal (\\S+)(?: `(.*)`)? into (.*)$")
	fieldTwice   = regexp.MustCompile(`(?s)^line (\d+): mapping key (.*) already defined at line (\d+)$`)
)

// worded says in the words of whoever wrote the file what is wrong with it, on one line.
func worded(err error, into any) error {
	var misfit *yaml.TypeError
	if !errors.As(err, &misfit) {
		return errors.New("it is no YAML: " + strings.TrimPrefix(err.Error(), "yaml: "))
	}
	var all []string
	for _, complaint := range misfit.Errors {
		all = append(all, wordedMisfit(complaint, into))
	}
	return errors.New(strings.Join(all, "; "))
}

func wordedMisfit(complaint string, into any) string {
	if found := unknownField.FindStringSubmatch(complaint); found != nil {
		said := fmt.Sprintf("line %s: there is no field %s", found[1], shown(found[2]))
		if meant := core.Nearest(found[2], fieldsOf(reflect.TypeOf(into), found[3])); meant != "" {
			said += "; did you mean " + meant + "?"
		}
		return said
	}
	if found := wrongType.FindStringSubmatch(complaint); found != nil {
		wanted, simple := wantedBy(found[4])
		// What stands where fields or a list belong may be anything, and so a secret, too.
		given := givenAs(found[2])
		if simple && found[3] != "" {
			given = shown(found[3])
		}
		return fmt.Sprintf("line %s: there must be %s, not %s", found[1], wanted, given)
	}
	if found := fieldTwice.FindStringSubmatch(complaint); found != nil {
		return fmt.Sprintf("line %s: the field %s is there twice, and on line %s for the first time", found[1], strings.Trim(found[2], `"`), found[3])
	}
	return complaint
}

// shown is a text of the file on one line, in quotes where it is no plain word.
func shown(text string) string {
	if regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`).MatchString(text) {
		return text
	}
	const most = 64
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most]) + "..."
	}
	return fmt.Sprintf("%q", text)
}

// wantedBy puts a type into words, and says whether its values are single ones.
func wantedBy(kind string) (words string, simple bool) {
	kind = strings.TrimLeft(kind, "*")
	switch {
	case kind == "time.Duration":
		return "a duration such as 90s or 5m", true
	case kind == "bool":
		return "true or false", true
	case kind == "string":
		return "text", true
	case strings.HasPrefix(kind, "int"):
		return "a whole number", true
	case strings.HasPrefix(kind, "uint"):
		return "a whole number that is not below 0", true
	case strings.HasPrefix(kind, "["):
		return "a list", false
	default:
		return "fields", false
	}
}

// givenAs puts the tag of a value into words.
func givenAs(tag string) string {
	switch tag {
	case "!!map":
		return "fields"
	case "!!seq":
		return "a list"
	case "!!int", "!!float":
		return "a number"
	case "!!bool":
		return "true or false"
	default:
		return "text"
	}
}

// fieldsOf are the fields of the type that has a name, somewhere in a type.
func fieldsOf(in reflect.Type, name string) []string {
	switch in.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		return fieldsOf(in.Elem(), name)
	case reflect.Struct:
	default:
		return nil
	}
	var fields []string
	for i := range in.NumField() {
		field := in.Field(i)
		if !field.IsExported() {
			continue
		}
		if in.String() != name {
			if found := fieldsOf(field.Type, name); found != nil {
				return found
			}
			continue
		}
		known, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		if known == "" {
			known = strings.ToLower(field.Name)
		}
		if known != "-" {
			fields = append(fields, known)
		}
	}
	return fields
}
