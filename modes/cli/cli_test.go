package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"
	"github.com/urfave/cli/v2"

	"elemental/core"
	"elemental/ports"
	"elemental/ports/portstest"
)

// desk is an operator with a terminal, or without one.
type desk struct {
	*portstest.Operator
	gate   *portstest.Gatekeeper // of what asks to join; nil: no one does
	width  int                   // of the terminal; 0: there is none
	height int                   // of it; 0: 24
	in     string
	steps  []func(*desk)
}

// types runs a command and returns what it wrote and with which status it ended.
func (d *desk) types(t *testing.T, line string) (out, errs string, status int) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	w := world{
		connect:  func() (ports.Operator, error) { return d, nil },
		gate:     func() (ports.Gatekeeper, error) { return d.gate, nil },
		now:      func() time.Time { return noon },
		terminal: d.width, out: &stdout, errs: &stderr,
		size:  func() (int, int) { return d.width, cmp.Or(d.height, 24) },
		in:    strings.NewReader(d.in),
		check: fits,
	}
	flags, _, _, _ := cluster()
	app := &cli.App{
		Name: "elemental", Commands: commands(flags, func(*cli.Context) world { return w }), Writer: &stdout, ErrWriter: &stderr,
		ExitErrHandler: func(*cli.Context, error) {},
	}
	if err := Run(t.Context(), app, append([]string{"elemental"}, strings.Fields(line)...)); err != nil {
		status = 1
		var named cli.ExitCoder
		if errors.As(err, &named) {
			status = named.ExitCode()
		}
		fmt.Fprintln(&stderr, err)
	}
	return stdout.String(), stderr.String(), status
}

// Follow lets the host do its next step each time that the operator has seen it.
func (d *desk) Follow(ctx context.Context, selection ports.Selection, seen func(ports.Target) bool) error {
	return d.Operator.Follow(ctx, selection, func(h ports.Target) bool {
		more := seen(h)
		if more && len(d.steps) > 0 {
			d.steps[0](d)
			d.steps = d.steps[1:]
		}
		return more
	})
}

var noon = time.Date(2030, 1, 2, 12, 0, 0, 0, time.UTC)

func condition(kind string, status core.ConditionStatus, reason, message string, generation int64) core.Condition {
	return core.Condition{Type: kind, Status: status, Reason: reason, Message: message, Generation: generation}
}

func TestUsage(t *testing.T) {
	d := &desk{Operator: &portstest.Operator{}}
	for line, message := range map[string]string{
		"hosts --al": "elemental hosts has no flag --al; did you mean --all-namespaces?",
	} {
		t.Run(line, func(t *testing.T) {
			is := is.New(t)
			_, errs, status := d.types(t, line)
			t.Log(errs)
			is.Equal(status, exitUsage)
			is.True(strings.Contains(errs, message))
		})
	}
}

func TestHosts(t *testing.T) {
	is := is.New(t)
	d := &desk{Operator: &portstest.Operator{}}
	_, errs, status := d.types(t, "hosts")
	is.Equal(status, 0)
	is.Equal(errs, "There are no hosts.\n")
	d.Put(t, ports.Target{Name: "new"}, nil, "")
	d.Put(t, ports.Target{
		Name: "old", Created: noon.Add(-50 * time.Hour), OSVersion: ports.OSVersionStatus{Booted: core.Version{Reference: "oci://r/os:1", Digest: "sha256:0123456789abcdef"}},
		Standing: core.Standing{Phase: core.PhaseRunning, Outcome: core.OutcomeApplied, Conditions: []core.Condition{
			condition(core.Ready, core.True, core.ReasonHostReady, "the host runs\n\033[31mred", 1),
		}},
	}, nil, "")
	d.Put(t, ports.Target{Name: "far", Namespace: "zoo", Created: noon.Add(-5 * time.Minute), OSVersion: ports.OSVersionStatus{Booted: core.Version{Reference: "r", Version: "v7"}}}, nil, "")
	out, _, status := d.types(t, "hosts")
	is.Equal(status, 0)
	is.Equal(strings.Split(out, "\n"), []string{
		"NAME   PHASE     READY   VERSION                              OUTCOME   MESSAGE                 AGE",
		"new    -         -       -                                    -         -                       -",
		"old    Running   True    oci://r/os:1 (sha256:0123456789ab)   Applied   the host runs [31mred   2d",
		"",
	})
	out, _, _ = d.types(t, "hosts -A")
	is.True(strings.HasPrefix(out, "NAMESPACE   NAME"))
	is.True(strings.Contains(out, "zoo         far    -         -       v7 "))
	d.Error = fmt.Errorf("listing the hosts: %w", ports.ErrDenied)
	_, errs, status = d.types(t, "hosts")
	is.Equal(status, 1)
	is.Equal(errs, "listing the hosts: denied\n")
}

func TestAge(t *testing.T) {
	for ago, words := range map[time.Duration]string{
		-time.Second: "0s", 90 * time.Second: "90s", 10 * time.Minute: "10m", 30 * time.Hour: "30h", 100 * time.Hour: "4d",
	} {
		is.New(t).Equal(age(noon.Add(-ago), noon), words)
	}
}
