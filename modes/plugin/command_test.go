package plugin

import (
	"bytes"
	"errors"
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
	is.Equal(Names(), []string{"dummy", "image"})
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
