package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// An event is one line of `go test -json`; see `go doc test2json`.
type event struct {
	Action     string
	Package    string
	ImportPath string // instead of Package, while building
	Test       string
	Output     string
	Elapsed    float64 // seconds
}

// progress prints one line for each test that ends, everything that a failed test said, and a sign of
// life when nothing ends for a while. It fails when no test ran, because a mistyped name must not pass.
func progress(in io.Reader, out io.Writer) error {
	events := make(chan event)
	broken := make(chan error, 1)
	go func() {
		defer close(events)
		decoder := json.NewDecoder(in)
		for {
			var e event
			if err := decoder.Decode(&e); err != nil {
				if !errors.Is(err, io.EOF) {
					broken <- fmt.Errorf("reading the output of go test -json: %w", err)
				}
				return
			}
			events <- e
		}
	}()

	alive := time.NewTicker(progressEvery)
	defer alive.Stop()
	r := report{out: out, running: map[string]*test{}}
	for {
		select {
		case <-alive.C:
			r.showRunning()
		case e, open := <-events:
			if !open {
				select {
				case err := <-broken:
					return err
				default:
					return r.verdict()
				}
			}
			if r.take(e) {
				alive.Reset(progressEvery)
			}
		}
	}
}

// A test that has not ended yet, or a package.
type test struct {
	since  time.Time
	output strings.Builder
	last   string // the latest line that is not go test's own
}

type report struct {
	out           io.Writer
	running       map[string]*test
	ended, failed int
}

// take adds one event and says whether it printed something.
func (r *report) take(e event) bool {
	name := e.name()
	t := r.running[name]
	if t == nil {
		t = &test{since: time.Now()}
		r.running[name] = t
	}
	switch e.Action {
	case "output", "build-output":
		t.output.WriteString(e.Output)
		if line := strings.TrimSpace(e.Output); line != "" && !strings.HasPrefix(line, "===") {
			t.last = line
		}
	case "pass", "skip":
		delete(r.running, name)
		if e.Test != "" {
			r.ended++
			fmt.Fprintf(r.out, "%-5s %s %.1fs\n", e.Action, name, e.Elapsed)
			return true
		}
	case "fail", "build-fail":
		delete(r.running, name)
		r.failed++
		fmt.Fprintf(r.out, "FAIL  %s %.1fs\n%s", name, e.Elapsed, t.output.String())
		return true
	}
	return false
}

// showRunning prints what runs, the innermost tests only.
func (r *report) showRunning() {
	names := slices.Sorted(maps.Keys(r.running))
	for i, name := range names {
		if i+1 < len(names) {
			inner := strings.TrimPrefix(names[i+1], name)
			if inner != names[i+1] && strings.ContainsAny(inner[:1], " /") {
				continue
			}
		}
		t := r.running[name]
		fmt.Fprintf(r.out, "...   %s %s %s\n", name, since(t.since), t.last)
	}
	if len(names) == 0 {
		fmt.Fprintln(r.out, "...   building the tests")
	}
}

func (r *report) verdict() error {
	if r.failed > 0 {
		return errors.New("some tests failed; what they said stands above")
	}
	if r.ended == 0 {
		return errors.New("no test ran: is the name of the story right?")
	}
	return nil
}

func (e event) name() string {
	name := e.Package + e.ImportPath
	if e.Test != "" {
		name += " " + e.Test
	}
	return name
}
