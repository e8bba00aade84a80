package modes

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/matryer/is"
	"github.com/urfave/cli/v2"
)

func TestExitCode(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		words  string
	}{
		{errors.New("the disk is full"), 1, "elemental: the disk is full\n"},
		{cli.Exit("too late", 124), 124, "elemental: too late\n"},
		{fmt.Errorf("waiting: %w", cli.Exit("too late", 124)), 124, "elemental: waiting: too late\n"},
		{cli.Exit("", 3), 3, ""},
	} {
		is := is.New(t)
		var words bytes.Buffer
		is.Equal(ExitCode(&words, c.err), c.status)
		is.Equal(words.String(), c.words)
	}
}

func TestEveryCommandIsDescribedAndNamedOnce(t *testing.T) {
	is := is.New(t)
	names := map[string]bool{}
	for _, c := range Commands("v1") {
		is.True(c.Name != "" && c.Usage != "")
		is.True(!names[c.Name]) // each name is one command
		names[c.Name] = true
	}
}

func TestUnknown(t *testing.T) {
	is := is.New(t)
	var out bytes.Buffer
	app := &cli.App{Name: "elemental", Commands: Commands("v1"), Action: Unknown, Writer: &out, ExitErrHandler: func(*cli.Context, error) {}}
	is.NoErr(app.RunContext(t.Context(), []string{"elemental"}))
	is.True(out.Len() > 0) // the help
	err := app.RunContext(t.Context(), []string{"elemental", "levitate"})
	is.Equal(ExitCode(&out, err), 2)
}
