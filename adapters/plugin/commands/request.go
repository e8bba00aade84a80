package commands

import (
	"bytes"
	_ "embed" // The schema is part of the binary.
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"elemental/core"
)

// schema is what osVersionManagement may say.
//
//go:embed schema.json
var schema []byte

const (
	maxLine        = 16 << 10 // bytes of what is run or checked, with its arguments
	defaultTimeout = 10 * time.Minute
	maxTimeout     = 2 * time.Hour // A staging has no more.
)

// The ways in which a command asks for a restart. Nothing said is never.
const (
	ifChanged = "ifChanged"
	always    = "always"
)

// command is one command of a request.
type command struct {
	Name    string `json:"name"`
	Run     line   `json:"run"`
	Check   line   `json:"check"`
	Timeout string `json:"timeout"`
	Restart string `json:"restart"`

	limit time.Duration
}

// line is a program with its arguments; a text is one for the shell. Its zero value is none.
type line []string

// UnmarshalJSON reads a text or a list of texts.
func (l *line) UnmarshalJSON(text []byte) error {
	var list []string
	if !bytes.HasPrefix(text, []byte(`"`)) {
		err := json.Unmarshal(text, &list)
		*l = list
		return err
	}
	var words string
	if err := json.Unmarshal(text, &words); err != nil {
		return err
	}
	*l = line{"/bin/sh", "-e", "-c", words}
	return nil
}

// readRequest reads the commands that are asked for; none where nothing is. Errors are core.Failures of class
// invalid.
func readRequest(document []byte) ([]command, error) {
	text, err := core.CanonicalJSON(document)
	if err != nil {
		return nil, core.Failure{Class: core.FailureInvalid, Reason: "Malformed", Path: "osVersionManagement", Message: err.Error()}
	}
	if len(text) == 0 {
		return nil, nil
	}
	var request struct {
		Commands []command `json:"commands"`
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&request); err != nil {
		return nil, core.Failure{Class: core.FailureInvalid, Reason: "Malformed", Path: "osVersionManagement", Message: err.Error()}
	}
	for i := range request.Commands {
		if err := request.Commands[i].check(fmt.Sprintf("commands[%d]", i)); err != nil {
			return nil, err
		}
	}
	return request.Commands, nil
}

// check says what the schema can't.
func (c *command) check(path string) error {
	wrong := func(field, format string, args ...any) error {
		return core.Failure{Class: core.FailureInvalid, Reason: "WrongValue", Path: path + "." + field, Message: fmt.Sprintf(format, args...)}
	}
	for field, l := range map[string]line{"run": c.Run, "check": c.Check} {
		size := 0
		for _, word := range l {
			size += len(word)
			if strings.ContainsRune(word, 0) {
				return wrong(field, "it holds a NUL, which no program can be given")
			}
		}
		if size > maxLine {
			return wrong(field, "it has %d bytes, and may have %d; put the script into a file of the image and run that", size, maxLine)
		}
		if len(l) > 0 && l[0] == "" {
			return wrong(field, "the list begins with the program to run, which must not be empty")
		}
	}
	c.limit = defaultTimeout
	if c.Timeout != "" {
		var err error
		if c.limit, err = time.ParseDuration(c.Timeout); err != nil || c.limit <= 0 || c.limit > maxTimeout {
			return wrong("timeout", "%q is not a time between nothing and %s, such as 90s", c.Timeout, maxTimeout)
		}
	}
	return nil
}
