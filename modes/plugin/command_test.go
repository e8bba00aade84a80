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
	is.Equal(Names(), []string{"dummy", "image", "packages"})
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
