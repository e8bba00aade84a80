package plugin

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"
	"github.com/urfave/cli/v2"
)

func run(t *testing.T, request string, words ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	app := &cli.App{
		Commands: []*cli.Command{Command()}, Reader: strings.NewReader(request), Writer: &out,
		ExitErrHandler: func(*cli.Context, error) {},
	}
	err := app.RunContext(t.Context(), append([]string{"elemental", "plugin"}, words...))
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
		"needs two arguments":            {"dummy"},
		`no built-in plugin "levitator"`: {"levitator", "observe"},
	} {
		_, err := run(t, "", words...)
		var named cli.ExitCoder
		is.True(errors.As(err, &named))
		is.Equal(named.ExitCode(), 2)
		is.True(strings.Contains(err.Error(), message))
	}
}

func TestConformance(t *testing.T) {
	is := is.New(t)
	folder := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(folder, name)
		is.NoErr(os.WriteFile(path, []byte(text), 0o755))
		return path
	}
	request := write("request.json", `{"a":1}`)
	begin := "#!/bin/sh\ncase $1 in describe) echo '{\"result\":{\"name\":\"x\",\"protocols\":[\"elemental.io/plugin/v1\"],\"verbs\":["
	good := write("good", begin+`"observe","stage","unstage","confirm"]}}'; exit;; esac
case $(cat) in *"a list"*) echo '{"error":{"class":"invalid","message":"a list"}}'; exit 1;; esac
echo '{"result":{"verdict":"satisfied"}}'
`)
	out, err := run(t, "", "test", "--request", request, "--stage", good)
	t.Log(out)
	is.NoErr(err)
	is.Equal(strings.Count(out, "ok      "), 7)

	bad := write("bad", begin+`"observe"]}}'; exit;; esac
echo '{"result":{"verdict":"outdated"}}'
`)
	out, err = run(t, "", "test", "--request", request, "--stage", bad)
	t.Log(out)
	is.True(err != nil)
	is.True(strings.Contains(out, "FAILED  it has the verbs that every host needs: stage is not among its verbs"))
	is.True(strings.Contains(out, "FAILED  it is satisfied when nothing is requested: its verdict is outdated"))
	is.True(strings.Contains(out, "FAILED  it refuses a list as invalid"))
	is.True(strings.Contains(out, "FAILED  it has what it staged, and stages it twice"))

	_, err = run(t, "", "test", filepath.Join(folder, "missing"))
	is.True(err != nil)
	_, err = run(t, "", "test", "--stage", good)
	var named cli.ExitCoder
	is.True(errors.As(err, &named))
	is.Equal(named.ExitCode(), 2)
}
