package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"elemental/core"
)

// The bounds of a document: the API server holds none that is much larger, and the core none that is deeper.
const (
	mostOfDocument  = 1 << 20 // bytes, before and after aliases are written out
	deepestDocument = 200
)

// documentOf reads a whole osVersionManagement, JSON or YAML, from a file, or from in where the file is "-". It
// must have one meaning only, and is returned as JSON.
func documentOf(file string, in io.Reader) ([]byte, error) {
	name := file
	if file == "-" {
		name = "the standard input"
	} else {
		opened, err := os.Open(file)
		if err != nil {
			return nil, fmt.Errorf("reading the document: %w", err)
		}
		defer opened.Close()
		in = opened
	}
	text, err := io.ReadAll(io.LimitReader(in, mostOfDocument+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading %s: %w", name, err)
	case len(text) > mostOfDocument:
		return nil, fmt.Errorf("reading %s: it has more than %d bytes", name, mostOfDocument)
	case !utf8.Valid(text):
		return nil, fmt.Errorf("reading %s: the text is not UTF-8", name)
	}
	// JSON is YAML but for its tabs, and its numbers are to stay as they are.
	if !json.Valid(text) {
		if text, err = jsonOf(text); err != nil {
			return nil, fmt.Errorf("reading %s: %w", name, err)
		}
	}
	document, err := core.CanonicalJSON(text)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	if err := isRequest(document); err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	return document, nil
}

// isRequest says what is wrong with a document that can't be meant.
func isRequest(document []byte) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(document, &members); err != nil || members == nil {
		return errors.New("it must be an object, such as osVersion: {imageUri: oci://registry/os:v1}")
	}
	for _, around := range []string{"osVersionManagement", "spec"} {
		if _, is := members[around]; is && len(members) == 1 || is && members["apiVersion"] != nil && members["kind"] != nil {
			return fmt.Errorf("it has the field %s at its top: give what stands below spec.osVersionManagement alone", around)
		}
	}
	return nil
}

// jsonOf writes one document of YAML as JSON. Its errors name the line.
func jsonOf(text []byte) ([]byte, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var document, second yaml.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF):
		return nil, errors.New("there is no document in it")
	case err != nil:
		return nil, yamlError(err)
	}
	switch err := decoder.Decode(&second); {
	case err == nil:
		return nil, fmt.Errorf("line %d: another document begins, and there may be one", second.Line)
	case !errors.Is(err, io.EOF):
		return nil, yamlError(err)
	}
	w := jsonWriter{}
	if err := w.value(&document, 0); err != nil {
		return nil, err
	}
	return w.out.Bytes(), nil
}

// yamlError says in which line something is wrong. The library counts lines from 0 where its parser complains,
// from 1 where its scanner does, and leaves out the first.
func yamlError(err error) error {
	words, line := strings.TrimPrefix(err.Error(), "yaml: "), 0
	if number, rest, there := strings.Cut(strings.TrimPrefix(words, "line "), ": "); there {
		if n, err := strconv.Atoi(number); err == nil {
			words, line = rest, n
		}
	}
	expected, _ := strings.CutPrefix(words, "did not find expected ")
	switch expected {
	case "<document start>", "'-' indicator", "key", "',' or ']'", "',' or '}'", "node content":
		line++
	case "control characters are not allowed":
		return errors.New(words) // The library says nowhere where.
	}
	return fmt.Errorf("line %d: %s", max(1, line), words)
}

// jsonWriter writes YAML as JSON. Aliases are followed, within the bounds of a document.
type jsonWriter struct{ out bytes.Buffer }

func (w *jsonWriter) value(n *yaml.Node, depth int) error {
	switch {
	case depth > deepestDocument:
		return fmt.Errorf("line %d: the document is nested deeper than %d", n.Line, deepestDocument)
	case w.out.Len() > mostOfDocument:
		return fmt.Errorf("line %d: with its aliases written out, the document has more than %d bytes", n.Line, mostOfDocument)
	}
	switch n.Kind {
	case yaml.DocumentNode:
		return w.value(n.Content[0], depth)
	case yaml.AliasNode:
		return w.value(n.Alias, depth+1)
	case yaml.MappingNode:
		return w.mapping(n, depth)
	case yaml.SequenceNode:
		w.out.WriteByte('[')
		for i, item := range n.Content {
			if i > 0 {
				w.out.WriteByte(',')
			}
			if err := w.value(item, depth+1); err != nil {
				return err
			}
		}
		w.out.WriteByte(']')
		return nil
	default:
		return w.scalar(n)
	}
}

func (w *jsonWriter) mapping(n *yaml.Node, depth int) error {
	lines := map[string]int{}
	w.out.WriteByte('{')
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		for key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		switch {
		case key.ShortTag() == "!!merge":
			return fmt.Errorf("line %d: << is not understood: write the fields out", key.Line)
		case key.Kind != yaml.ScalarNode || key.ShortTag() != "!!str":
			return fmt.Errorf("line %d: the name of a field must be text: put it in quotes", key.Line)
		case lines[key.Value] > 0:
			return fmt.Errorf("line %d: the field %q stands in line %d already", key.Line, key.Value, lines[key.Value])
		}
		if lines[key.Value] = key.Line; i > 0 {
			w.out.WriteByte(',')
		}
		w.text(key.Value)
		w.out.WriteByte(':')
		if err := w.value(n.Content[i+1], depth+1); err != nil {
			return err
		}
	}
	w.out.WriteByte('}')
	return nil
}

func (w *jsonWriter) scalar(n *yaml.Node) error {
	switch tag := n.ShortTag(); tag {
	case "!!str", "!!timestamp": // JSON has no dates.
		w.text(n.Value)
	case "!!null":
		w.out.WriteString("null")
	case "!!bool", "!!int", "!!float":
		if json.Valid([]byte(n.Value)) {
			w.out.WriteString(n.Value)
			return nil
		}
		var value any
		if err := n.Decode(&value); err != nil {
			return yamlError(err)
		}
		if f, is := value.(float64); is && (math.IsInf(f, 0) || math.IsNaN(f)) {
			return fmt.Errorf("line %d: JSON has no number %s", n.Line, n.Value)
		}
		text, err := json.Marshal(value)
		if err != nil {
			return fmt.Errorf("line %d: %w", n.Line, err)
		}
		w.out.Write(text)
	default:
		return fmt.Errorf("line %d: the tag %s is not understood", n.Line, tag)
	}
	return nil
}

func (w *jsonWriter) text(text string) {
	quoted, err := json.Marshal(text)
	if err == nil { // There is no text that can't be written.
		w.out.Write(quoted)
	}
}
