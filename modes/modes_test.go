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
		is.Equal(exitCode(&words, "elemental", c.err), c.status)
		is.Equal(words.String(), c.words)
	}
	for text, words := range map[string]string{
		"elemental retry needs a name":        "kubectl elemental retry needs a name\n",
		"kubectl elemental hosts has no flag": "kubectl elemental hosts has no flag\n",
		"the disk is full":                    "kubectl elemental: the disk is full\n",
	} {
		var out bytes.Buffer
		is.New(t).Equal(exitCode(&out, "kubectl elemental", errors.New(text)), 1)
		is.New(t).Equal(out.String(), words)
	}
}
