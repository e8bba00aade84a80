package plugin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/matryer/is"
	"github.com/urfave/cli/v2"

	operator "elemental/modes/cli"
)

// TestMain lets the test binary serve the built-in plugins, as elemental does.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == "plugin" {
		app := &cli.App{Commands: []*cli.Command{Command()}, Reader: os.Stdin, Writer: os.Stdout, ExitErrHandler: func(*cli.Context, error) {}}
		if err := app.RunContext(context.Background(), os.Args); err != nil {
			syscall.Exit(1)
		}
		// os.Exit takes a second in a binary built with the race detector.
		syscall.Exit(0)
	}
	os.Exit(m.Run())
}

func run(t *testing.T, request string, words ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	app := &cli.App{
		Name: "elemental", Usage: "be a plugin", Commands: []*cli.Command{Command()}, Reader: strings.NewReader(request), Writer: &out,
		ExitErrHandler: func(*cli.Context, error) {},
	}
	err := operator.Run(t.Context(), app, append([]string{"elemental", "plugin"}, words...))
	return out.String(), err
}

func TestServesBuiltins(t *testing.T) {
	is := is.New(t)
	for _, name := range Names() {
		out, err := run(t, `{"protocol":"elemental.io/plugin/v1","verb":"describe"}`, name, "describe")
		is.NoErr(err)
		is.True(strings.HasPrefix(out, `{"result":{"name":"`+name+`","protocols":["elemental.io/plugin/v1"],"verbs":["describe","observe",`))
		is.Equal(strings.Count(out, "\n"), 1)
	}
	is.Equal(Names(), []string{"commands", "dummy", "elemental-toolkit", "image", "packages"})
}

// TestWrongFieldsOfTheImagePlugin asks it for what its schema does not accept: the host is not looked at.
func TestWrongFieldsOfTheImagePlugin(t *testing.T) {
	for document, want := range map[string]string{
		`{"osVersion":{"imageUri":"x","colour":"red"}}`: `"UnknownField","message":"there is no such field; there are: debug, digest, `,
		`{"osVersion":{"imageUrl":"x"}}`:                `"UnknownField","message":"there is no such field; did you mean imageUri?","path":"osVersion.imageUrl"`,
		`{"osImage":{}}`:                                `"UnknownField","message":"there is no such field; there are: osVersion","path":"osImage"`,
		`{"osVersion":{"imageUri":"x","healthChecks":[{"unit":"a"},{"unit":"b","port":1}]}}`: `"path":"osVersion.healthChecks[1].port"`,
		`{"osVersion":{"imageUri":5}}`:                       `"WrongType","message":"its type is number; it must be string","path":"osVersion.imageUri"`,
		`{"osVersion":{"imageUri":"x","debug":"true"}}`:      `"WrongType","message":"its type is string; it must be boolean","path":"osVersion.debug"`,
		`{"osVersion":{"imageUri":"x","healthChecks":{}}}`:   `"WrongType","message":"its type is object; it must be array","path":"osVersion.healthChecks"`,
		`{"osVersion":"x"}`:                                  `"WrongType","message":"its type is string; it must be object","path":"osVersion"`,
		`{"osVersion":null}`:                                 `"WrongType","message":"its type is null; it must be object","path":"osVersion"`,
		`[]`:                                                 `"WrongType","message":"its type is array; it must be object"`,
		`{"osVersion":{}}`:                                   `"MissingField","message":"this field is required","path":"osVersion.imageUri"`,
		`{"osVersion":{"imageUri":""}}`:                      `"WrongValue","message":"it must not be empty","path":"osVersion.imageUri"`,
		`{"osVersion":{"imageUri":"x","digest":"sha256:1"}}`: `"WrongValue","message":"it does not match the pattern ^sha256:[0-9a-f]{64}$","path":"osVersion.digest"`,
		`{"osVersion":{"imageUri":"x","healthChecks":[{"timeout":"1s"}]}}`:              `"message":"one of these fields is required: unit, command, tcp","path":"osVersion.healthChecks[0]"`,
		`{"osVersion":{"imageUri":"x","healthChecks":[{"unit":"a","tcp":"b:1"}]}}`:      `"message":"only one of these fields may be set: unit, tcp","path":"osVersion.healthChecks[0]"`,
		`{"osVersion":{"imageUri":"x","healthChecks":[{"unit":"a","timeout":"soon"}]}}`: `"path":"osVersion.healthChecks[0].timeout"`,
		`{"osVersion":{"imageUri":"x","healthChecks":[{"unit":"--now"}]}}`:              `"path":"osVersion.healthChecks[0].unit"`,
		`{"osVersion":{"imageUri":"x","healthChecks":[{"command":[]}]}}`:                `"message":"it has 0 items; it must have at least 1","path":"osVersion.healthChecks[0].command"`,
		`{"osVersion":{"imageUri":"x"},"osVersion":{"imageUri":"y"}}`:                   `"MalformedRequest","message":"reading JSON: the key \"osVersion\" stands twice`,
	} {
		for _, verb := range []string{"observe", "stage"} {
			out, err := run(t, `{"protocol":"elemental.io/plugin/v1","verb":"`+verb+`","input":{"osVersionManagement":`+document+`}}`, "image", verb)
			is.New(t).NoErr(err)
			if !strings.HasPrefix(out, `{"error":{"class":"invalid","reason":"`) || !strings.Contains(out, want) || strings.Count(out, "\n") != 1 {
				t.Errorf("%s of %s answers %s", verb, document, out)
			}
		}
	}
}

