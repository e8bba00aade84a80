package program

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
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

	result, err := Run(t.Context(), Command{Args: []string{"sh", "-c", "echo first >&2; echo last >&2; exit 7"}})
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

// TestRunHearsTheEndOfTheStatus is about the lines that a program writes just before it ends: they say why it failed.
func TestRunHearsTheEndOfTheStatus(t *testing.T) {
	is := is.New(t)
	for range 50 {
		var last string
		_, err := Run(t.Context(), Command{
			Args: []string{"sh", "-c", "i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo $i >&3; done"}, Status: func(line string) { last = line },
		})
		is.NoErr(err)
		is.Equal(last, "300")
	}
	began := time.Now()
	_, err := Run(t.Context(), Command{Args: []string{"sh", "-c", "sleep 20 >/dev/null 2>&1 & echo begun >&3"}, Status: func(string) {}})
	is.NoErr(err)
	is.True(time.Since(began) < 10*time.Second) // Who holds the descriptor open is not waited for.
}

// TestRunWithinAPluginThatIsEnded is about a plugin that is over its time. It is asked to end, and killed 5 s later: what
// its program has started must be gone by then, also where it does not listen.
func TestRunWithinAPluginThatIsEnded(t *testing.T) {
	const left = "LEFT_BY_A_PROGRAM"
	if file := os.Getenv(left); file != "" {
		ctx, stop := signal.NotifyContext(t.Context(), syscall.SIGTERM)
		defer stop()
		_, _ = Run(ctx, Command{Args: []string{"sh", "-c", `trap '' TERM; sh -c 'echo $$ > "$LEFT_BY_A_PROGRAM"; sleep 600; :'; :`}})
		return
	}
	is := is.New(t)
	file := filepath.Join(t.TempDir(), "pid")
	plugin := exec.Command(os.Args[0], "-test.run=^TestRunWithinAPluginThatIsEnded$")
	plugin.Env = append(os.Environ(), left+"="+file)
	is.NoErr(plugin.Start())
	var pid int
	for end := time.Now().Add(10 * time.Second); pid == 0; time.Sleep(5 * time.Millisecond) {
		is.True(time.Now().Before(end)) // The program runs.
		text, _ := os.ReadFile(file)
		pid, _ = strconv.Atoi(strings.TrimSpace(string(text)))
	}
	is.NoErr(plugin.Process.Signal(syscall.SIGTERM))
	kill := time.AfterFunc(5*time.Second, func() { _ = plugin.Process.Kill() })
	_ = plugin.Wait()
	is.True(kill.Stop()) // It ended before it was killed.
	running := func() bool {
		state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err == nil && !strings.Contains(string(state), ") Z ")
	}
	for end := time.Now().Add(time.Second); running(); time.Sleep(5 * time.Millisecond) {
		is.True(time.Now().Before(end)) // What the program had started is gone.
	}
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
