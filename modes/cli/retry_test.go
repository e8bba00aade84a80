package cli

import (
	"strings"
	"testing"

	"github.com/matryer/is"

	"elemental/core"
	"elemental/ports"
	"elemental/ports/portstest"
)

// retried is the renewal that stands at a host now.
func retried(t *testing.T, d *desk, host string) string {
	t.Helper()
	found, err := d.List(t.Context(), ports.Selection{Names: []string{host}})
	is.New(t).NoErr(err)
	return found[0].Retry
}

func TestRetryAsks(t *testing.T) {
	is := is.New(t)
	d := &desk{Operator: &portstest.Operator{}}
	d.Put(t, fallenHost("a"), map[string]string{"site": "north"}, "")
	d.Put(t, runningHost("b"), map[string]string{"site": "north"}, "")
	out, errs, status := d.types(t, "retry a")
	is.Equal(status, 0)
	is.Equal(out, "host default/a is asked to try again\n")
	is.Equal(errs, "")
	is.Equal(retried(t, d, "a"), "2030-01-02T12:00:00Z")

	out, _, status = d.types(t, "retry -l site=north")
	is.Equal(status, 0)
	is.True(strings.Contains(out, "host default/a has nothing to retry: its agent has not yet seen that it is asked to try again\n"))
	is.True(strings.Contains(out, "host default/b has nothing to retry: what is asked for runs, and the host is ready\n"))
	is.Equal(retried(t, d, "b"), "")

	_, errs, status = d.types(t, "retry -l site=south")
	is.Equal(status, 0)
	is.Equal(errs, "There are no hosts with these labels.\n")
	_, errs, status = d.types(t, "retry nobody")
	is.Equal(status, 1)
	is.True(strings.Contains(errs, "nobody: not found"))
}

func TestRetryThatCanNotHelp(t *testing.T) {
	is := is.New(t)
	d := &desk{Operator: &portstest.Operator{}}
	invalid := answeredHost("invalid", condition("", core.False, core.ReasonInvalidOSVersion, "no such field", 1), core.False)
	invalid.OSVersion.Failure = core.Failure{Class: core.FailureInvalid, Path: "osVersion.imageUrl"}
	node := fallenHost("node")
	node.Bootstrapped, node.Label = true, core.LabelFailed
	d.Put(t, invalid, nil, "")
	d.Put(t, node, nil, "")
	d.Put(t, fallenHost("a"), nil, "")

	_, errs, status := d.types(t, "retry invalid")
	is.Equal(status, exitFailed)
	is.True(strings.Contains(errs, "host default/invalid was not asked, because trying again can't help: the version asked for is not valid\n"))
	is.True(strings.Contains(errs, "osVersion.imageUrl"))
	is.True(strings.Contains(errs, "elemental upgrade host invalid -n default --image IMAGE"))

	out, errs, status := d.types(t, "retry node a")
	is.Equal(status, exitFailed)
	is.Equal(out, "host default/a is asked to try again\n") // The others are asked all the same.
	is.True(strings.Contains(errs, "kubectl drain node"))
	is.True(strings.Contains(errs, "kubectl label elementalhost -n default node --overwrite "+core.LabelInPlaceUpdate+"=pending"))
	is.Equal(retried(t, d, "node"), "")
	is.Equal(retried(t, d, "invalid"), "")
}

func TestRetryWaits(t *testing.T) {
	takesUp := func(h *ports.Target) { h.Retried = h.Retry }
	for name, c := range map[string]struct {
		steps  []func(*ports.Target)
		status int
		says   string
	}{
		"it succeeds": {[]func(*ports.Target){func(h *ports.Target) {
			takesUp(h)
			h.Conditions, h.Outcome = runningHost("a").Conditions, core.OutcomeApplied
		}}, 0, "host default/a is ready: the host runs os:1"},
		"it fails again":  {[]func(*ports.Target){takesUp}, exitFailed, "host default/a: RolledBack: the boot loader fell back"},
		"nobody hears it": {nil, exitTimedOut, "the agent has not yet seen that it is asked to try again"},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			d := &desk{Operator: &portstest.Operator{}}
			d.Put(t, fallenHost("a"), nil, "")
			for _, step := range c.steps {
				d.steps = append(d.steps, func(d *desk) { d.Change(t, "a", step) })
			}
			timeout := "20s"
			if c.status == exitTimedOut {
				timeout = "300ms"
			}
			out, errs, status := d.types(t, "retry a --wait --timeout "+timeout)
			t.Log(out, errs)
			is.Equal(status, c.status)
			is.True(strings.Contains(out+errs, c.says))
		})
	}
	is := is.New(t)
	d := &desk{Operator: &portstest.Operator{}}
	d.Put(t, runningHost("a"), nil, "")
	out, _, status := d.types(t, "retry a --wait")
	is.Equal(status, 0) // What is ready needs no waiting.
	is.True(strings.Contains(out, "host default/a is ready"))
}
