package portstest

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"elemental/ports"
)

// endTime is how long a program may take to end that is to end at once.
const endTime = 20 * time.Second

// launch is a program of the contract that was started, with the test's ends of its pipes.
type launch struct {
	ports.Process
	t              *testing.T
	stdin          *os.File
	stdout, stderr *bufio.Reader
}

// started starts a file with arguments.
func started(t *testing.T, l ports.Launcher, file string, args ...string) (launch, error) {
	t.Helper()
	return startedLike(t, l, func(*ports.Program) {}, file, args...)
}

func startedLike(t *testing.T, l ports.Launcher, change func(*ports.Program), file string, args ...string) (launch, error) {
	t.Helper()
	is := is.New(t)
	executable, err := os.Open(file)
	is.NoErr(err)
	t.Cleanup(func() { _ = executable.Close() })
	var ours, theirs [3]*os.File
	for i := range ours {
		read, write, err := os.Pipe()
		is.NoErr(err)
		ours[i], theirs[i] = read, write
		if i == 0 {
			ours[i], theirs[i] = write, read
		}
		t.Cleanup(func() { _, _ = read.Close(), write.Close() })
	}
	program := ports.Program{
		Name: "contract/test", File: executable, Args: append([]string{file}, args...), Dir: "/", Environment: []string{"PATH=/usr/bin:/bin", "LANG=C.UTF-8"},
		Stdin: theirs[0], Stdout: theirs[1], Stderr: theirs[2], Patience: 300 * time.Millisecond,
	}
	change(&program)
	process, err := l.Start(t.Context(), program)
	for _, file := range theirs {
		_ = file.Close()
	}
	if err == nil {
		t.Cleanup(process.Stop)
	}
	return launch{Process: process, t: t, stdin: ours[0], stdout: bufio.NewReader(ours[1]), stderr: bufio.NewReader(ours[2])}, err
}

func shell(t *testing.T, l ports.Launcher, script string) launch {
	t.Helper()
	p, err := started(t, l, "/bin/sh", "-c", script)
	is.New(t).NoErr(err)
	return p
}

// ends waits for the end of a program and says how it ended.
func (p launch) ends() ports.Exit {
	p.t.Helper()
	select {
	case <-p.Exited():
	case <-time.After(endTime):
		p.t.Fatal("the program never exited")
	}
	return p.Exit()
}

func (p launch) all(from io.Reader) string {
	p.t.Helper()
	text, err := io.ReadAll(from)
	is.New(p.t).NoErr(err)
	return string(text)
}

// ready waits until the program says that it is.
func (p launch) ready() {
	p.t.Helper()
	line, err := p.stdout.ReadString('\n')
	is.New(p.t).NoErr(err)
	is.New(p.t).Equal(line, "ready\n")
}

// TestLauncher holds a launcher against its port.
func TestLauncher(t *testing.T, open func(t *testing.T) ports.Launcher) {
	l := open(t)
	t.Run("what is written goes in and comes out", func(t *testing.T) {
		is := is.New(t)
		p := shell(t, l, scriptCopies)
		_, err := p.stdin.WriteString("hello\n")
		is.NoErr(err)
		is.NoErr(p.stdin.Close())
		is.Equal(p.all(p.stdout), "hello\n") // and there is an end to it
		is.Equal(p.all(p.stderr), "said\n")
		is.Equal(p.ends(), ports.Exit{})
	})
	t.Run("a script is executed by its interpreter", func(t *testing.T) {
		is := is.New(t)
		path := filepath.Join(t.TempDir(), "script")
		is.NoErr(os.WriteFile(path, []byte("#!/bin/sh\n"+scriptCopies+"\n"), 0o700))
		p, err := started(t, l, path)
		is.NoErr(err)
		is.NoErr(p.stdin.Close())
		is.Equal(p.all(p.stderr), "said\n")
		is.Equal(p.ends(), ports.Exit{})
	})
	t.Run("it has the folder and the environment that it was given, and no other", func(t *testing.T) {
		is := is.New(t)
		p := shell(t, l, scriptTells)
		lines := strings.Split(strings.TrimSpace(p.all(p.stdout)), "\n")
		is.Equal(lines[0], "/")
		is.True(len(lines) > 2)
		for _, line := range lines[1:] {
			name, _, _ := strings.Cut(line, "=")
			if !strings.Contains(" PATH LANG PWD OLDPWD SHLVL _ ", " "+name+" ") {
				t.Errorf("its environment holds %s", line)
			}
		}
	})
	t.Run("its end is told", func(t *testing.T) {
		is := is.New(t)
		is.Equal(shell(t, l, scriptFails).ends(), ports.Exit{Status: 3})
		is.Equal(shell(t, l, scriptCrashes).ends(), ports.Exit{Signal: 11})
	})
	testLauncherEnds(t, l)
	testLauncherRefuses(t, l)
}

