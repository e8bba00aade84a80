package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"elemental/core"
	"elemental/ports"
)

// request is what is to be asked of each host or machine.
type request struct {
	image    string // merged into what is asked already
	document []byte // replaces it
	file     string // where the document comes from
}

func (q request) change() ports.Change {
	return ports.Change{Image: q.image, Document: q.document}
}

// words name what is asked for.
func (q request) words() string {
	if q.image != "" {
		return q.image
	}
	return wordsOf(q.document)
}

// flags ask for the same again.
func (q request) flags() string {
	if q.image != "" {
		return "--image " + q.image
	}
	return "--filename " + q.file
}

// wordsOf names what a document asks for: its image, and the names of its other fields. Their values may be
// secrets, and what is said here is kept in logs.
func wordsOf(document []byte) string {
	fields, err := fieldsOf(document)
	if err != nil {
		return "what can't be read"
	}
	var image string
	if err := json.Unmarshal([]byte(fields[imageField]), &image); err == nil {
		delete(fields, imageField)
	}
	rest := list(slices.Sorted(maps.Keys(fields)))
	switch {
	case image == "" && rest == "":
		return "nothing"
	case rest == "":
		return plain(image)
	case image == "":
		return rest
	default:
		return plain(image) + " with " + rest
	}
}

const imageField = "osVersion.imageUri"

// differences names the fields in which two documents differ.
func differences(one, other []byte) string {
	before, err := fieldsOf(one)
	after, otherErr := fieldsOf(other)
	if err != nil || otherErr != nil {
		return "everything"
	}
	var names []string
	for name := range before {
		if after[name] != before[name] {
			names = append(names, name)
		}
	}
	for name := range after {
		if _, there := before[name]; !there {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return list(names)
}

// fieldsOf takes a document apart, two levels deep, into canonical values by the names of their fields.
func fieldsOf(document []byte) (map[string]string, error) {
	fields := map[string]string{}
	canonical, err := core.CanonicalJSON(document)
	if err != nil || canonical == nil {
		return fields, err
	}
	var whole map[string]json.RawMessage
	if err := json.Unmarshal(canonical, &whole); err != nil {
		return nil, err
	}
	for name, value := range whole {
		var members map[string]json.RawMessage
		if err := json.Unmarshal(value, &members); err != nil || len(members) == 0 {
			fields[name] = string(value)
		}
		for member, value := range members {
			fields[name+"."+member] = string(value)
		}
	}
	return fields, nil
}

// list names as many fields as people read.
func list(names []string) string {
	const most, longest = 6, 60
	more := ""
	if len(names) > most {
		more = fmt.Sprintf(" and %d more", len(names)-(most-1))
		names = names[:most-1]
	}
	for i, name := range names {
		names[i] = fit(plain(name), longest)
	}
	return strings.Join(names, ", ") + more
}

// result is what a host or machine will be asked for altogether.
func (q request) result(asked []byte) ([]byte, error) {
	if q.document != nil {
		return q.document, nil
	}
	whole := map[string]json.RawMessage{}
	version := map[string]json.RawMessage{}
	// As in a merge patch, what is no object is replaced by one.
	if err := json.Unmarshal(asked, &whole); err != nil || whole == nil {
		whole = map[string]json.RawMessage{}
	}
	if err := json.Unmarshal(whole["osVersion"], &version); err != nil || version == nil {
		version = map[string]json.RawMessage{}
	}
	var err error
	if version["imageUri"], err = json.Marshal(q.image); err == nil {
		whole["osVersion"], err = json.Marshal(version)
	}
	if err != nil {
		return nil, err
	}
	return json.Marshal(whole)
}

// imageOf completes a reference as it is written for other tools.
func imageOf(reference string) (string, error) {
	switch {
	case reference == "":
		return "", errors.New("--image says which image to ask for, such as oci://registry/os:v1.2.3")
	case strings.ContainsFunc(reference, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return "", fmt.Errorf("--image %q has white space in it", reference)
	case strings.Contains(reference, "://"), strings.HasPrefix(reference, "oci-layout:"), strings.HasPrefix(reference, "oci-archive:"):
		return reference, nil
	default:
		return "oci://" + reference, nil
	}
}

// verdicts hold documents against schemas, and remember: many hosts have the same plugin and are asked the same.
type verdicts struct {
	check func(schema, document []byte) error
	known map[[2]string]error
}

// of returns a core.Failure where the document is not what the host's plugin understands, and another error
// where the schema that the host published can't be used. A document that asks for nothing concerns no plugin.
func (v *verdicts) of(schema, document []byte) error {
	if hash, err := core.HashRequest(document); err != nil || hash == "" {
		return err
	}
	key := [2]string{string(schema), string(document)}
	err, known := v.known[key]
	if !known {
		if v.known == nil {
			v.known = map[[2]string]error{}
		}
		err = v.check(schema, document)
		v.known[key] = err
	}
	return err
}
