package core_test

import (
	"strings"
	"testing"

	"github.com/matryer/is"

	"elemental/core"
)

func TestWait(t *testing.T) {
	const asked = 7
	version := func(status core.ConditionStatus, reason string) core.Condition {
		return core.Condition{Type: core.OSVersionReady, Status: status, Reason: reason, Message: "as the host says", Generation: asked}
	}
	ready := func(status core.ConditionStatus, reason string) core.Condition {
		return core.Condition{Type: core.Ready, Status: status, Reason: reason, Message: "as the controller says", Generation: asked}
	}
	earlier := func(c core.Condition) core.Condition { c.Generation--; return c }
	later := func(c core.Condition) core.Condition { c.Generation++; return c }
	applied, rolledBack := version(core.True, core.ReasonApplied), version(core.False, core.ReasonRolledBack)
	failed, isReady := version(core.False, core.ReasonReconciliationFailed), ready(core.True, core.ReasonHostReady)
	lost := core.Condition{Type: core.AgentConnected, Status: core.Unknown, Reason: core.ReasonNotSeen}
	ofMachine := func(c core.Condition) core.Condition { c.Type = core.HostReady; return c }
	all := func(c ...core.Condition) []core.Condition { return c }

	for _, c := range []struct {
		name   string
		seen   core.Standing
		end    core.WaitEnd
		reason string
	}{
		{"nothing was said yet", core.Standing{}, core.WaitGoesOn, core.ReasonWaitingForOSReconcile},
		{"the agent is not seen", core.Standing{Conditions: all(lost)}, core.WaitGoesOn, core.ReasonNotSeen},
		{"it was ready before", core.Standing{Conditions: all(earlier(applied), earlier(isReady))}, core.WaitGoesOn, core.ReasonWaitingForOSReconcile},
		{"it fell back before", core.Standing{Conditions: all(earlier(rolledBack)), Outcome: core.OutcomeRolledBack}, core.WaitGoesOn, core.ReasonWaitingForOSReconcile},
		{"it runs and is ready", core.Standing{Conditions: all(applied, isReady)}, core.WaitApplied, core.ReasonApplied},
		{"it runs and is ready, and the spec moved on elsewhere", core.Standing{Generation: asked + 1, Conditions: all(later(applied), later(isReady))}, core.WaitApplied, core.ReasonApplied},
		{"it runs and the controller has not yet looked", core.Standing{Conditions: all(applied, earlier(isReady))}, core.WaitGoesOn, core.ReasonWaitingForOSReconcile},
		{"it runs and no controller is there", core.Standing{Conditions: all(applied)}, core.WaitGoesOn, core.ReasonWaitingForOSReconcile},
		{"it runs and something else is not ready", core.Standing{Conditions: all(applied, ready(core.False, core.ReasonBootstrapFailed))}, core.WaitGoesOn, core.ReasonBootstrapFailed},
		{"it is being staged", core.Standing{Conditions: all(version(core.False, core.ReasonWaitingForOSReconcile))}, core.WaitGoesOn, core.ReasonWaitingForOSReconcile},
		{"it waits for the label", core.Standing{Conditions: all(version(core.False, core.ReasonNotPending))}, core.WaitGoesOn, core.ReasonNotPending},
		{"it fell back", core.Standing{Conditions: all(rolledBack)}, core.WaitFailed, core.ReasonRolledBack},
		{"it is not valid", core.Standing{Conditions: all(version(core.False, core.ReasonInvalidOSVersion))}, core.WaitFailed, core.ReasonInvalidOSVersion},
		{"the host's policy denies it", core.Standing{Conditions: all(version(core.False, core.ReasonPolicyDenied))}, core.WaitFailed, core.ReasonPolicyDenied},
		{"it failed and is tried again", core.Standing{Conditions: all(failed), Outcome: core.OutcomeFailed, Again: true}, core.WaitGoesOn, core.ReasonReconciliationFailed},
		{"it failed for good", core.Standing{Conditions: all(failed), Outcome: core.OutcomeFailed}, core.WaitFailed, core.ReasonReconciliationFailed},
		{"a new arming is not yet taken up", core.Standing{Conditions: all(rolledBack), Label: core.LabelPending}, core.WaitGoesOn, core.ReasonWaitingForOSReconcile},
		{"an armed host fell back", core.Standing{Conditions: all(rolledBack), Label: core.LabelPending, Armed: true}, core.WaitFailed, core.ReasonRolledBack},
		{"an armed host fell back and was disarmed", core.Standing{Conditions: all(rolledBack), Label: core.LabelFailed}, core.WaitFailed, core.ReasonRolledBack},
		{"it fell back and is asked to try again", core.Standing{Conditions: all(rolledBack), Retry: "2"}, core.WaitGoesOn, core.ReasonWaitingForOSReconcile},
		{"it fell back again", core.Standing{Conditions: all(rolledBack), Retry: "2", Retried: "2"}, core.WaitFailed, core.ReasonRolledBack},
		{"the machine's host did not answer", core.Standing{Kind: core.KindMachine, Conditions: all(applied, isReady)}, core.WaitGoesOn, core.ReasonWaitingForOSReconcile},
		{"the machine's host fell back", core.Standing{Kind: core.KindMachine, Conditions: all(ofMachine(rolledBack))}, core.WaitFailed, core.ReasonRolledBack},
		{"the machine's host is ready", core.Standing{Kind: core.KindMachine, Conditions: all(ofMachine(isReady), isReady)}, core.WaitApplied, core.ReasonHostReady},
		{"the host is gone", core.Standing{Gone: true, Conditions: all(applied, isReady)}, core.WaitFailed, core.ReasonDeleted},
		{"another version was asked for", core.Standing{Requested: "another", Conditions: all(applied, isReady)}, core.WaitFailed, core.ReasonSuperseded},
	} {
		t.Run(c.name, func(t *testing.T) {
			is := is.New(t)
			if c.seen.Requested == "" {
				c.seen.Requested = "mine"
			}
			got := core.Wait(asked, "mine", c.seen)
			is.Equal(got.End, c.end)
			is.Equal(got.Reason, c.reason)
			is.True(got.Message != "")
		})
	}
}

func TestRenewal(t *testing.T) {
	is := is.New(t)
	is.Equal(core.Renewal("2026-01-01"), "2026-01-01")
	long := strings.Repeat("x", 65)
	is.Equal(len(core.Renewal(long)), 64)
	is.True(core.Renewal(long) != core.Renewal(long+"x"))
}