// testLauncherEnds is how programs are ended.
func testLauncherEnds(t *testing.T, l ports.Launcher) {
	t.Run("one that is asked to end may end in order", func(t *testing.T) {
		p := shell(t, l, scriptObeys)
		p.ready()
		p.Stop()
		is.New(t).Equal(p.ends(), ports.Exit{Status: 5})
	})
	t.Run("one that does not is killed", func(t *testing.T) {
		is := is.New(t)
		p := shell(t, l, scriptIgnores)
		p.ready()
		begin := time.Now()
		p.Stop()
		is.True(time.Since(begin) < endTime)
		is.Equal(p.ends().Signal, 9)
	})
	t.Run("one that is killed ends at once", func(t *testing.T) {
		p := shell(t, l, scriptObeys)
		p.ready()
		p.Kill()
		is.New(t).Equal(p.ends().Signal, 9)
	})
	t.Run("what it leaves behind is noticed and ended", func(t *testing.T) {
		is := is.New(t)
		p := shell(t, l, scriptLeaves)
		is.Equal(p.ends(), ports.Exit{Left: true})
		if child := strings.TrimSpace(p.all(p.stdout)); child != "" {
			stat, err := os.ReadFile("/proc/" + child + "/stat")
			is.True(err != nil || strings.Contains(string(stat), ") Z ")) // One that nobody has waited for has ended, too.
		}
	})
	t.Run("many run at once", func(t *testing.T) {
		is := is.New(t)
		var all []launch
		for range 5 {
			all = append(all, shell(t, l, scriptObeys))
		}
		for _, p := range all {
			p.ready()
			p.Kill()
		}
		for _, p := range all {
			is.Equal(p.ends().Signal, 9)
		}
	})
}

// testLauncherRefuses is what can't be started.
func testLauncherRefuses(t *testing.T, l ports.Launcher) {
	t.Run("what is no program is not started", func(t *testing.T) {
		is := is.New(t)
		path := filepath.Join(t.TempDir(), "text")
		is.NoErr(os.WriteFile(path, []byte("hello"), 0o700))
		_, err := started(t, l, path)
		is.True(err != nil)
		is.True(!errors.Is(err, ports.ErrNotReady)) // it will not be one later
	})
	t.Run("nothing is started when the context has ended", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := l.Start(ctx, ports.Program{})
		is.New(t).True(errors.Is(err, context.Canceled))
	})
}

// BenchmarkLauncher is what it costs to start a program that ends at once, and to hear of its end.
func BenchmarkLauncher(b *testing.B, l ports.Launcher) {
	open := func(path string, flag int) *os.File {
		file, err := os.OpenFile(path, flag, 0)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = file.Close() })
		return file
	}
	null := open(os.DevNull, os.O_RDWR)
	program := ports.Program{
		Name: "contract/benchmark", File: open("/bin/true", os.O_RDONLY), Args: []string{"true"}, Dir: "/",
		Stdin: null, Stdout: null, Stderr: null, Patience: time.Second,
	}
	for b.Loop() {
		p, err := l.Start(b.Context(), program)
		if err != nil {
			b.Fatal(err)
		}
		<-p.Exited()
		if p.Exit() != (ports.Exit{}) {
			b.Fatalf("it ended with %+v", p.Exit())
		}
	}
}
