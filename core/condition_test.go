package core

import (
	"testing"
	"time"

	"github.com/matryer/is"
)

func TestSumReady(t *testing.T) {
	said := func(kind string, status ConditionStatus, generation int64) Condition {
		return Condition{Type: kind, Status: status, Reason: kind + "Reason", Message: kind + " speaks", Generation: generation}
	}
	good := said(OSVersionReady, True, 2)
	cases := map[string]struct {
		conditions []Condition
		status     ConditionStatus
		reason     string
		generation int64
	}{
		"nobody has spoken":                     {nil, False, ReasonWaitingForOSReconcile, 0},
		"the agent spoke of an older spec":      {[]Condition{said(OSVersionReady, True, 1)}, False, ReasonWaitingForOSReconcile, 1},
		"all is well":                           {[]Condition{good, said(AgentConnected, True, 1)}, True, ReasonHostReady, 2},
		"the version is wrong":                  {[]Condition{said(OSVersionReady, False, 2)}, False, "OSVersionReadyReason", 2},
		"the first that is not true is told":    {[]Condition{good, said(AgentConnected, Unknown, 2), said(BootstrapReady, False, 2)}, False, "BootstrapReadyReason", 2},
		"an agent that is silent is no failure": {[]Condition{good, said(AgentConnected, Unknown, 2)}, Unknown, "AgentConnectedReason", 2},
		"a node that is not drained is told":    {[]Condition{good, said(NodeDrained, False, 2)}, False, "NodeDrainedReason", 2},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			ready := SumReady(2, c.conditions)
			is.Equal(ready.Type, Ready)
			is.Equal(ready.Status, c.status)
			is.Equal(ready.Reason, c.reason)
			is.Equal(ready.Generation, c.generation)
			is.True(ready.Message != "")
		})
	}
}

func TestSumConnected(t *testing.T) {
	is := is.New(t)
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	never, again := SumConnected(time.Time{}, now)
	is.Equal(never.Status, Unknown)
	is.Equal(again, time.Duration(0))
	seen, again := SumConnected(now.Add(-LeaseInterval), now)
	is.Equal(seen.Status, True)
	is.Equal(again, 2*LeaseInterval) // It must be looked at again when the third renewal is missed.
	lost, _ := SumConnected(now.Add(-3*LeaseInterval), now)
	is.Equal(lost.Status, Unknown)
	is.Equal(lost.Reason, ReasonNotSeen)
}

func TestBackoff(t *testing.T) {
	is := is.New(t)
	for failures, want := range map[int]time.Duration{
		0: 10 * time.Second, 1: 10 * time.Second, 2: 20 * time.Second, 6: 320 * time.Second, 7: 10 * time.Minute, 1000: 10 * time.Minute,
	} {
		is.Equal(Backoff(failures, 0), want)
		is.True(Backoff(failures, 0.999) < want+want/4)
		is.True(Backoff(failures, 0.999) > want)
	}
}
