package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/urfave/cli/v2"

	"elemental/core"
	"elemental/ports"
	"elemental/ports/portstest"
)

// fleet is a cluster whose hosts do what they are asked for, each in its own time.
type fleet struct {
	*portstest.Operator
	t     *testing.T
	names []string
	takes func(name string) time.Duration
	ends  map[string]func(*ports.Target) // those that do not come to run it
	deny  map[string]error               // those that can't be asked

	mutex   sync.Mutex
	asked   []string
	open    int // asked and not done
	most    int // that were open at once
	watches int
	after   func(name string) // what happens once one was asked
	gone    map[string]bool
}

func newFleet(t *testing.T, names ...string) *fleet {
	f := &fleet{Operator: &portstest.Operator{}, t: t, names: names, takes: func(string) time.Duration { return time.Minute }}
	for _, name := range names {
		f.Put(t, ports.Target{Name: name}, nil, `{"osVersion":{"imageUri":"oci://r/os:1"}}`)
	}
	return f
}

// Ask lets the host begin.
func (f *fleet) Ask(ctx context.Context, of ports.Target, change ports.Change) (ports.Target, error) {
	if err := f.deny[of.Name]; err != nil {
		return ports.Target{}, err
	}
	asked, err := f.Operator.Ask(ctx, of, change)
	if err != nil {
		return asked, err
	}
	if change.DryRun {
		return asked, nil
	}
	f.begin(of.Name)
	if f.after != nil {
		f.after(of.Name)
	}
	return asked, nil
}

// begin lets a host work on what it was asked for.
func (f *fleet) begin(name string) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.asked = append(f.asked, name)
	f.open++
	f.most = max(f.most, f.open)
	end := f.ends[name]
	if end == nil {
		end = func(h *ports.Target) { h.Phase, h.Conditions = core.PhaseRunning, ready(core.KindHost, h.Generation) }
	}
	done := func() {
		f.open--
		if !f.gone[name] {
			f.Change(f.t, name, end)
		}
	}
	takes := f.takes(name)
	if takes == 0 {
		done()
		return
	}
	time.AfterFunc(takes, func() {
		f.mutex.Lock()
		defer f.mutex.Unlock()
		done()
	})
}

func (f *fleet) delete(name string) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.gone = map[string]bool{name: true}
	f.Delete(f.t, name)
}

// Follow counts how often it is called.
func (f *fleet) Follow(ctx context.Context, selection ports.Selection, seen func(ports.Target) bool) error {
	f.mutex.Lock()
	f.watches++
	f.mutex.Unlock()
	return f.Operator.Follow(ctx, selection, seen)
}

// upgrade upgrades all of them, and returns what was written and the exit status.
func (f *fleet) upgrade(ctx context.Context, change func(*upgrade)) (out, errs string, status int) {
	f.t.Helper()
	var stdout, stderr bytes.Buffer
	u := &upgrade{
		world: world{now: time.Now, out: &stdout, errs: &stderr, check: fits}, verdicts: verdicts{check: fits}, operator: f,
		whom: ports.Selection{Kind: core.KindHost, Names: f.names}, request: request{image: "oci://r/os:2"}, wait: true, timeout: time.Hour,
	}
	change(u)
	if err := u.run(ctx); err != nil {
		status = 1
		var named cli.ExitCoder
		if errors.As(err, &named) {
			status = named.ExitCode()
		}
		fmt.Fprint(&stderr, err)
	}
	f.t.Logf("exit %d\n%s%s", status, stdout.String(), stderr.String())
	return stdout.String(), stderr.String(), status
}

func failing(reason, message string) func(*ports.Target) {
	return func(h *ports.Target) {
		h.Phase, h.Outcome = core.PhaseRunning, core.OutcomeFailed
		h.Conditions = []core.Condition{condition(core.OSVersionReady, core.False, reason, message, h.Generation)}
	}
}

func numbered(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("edge-%03d", i+1))
	}
	return names
}
