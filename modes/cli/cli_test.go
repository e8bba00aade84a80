package cli

import (
	"bytes"
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
	width int
	steps []func(*desk)
}

// types runs a command and returns what it wrote and with which status it ended.
func (d *desk) types(t *testing.T, line string) (out, errs string, status int) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	w := world{
		connect:  func() (ports.Operator, error) { return d, nil },
		now:      func() time.Time { return noon },
		terminal: d.width, out: &stdout, errs: &stderr,
	}
	flags, _, _ := cluster()
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

var noon = time.Date(2030, 1, 2, 12, 0, 0, 0, time.UTC)

func condition(kind string, status core.ConditionStatus, reason, message string, generation int64) core.Condition {
	return core.Condition{Type: kind, Status: status, Reason: reason, Message: message, Generation: generation}
}

func TestUpgradeAsks(t *testing.T) {
	is := is.New(t)
	d := &desk{Operator: &portstest.Operator{}}
	d.Put(t, ports.Target{Name: "a"}, nil, `{"osVersion":{"imageUri":"oci://r/os:1","debug":true}}`)
	out, errs, status := d.types(t, "upgrade host a --image r/os:2 -n field --context x --kubeconfig /k")
	is.Equal(status, 0)
	is.Equal(out, "host default/a is asked for oci://r/os:2\n")
	is.Equal(errs, "")
	is.Equal(d.Document(t, core.KindHost, "a"), `{"osVersion":{"debug":true,"imageUri":"oci://r/os:2"}}`)
	out, _, status = d.types(t, "upgrade host --image oci://r/os:2 --namespace field a")
	is.Equal(status, 0)
	is.Equal(out, "host default/a is already asked for oci://r/os:2\n")
}

func TestUpgradeOfNodes(t *testing.T) {
	is := is.New(t)
	d := &desk{Operator: &portstest.Operator{}}
	d.Put(t, ports.Target{Name: "served", Machine: "machine-1", Bootstrapped: true}, nil, "")
	d.Put(t, ports.Target{Name: "node", Bootstrapped: true}, nil, "")
	d.Put(t, ports.Target{Name: "armed", Bootstrapped: true, Standing: core.Standing{Label: core.LabelPending}}, nil, "")

	_, errs, status := d.types(t, "upgrade host served --image r/os:2")
	is.Equal(status, exitMachine)
	is.True(strings.Contains(errs, `kubectl patch elementalmachine -n default machine-1 --type=merge -p '{"spec":{"osVersionManagement":{"osVersion":{"imageUri":"oci://r/os:2"}}}}'`))
	is.Equal(d.Document(t, core.KindHost, "served"), "") // nothing was asked of it

	_, errs, status = d.types(t, "upgrade host node --image r/os:2")
	is.Equal(status, 0)
	is.True(strings.Contains(errs, "kubectl label elementalhost -n default node --overwrite elementalhost.infrastructure.cluster.x-k8s.io/in-place-update=pending"))

	_, errs, status = d.types(t, "upgrade host armed --image r/os:2")
	is.Equal(status, 0)
	is.Equal(errs, "")
}

func TestUsage(t *testing.T) {
	d := &desk{Operator: &portstest.Operator{}}
	for line, message := range map[string]string{
		"upgrade":                                     "elemental upgrade needs to know what: host",
		"upgrade a":                                   `elemental upgrade has no command "a"`,
		"upgrade host":                                "needs one argument",
		"upgrade host --image i":                      "needs one argument",
		"upgrade host a b --image i":                  "needs one argument, NAME, and not 2",
		"upgrade host a":                              "--image says which image to ask for",
		"upgrade host a --imag i":                     "elemental upgrade host has no flag --imag: did you mean --image?",
		"upgrade host --imag i a":                     "elemental upgrade host has no flag --imag: did you mean --image?",
		"upgrade host a --image i --timeout x":        `invalid value "x" for flag --timeout`,
		"upgrade host a --image i --wait --timeout 0": "--timeout must be more than nothing",
		"hosts a":                                     `elemental hosts takes no arguments, and "a" is one`,
		"hosts --al":                                  "elemental hosts has no flag --al: did you mean --all-namespaces?",
	} {
		t.Run(line, func(t *testing.T) {
			is := is.New(t)
			_, errs, status := d.types(t, line)
			t.Log(errs)
			is.Equal(status, exitUsage)
			is.True(strings.Contains(errs, message))
		})
	}
	out, _, status := d.types(t, "upgrade host a --help")
	is.New(t).Equal(status, 0)
	is.New(t).True(strings.Contains(out, "124  the time for waiting was over"))
}

