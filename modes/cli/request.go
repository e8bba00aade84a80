package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
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

// wordsOf names what a document asks for: its image, where that is all.
func wordsOf(document []byte) string {
	const most = 200
	var asked struct {
		OSVersion struct {
			ImageURI string `json:"imageUri"`
		} `json:"osVersion"`
	}
	decoder := json.NewDecoder(bytes.NewReader(document))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&asked); err == nil && asked.OSVersion.ImageURI != "" {
		return plain(asked.OSVersion.ImageURI)
	}
	hash, err := core.HashRequest(document)
	switch {
	case err != nil:
		return "what can't be read"
	case hash == "":
		return "nothing"
	}
	text, err := core.CanonicalJSON(document)
	if err != nil {
		return "what can't be read"
	}
	return fit(plain(string(text)), most)
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
