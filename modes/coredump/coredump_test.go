package coredump

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"

	"github.com/matryer/is"
	"golang.org/x/sys/unix"
)

// TestAProcessThatForbidsItLeavesNoCoreFile aborts one process that forbids it and one that does not, where both may
// leave core files.
func TestAProcessThatForbidsItLeavesNoCoreFile(t *testing.T) {
	var limit unix.Rlimit
	is.New(t).NoErr(unix.Getrlimit(unix.RLIMIT_CORE, &limit))
	most := limit
	most.Cur = most.Max
	if most.Max == 0 {
		t.Skip("this process may let none leave a core file")
	}
	is.New(t).NoErr(unix.Setrlimit(unix.RLIMIT_CORE, &most))
	t.Cleanup(func() { is.New(t).NoErr(unix.Setrlimit(unix.RLIMIT_CORE, &limit)) })
	left := map[string]bool{}
	for _, what := range []string{"forbid", "allow"} {
		is := is.New(t)
		folder := t.TempDir()
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestAborted$")
		cmd.Dir, cmd.Env = folder, append(os.Environ(), "COREDUMP="+what, "GOTRACEBACK=crash")
		stdin, err := cmd.StdinPipe()
		is.NoErr(err)
		stdout, err := cmd.StdoutPipe()
		is.NoErr(err)
		is.NoErr(cmd.Start())
		line, err := bufio.NewReader(stdout).ReadString('\n') // It is ready.
		is.NoErr(err)
		is.Equal(line, "ready\n")
		limits, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(cmd.Process.Pid), "limits"))
		is.NoErr(err)
		is.Equal(regexp.MustCompile(`(?m)^Max core file size +0 +0 `).Match(limits), what == "forbid")
		is.NoErr(cmd.Process.Signal(syscall.SIGABRT))
		var ended *exec.ExitError
		is.True(errors.As(cmd.Wait(), &ended))
		_ = stdin.Close() // It was closed by Wait.
		status := ended.Sys().(syscall.WaitStatus)
		is.True(status.Signaled() && status.Signal() == syscall.SIGABRT) // Not only its own words.
		files, err := filepath.Glob(filepath.Join(folder, "*core*"))
		is.NoErr(err)
		left[what] = status.CoreDump() || len(files) > 0
	}
	if left["forbid"] {
		t.Error("it left a core file")
	}
	if !left["allow"] {
		t.Skip("no process leaves a core file here, so that nothing is told")
	}
}

// TestAborted is a process of TestAProcessThatForbidsItLeavesNoCoreFile.
func TestAborted(t *testing.T) {
	switch os.Getenv("COREDUMP") {
	case "":
		t.Skip("it is started by another test")
	case "forbid":
		if err := Forbid(); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = os.Stdout.WriteString("ready\n")
	_, _ = os.Stdin.Read(make([]byte, 1)) // Until it is aborted, or whoever started it is gone.
}