func TestUsage(t *testing.T) {
	is := is.New(t)
	for message, words := range map[string][]string{
		`no command "dummy"`:             {"dummy"},
		`no built-in plugin "levitator"`: {"levitator", "observe"},
		"needs one argument, NAME":       {"describe"},
		`it must be text or json`:        {"describe", "-o", "xml", "dummy"},
		"has no flag --yaml":             {"describe", "dummy", "--yaml"},
		`no schema "reply"`:              {"schema", "reply"},
		"--stage needs --request":        {"test", "--stage", "dummy"},
		"needs one argument, NAME, and":  {"test", "dummy", "image"},
	} {
		_, err := run(t, "", words...)
		is.True(strings.Contains(err.Error(), message))
		var named cli.ExitCoder
		is.True(errors.As(err, &named))
		is.Equal(named.ExitCode(), 2)
	}
}

func TestDescribe(t *testing.T) {
	is := is.New(t)
	out, err := run(t, "", "describe", "image")
	is.NoErr(err)
	t.Log(out)
	is.True(strings.HasPrefix(out, "Name:      image\nWhere:     built in\nProtocols: elemental.io/plugin/v1\nVerbs:     describe, observe, stage, "))
	is.True(strings.Contains(out, "\nosVersionManagement:\n  osVersion (object)\n      The operating system that the host is to run.\n    "))
	is.True(strings.Contains(out, "    imageUri (string, required)\n        Where the image lies: oci://"))
	is.True(strings.Contains(out, "    healthChecks (array of object)\n"))
	is.True(strings.Contains(out, "      tcp (string)\n"))
	late, err := run(t, "", "describe", "dummy", "-o", "json")
	is.NoErr(err)
	out, err = run(t, "", "describe", "-o", "json", "dummy")
	is.NoErr(err)
	is.Equal(out, late)
	var raw struct {
		Name   string
		Verbs  []string
		Schema map[string]any
	}
	is.NoErr(json.Unmarshal([]byte(out), &raw))
	is.Equal(raw.Name, "dummy")
	is.Equal(raw.Schema["type"], "object")
	path := filepath.Join(t.TempDir(), "mine")
	is.NoErr(os.WriteFile(path, []byte("#!/bin/sh\nprintf '%s\n' '"+`{"result":{"name":"mine\u001b[2J","protocols":["elemental.io/plugin/v1"],"verbs":["observe"],"schema":{"$ref":"file:///etc/passwd"}}}`+"'\n"), 0o755))
	out, err = run(t, "", "describe", path)
	is.NoErr(err)
	is.True(strings.HasPrefix(out, "Name:      mine\uFFFD[2J\nWhere:     "+path+"\n")) // nothing that a terminal obeys
	is.True(strings.Contains(out, "\nIts schema can't be used: reading the schema: at #/$ref: it refers to"))
	_, err = run(t, "", "describe", "missing")
	is.True(strings.Contains(err.Error(), `there is no plugin "missing"`))
}

func TestSchema(t *testing.T) {
	is := is.New(t)
	all, err := run(t, "", "schema")
	is.NoErr(err)
	var schemas map[string]json.RawMessage
	is.NoErr(json.Unmarshal([]byte(all), &schemas))
	is.Equal(len(schemas), 4)
	for name := range schemas {
		one, err := run(t, "", "schema", name)
		is.NoErr(err)
		is.True(json.Valid([]byte(one)))
		written, err := os.ReadFile("../../adapters/plugin/schemas/" + name + ".json")
		is.NoErr(err)
		is.Equal(one, string(written))
	}
}
