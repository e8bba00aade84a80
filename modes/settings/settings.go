// Package settings reads the files by which a host is configured.
package settings

import (
	"bytes"
	"errors"
	"io"

	"go.yaml.in/yaml/v3"
)

// Decode reads one YAML document over what is there already: what it does not mention stays as it is, and an empty
// document changes nothing. A field that is not known is an error, since a mistyped one must not be a default; so is a
// second document, of which nobody would know which one holds. An error has one line, names the lines of the text, and
// holds nothing of what may be secret.
func Decode(text []byte, into any) error {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(into); err != nil {
		if errors.Is(err, io.EOF) {
			return nil
		}
		return worded(err, into)
	}
	if err := decoder.Decode(&struct{}{}); !errors.Is(err, io.EOF) {
		return errors.New("there must be one document, and nothing after it")
	}
	return nil
}
