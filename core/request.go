package core

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"
)

// maxDepth bounds how deep a document may nest; the API server's own bound is far above any real one.
const maxDepth = 200

// HashRequest returns the sha256, in hexadecimal, of the canonical form of osVersionManagement, and the
// empty string when nothing is requested: no document, null, or an empty object.
func HashRequest(document []byte) (string, error) {
	canonical, err := CanonicalJSON(document)
	if err != nil {
		return "", err
	}
	switch string(canonical) {
	case "", "null", "{}":
		return "", nil
	}
	sum := sha256.Sum256(canonical)
	return hex.EncodeToString(sum[:]), nil
}

// CanonicalJSON writes a document in its one canonical form: keys sorted, no white space, and each
// number with the text that it came with, since 1, 1.0 and 1e0 may differ to a plugin. An empty
// document stays empty. What could be read in two ways is an error: a key that stands twice, text
// that is not UTF-8, or anything after the document's end.
func CanonicalJSON(document []byte) ([]byte, error) {
	if len(bytes.TrimSpace(document)) == 0 {
		return nil, nil
	}
	if !utf8.Valid(document) {
		return nil, errors.New("reading JSON: the text is not UTF-8")
	}
	if !json.Valid(document) {
		return nil, errors.New("reading JSON: the document is malformed")
	}
	c := canon{decoder: json.NewDecoder(bytes.NewReader(document))}
	c.decoder.UseNumber()
	if err := c.value(0); err != nil {
		return nil, fmt.Errorf("reading JSON: %w", err)
	}
	return c.out.Bytes(), nil
}

// canon copies one value at a time from a decoder to its canonical text.
type canon struct {
	decoder *json.Decoder
	out     bytes.Buffer
}

func (c *canon) value(depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("the document is nested deeper than %d", maxDepth)
	}
	token, err := c.decoder.Token()
	if err != nil {
		return err
	}
	switch t := token.(type) {
	case json.Delim:
		if t == '{' {
			return c.object(depth)
		}
		return c.array(depth)
	case json.Number:
		c.out.WriteString(t.String())
		return nil
	default:
		text, err := json.Marshal(t)
		c.out.Write(text)
		return err
	}
}

func (c *canon) array(depth int) error {
	c.out.WriteByte('[')
	for first := true; c.decoder.More(); first = false {
		if !first {
			c.out.WriteByte(',')
		}
		if err := c.value(depth + 1); err != nil {
			return err
		}
	}
	c.out.WriteByte(']')
	_, err := c.decoder.Token()
	return err
}

func (c *canon) object(depth int) error {
	members := map[string][]byte{}
	for c.decoder.More() {
		key, err := c.decoder.Token()
		if err != nil {
			return err
		}
		name := key.(string)
		if _, twice := members[name]; twice {
			return fmt.Errorf("the key %q stands twice in one object", name)
		}
		member := canon{decoder: c.decoder}
		if err := member.value(depth + 1); err != nil {
			return err
		}
		members[name] = member.out.Bytes()
	}
	c.out.WriteByte('{')
	names := make([]string, 0, len(members))
	for name := range members {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, name := range names {
		if i > 0 {
			c.out.WriteByte(',')
		}
		text, err := json.Marshal(name)
		if err != nil {
			return err
		}
		c.out.Write(text)
		c.out.WriteByte(':')
		c.out.Write(members[name])
	}
	c.out.WriteByte('}')
	_, err := c.decoder.Token()
	return err
}
