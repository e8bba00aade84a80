package core

import (
	"testing"

	"github.com/matryer/is"
)

// armed is an update that the agent has taken up, answering for the current spec.
func armed(outcome Outcome, attempts int) Update {
	return Update{
		Label: LabelPending, Bootstrapped: true, Generation: 4, Armed: true, Outcome: outcome, Attempts: attempts,
		Version: Condition{Type: OSVersionReady, Status: False, Reason: ReasonWaitingForOSReconcile, Generation: 4},
		Drain:   DrainManual,
	}
}

// but changes an update.
func (u Update) but(change func(*Update)) Update {
	change(&u)
	return u
}

func TestNextLabel(t *testing.T) {
	for name, row := range map[string]struct {
		update Update
		want   UpdateLabel
	}{
		"armed with nothing to do stays armed":            {armed(OutcomeApplied, 0), LabelPending},
		"the update succeeded":                            {armed(OutcomeApplied, 1), LabelDone},
		"it succeeded at the last attempt":                {armed(OutcomeApplied, 3), LabelDone},
		"it is under way":                                 {armed(OutcomeApplying, 1), LabelPending},
		"it is staged":                                    {armed(OutcomeStaged, 1), LabelPending},
		"the boot loader fell back":                       {armed(OutcomeRolledBack, 1), LabelFailed},
		"the last attempt failed":                         {armed(OutcomeFailed, 3), LabelFailed},
		"an attempt failed and another will come":         {armed(OutcomeFailed, 1).but(func(u *Update) { u.Again = true }), LabelPending},
		"a request that is not valid was never tried":     {armed(OutcomeFailed, 0), LabelPending},
		"the outcome is that of the time before arming":   {armed(OutcomeRolledBack, 1).but(func(u *Update) { u.Armed = false }), LabelPending},
		"success is that of the time before arming":       {armed(OutcomeApplied, 1).but(func(u *Update) { u.Armed = false }), LabelPending},
		"the agent still tells how the last arming ended": {armed(OutcomeRolledBack, 1).but(func(u *Update) { u.Judged = true }), LabelPending},
		"the agent has not seen the current spec":         {armed(OutcomeApplied, 1).but(func(u *Update) { u.Generation = 5 }), LabelPending},
		"a failure under an older spec does not count":    {armed(OutcomeRolledBack, 1).but(func(u *Update) { u.Generation = 5 }), LabelPending},
		"the agent has never spoken":                      {armed(OutcomeApplied, 1).but(func(u *Update) { u.Version, u.Generation = Condition{}, 0 }), LabelPending},
		"what is done stays done":                         {armed(OutcomeRolledBack, 1).but(func(u *Update) { u.Label = LabelDone }), LabelDone},
		"what has failed stays failed":                    {armed(OutcomeApplied, 1).but(func(u *Update) { u.Label = LabelFailed }), LabelFailed},
		"a host that nobody armed gets no label":          {armed(OutcomeApplied, 1).but(func(u *Update) { u.Label = LabelUnset }), LabelUnset},
	} {
		t.Run(name, func(t *testing.T) {
			is.New(t).Equal(NextLabel(row.update), row.want)
		})
	}
}

func TestSumDrained(t *testing.T) {
	say := func(status ConditionStatus, reason string) func(*Update) {
		return func(u *Update) { u.Version.Status, u.Version.Reason = status, reason }
	}
	absent := Condition{}
	byHand := Condition{Type: NodeDrained, Status: True, Reason: ReasonDrainedByHand, Generation: 4}
	for name, row := range map[string]struct {
		update Update
		want   Condition // without its message
	}{
		"the user has drained":                       {armed(OutcomeStaged, 1), byHand},
		"while it waits for the drain":               {armed(OutcomeStaged, 1).but(say(False, ReasonWaitingForDrain)), byHand},
		"while it restarts":                          {armed(OutcomeStaged, 1).but(say(False, ReasonWaitingForReboot)), byHand},
		"between two attempts":                       {armed(OutcomeFailed, 1).but(say(False, ReasonReconciliationFailed)), byHand},
		"no machine is served":                       {armed(OutcomeStaged, 1).but(func(u *Update) { u.Drain = DrainNothing }), Condition{Type: NodeDrained, Status: True, Reason: ReasonNothingToDrain, Generation: 4}},
		"the controller is asked to drain":           {armed(OutcomeStaged, 1).but(func(u *Update) { u.Drain = DrainAuto }), Condition{Type: NodeDrained, Status: False, Reason: ReasonDrainFailed, Generation: 4}},
		"an unknown mode is never taken for drained": {armed(OutcomeStaged, 1).but(func(u *Update) { u.Drain = "Maybe" }), Condition{Type: NodeDrained, Status: False, Reason: ReasonDrainFailed, Generation: 4}},
		"nothing is to be done":                      {armed(OutcomeApplied, 0).but(say(True, ReasonApplied)), absent},
		"the agent has not noticed that it is armed": {armed(OutcomeApplying, 0).but(say(False, ReasonNotPending)), absent},
		"the request is not valid":                   {armed(OutcomeFailed, 0).but(say(False, ReasonInvalidOSVersion)), absent},
		"it has fallen back":                         {armed(OutcomeRolledBack, 1).but(say(False, ReasonRolledBack)), absent},
		"the host is not armed":                      {armed(OutcomeStaged, 1).but(func(u *Update) { u.Label = LabelDone }), absent},
		"the host is no node":                        {armed(OutcomeStaged, 1).but(func(u *Update) { u.Bootstrapped = false }), absent},
		"the agent speaks of the spec before this":   {armed(OutcomeStaged, 1).but(func(u *Update) { u.Generation = 5 }), absent},
		"the agent has not spoken of the new host":   {armed(OutcomeStaged, 1).but(func(u *Update) { u.Version, u.Generation = Condition{}, 0 }), absent},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			got, present := SumDrained(row.update)
			is.Equal(present, row.want != absent)
			is.Equal(present, got.Message != "")
			got.Message = ""
			is.Equal(got, row.want)
		})
	}
}

func TestADrainThatFailedIsNotReady(t *testing.T) {
	is := is.New(t)
	drained, present := SumDrained(armed(OutcomeStaged, 1).but(func(u *Update) { u.Drain = DrainAuto }))
	is.True(present)
	ready := SumReady(4, []Condition{{Type: OSVersionReady, Status: True, Generation: 4}, drained})
	is.Equal(ready.Status, False)
	is.Equal(ready.Reason, ReasonDrainFailed)
}

func TestWhatAHostCountsAs(t *testing.T) {
	is := is.New(t)
	say := func(kind string, status ConditionStatus) []Condition {
		return []Condition{{Type: kind, Status: status}}
	}
	for _, before := range []bool{false, true} {
		is.Equal(IsInstalled(before, nil), before) // Silence changes nothing.
		is.Equal(IsInstalled(before, say(InstallationReady, True)), true)
		is.Equal(IsInstalled(before, say(InstallationReady, False)), false)

		is.Equal(IsBootstrapped(before, nil), before)
		is.Equal(IsBootstrapped(before, say(BootstrapReady, True)), true)
		is.Equal(IsBootstrapped(before, say(BootstrapReady, False)), before) // A node stays one until it is reset.
		is.Equal(IsBootstrapped(before, say(ResetReady, False)), before)
		is.Equal(IsBootstrapped(before, append(say(ResetReady, True), say(BootstrapReady, True)...)), false)
	}
}