func TestImageOf(t *testing.T) {
	is := is.New(t)
	for _, whole := range []string{"oci://r/os:1", "oci-layout:/srv/os", "oci-archive:/srv/os.tar"} {
		image, err := imageOf(whole)
		is.NoErr(err)
		is.Equal(image, whole)
	}
	image, err := imageOf("registry:5000/os:1")
	is.NoErr(err)
	is.Equal(image, "oci://registry:5000/os:1")
	_, err = imageOf("oci://r/os:1\n")
	is.True(err != nil)
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

func TestWait(t *testing.T) {
	staging := func(h *ports.Target) {
		h.Phase = core.PhaseReconcilingOSVersion
		h.Conditions = []core.Condition{condition(core.OSVersionReady, core.False, core.ReasonWaitingForOSReconcile, "it is staged", 2)}
	}
	fetching := func(percent int) func(*ports.Target) {
		return func(h *ports.Target) {
			staging(h)
			h.OSVersion.Progress = ports.Progress{Step: "Fetching", Percent: percent, Message: "of 8 MB"}
		}
	}
	done := func(h *ports.Target) {
		h.Phase, h.OSVersion.Progress = core.PhaseRunning, ports.Progress{}
		h.Conditions = []core.Condition{
			condition(core.OSVersionReady, core.True, core.ReasonApplied, "the host runs os:2", 2),
			condition(core.Ready, core.True, core.ReasonHostReady, "the host runs os:2", 2),
		}
	}
	ends := func(reason, message string) func(*ports.Target) {
		return func(h *ports.Target) {
			h.Phase, h.Outcome = core.PhaseRunning, core.OutcomeFailed
			h.Conditions = []core.Condition{condition(core.OSVersionReady, core.False, reason, message, 2)}
		}
	}
	for _, c := range []struct {
		name   string
		width  int
		steps  []func(*ports.Target)
		status int
		out    []string
		errs   string
	}{
		{"done", 0, []func(*ports.Target){staging, fetching(10), fetching(20), done}, 0, []string{
			"12:00:00 Reconciling OS Version: WaitingForOSReconcile: it is staged\n",
			"12:00:00 Reconciling OS Version: Fetching\n", "host default/a is ready: the host runs os:2\n",
		}, ""},
		{"done on a terminal", 40, []func(*ports.Target){fetching(10), fetching(20), done}, 0, []string{
			"\r\033[KReconciling OS Version: Fetching 10% o…", "\r\033[KReconciling OS Version: Fetching 20% o…", "\r\033[Khost default/a is ready",
		}, ""},
		{"rolled back", 0, []func(*ports.Target){ends(core.ReasonRolledBack, "the boot loader fell back from os:2 to os:1")}, exitFailed, nil,
			"host default/a: RolledBack: the boot loader fell back from os:2 to os:1"},
		{"failed for good", 0, []func(*ports.Target){ends(core.ReasonReconciliationFailed, "no room")}, exitFailed, nil, "OSVersionReconciliationFailed: no room"},
		{"invalid", 0, []func(*ports.Target){ends(core.ReasonInvalidOSVersion, "osVersion.imageUri: no such thing")}, exitFailed, nil, "InvalidOSVersion: osVersion.imageUri: no such thing"},
		{"replaced", 0, []func(*ports.Target){func(h *ports.Target) { h.Requested = "other" }}, exitFailed, nil, "Superseded"},
		{"too slow", 0, []func(*ports.Target){staging}, exitTimedOut, nil, "is not done after 500ms: WaitingForOSReconcile: it is staged"},
	} {
		t.Run(c.name, func(t *testing.T) {
			is := is.New(t)
			d := &desk{Operator: &portstest.Operator{}, width: c.width}
			d.Put(t, ports.Target{Name: "a"}, nil, `{"osVersion":{"imageUri":"oci://r/os:1"}}`)
			timeout := "20s"
			if c.status == exitTimedOut {
				timeout = "500ms"
			}
			for _, step := range c.steps {
				d.steps = append(d.steps, func(d *desk) { d.Change(t, "a", step) })
			}
			out, errs, status := d.types(t, "upgrade host a --image r/os:2 --wait --timeout "+timeout)
			t.Logf("%q", out)
			is.Equal(status, c.status)
			is.True(strings.Contains(errs, c.errs))
			for _, part := range c.out {
				is.Equal(strings.Count(out, part), 1) // each change is shown once
			}
		})
	}
}

func TestWaitEndsWithTheHost(t *testing.T) {
	is := is.New(t)
	d := &desk{Operator: &portstest.Operator{}}
	d.Put(t, ports.Target{Name: "a"}, nil, "")
	d.steps = []func(*desk){func(d *desk) { d.Delete(t, "a") }}
	_, errs, status := d.types(t, "upgrade host a --image r/os:2 --wait")
	is.Equal(status, exitFailed)
	is.True(strings.Contains(errs, "Deleted: the host was deleted"))
}

func TestWaitInterrupted(t *testing.T) {
	is := is.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	d := &desk{Operator: &portstest.Operator{}, steps: []func(*desk){func(*desk) { cancel() }}}
	d.Put(t, ports.Target{Name: "a"}, nil, "")
	var out bytes.Buffer
	err := upgrade(ctx, world{now: time.Now, out: &out, errs: &out}, d, order{host: "a", image: "oci://r/os:2", wait: true, timeout: time.Hour})
	var named cli.ExitCoder
	is.True(errors.As(err, &named))
	is.Equal(named.ExitCode(), exitInterrupted)
	is.Equal(d.Document(t, core.KindHost, "a"), `{"osVersion":{"imageUri":"oci://r/os:2"}}`) // the request stands
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
