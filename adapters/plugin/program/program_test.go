package program

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/matryer/is"
)

func TestRun(t *testing.T) {
	is := is.New(t)
	var said, status []string
	result, err := Run(t.Context(), Command{
		Args: []string{"sh", "-c", `cat; echo "$GREETING" >&2; printf 'a\rb\n\nc'; echo 50 >&3`}, Env: []string{"GREETING=hello"}, Stdin: "in\n",
		Line: func(l string) { said = append(said, l) }, Status: func(l string) { status = append(status, l) },
	})
	is.NoErr(err)
	is.Equal(string(result.Stdout), "in\na\rb\n\nc")
	is.Equal(result.Exit, 0)
	is.Equal(len(said), 5)
	is.Equal(status, []string{"50"})
}

func TestRunFails(t *testing.T) {
	is := is.New(t)
	_, err := Run(t.Context(), Command{Args: []string{"no-such-program"}})
	is.True(errors.Is(err, ErrMissing))
	_, err = Run(t.Context(), Command{})
	is.True(err != nil)

	result, err := Run(t.Context(), Command{Args: []string{"sh", "-c", "echo first; echo last >&2; exit 7"}})
	var exited *ExitError
	is.True(errors.As(err, &exited))
	is.Equal(result.Exit, 7)
	is.Equal(err.Error(), "sh exited with status 7: last")

	_, err = Run(t.Context(), Command{Args: []string{"sh", "-c", "kill -9 $$"}})
	is.True(errors.As(err, &exited))
	is.Equal(exited.Signal, syscall.SIGKILL)
}

func TestRunEndsWhatTakesTooLong(t *testing.T) {
	is := is.New(t)
	began := time.Now()
	_, err := Run(t.Context(), Command{Args: []string{"sh", "-c", "sleep 600 & sleep 600"}, Timeout: 50 * time.Millisecond})
	is.True(errors.Is(err, ErrTimedOut))
	is.True(time.Since(began) < 5*time.Second) // Its child ends with it, so that nothing is waited for.

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Run(ctx, Command{Args: []string{"sleep", "600"}})
	is.True(errors.Is(err, context.Canceled))
}

func TestRunKeepsLittle(t *testing.T) {
	is := is.New(t)
	longest := 0
	result, err := Run(t.Context(), Command{
		Args: []string{"sh", "-c", "head -c 40000000 /dev/zero | tr '\\0' x; echo; echo end"},
		Line: func(l string) { longest = max(longest, len(l)) },
	})
	is.NoErr(err)
	is.Equal(len(result.Stdout), maxStdout)
	is.True(len(result.Tail) <= maxTail)
	is.True(strings.HasSuffix(result.Tail, "\nend\n"))
	is.Equal(longest, maxLine)
}
