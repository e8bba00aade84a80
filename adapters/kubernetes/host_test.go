package kubernetes

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemental/adapters/kubernetes/api/v1beta1"
	"elemental/core"
)

var applied = v1beta1.OSVersionStatus{Requested: "v1", Applied: "v1", Outcome: string(core.OutcomeApplied)}

func TestReadyWaitsForTheAgent(t *testing.T) {
	w := newWorld(t)
	w.controller()
	a := w.alive("one")
	w.eventually(func() error { // The agent has not spoken at all.
		return condition(w.host("one").Status.Conditions, core.Ready, metav1.ConditionFalse, core.ReasonWaitingForOSReconcile, 0)
	})
	a.says(1, core.True, core.ReasonNothingRequested, v1beta1.OSVersionStatus{Outcome: "Applied"})
	w.eventually(w.hostSays("one", core.Ready, metav1.ConditionTrue, ""))
	_, err := w.kubectl("wait", "--for=condition=ready", "elementalhost", "one", "--timeout=10s")
	w.NoErr(err)

	// Right after the patch, a wait must not return on the word of before.
	_, err = w.kubectl("patch", "elementalhost", "one", "--type=merge", "-p", `{"spec":{"osVersionManagement":{"osVersion":{"imageUri":"oci://registry/os:v1"}}}}`)
	w.NoErr(err)
	_, err = w.kubectl("wait", "--for=condition=ready", "elementalhost", "one", "--timeout=1s")
	w.NoErr(refused(err, "timed out"))
	w.eventually(func() error {
		return condition(w.host("one").Status.Conditions, core.Ready, metav1.ConditionFalse, core.ReasonWaitingForOSReconcile, 1)
	})
	a.says(2, core.False, core.ReasonWaitingForReboot, v1beta1.OSVersionStatus{Requested: "v1", Outcome: "Staged"})
	w.eventually(w.hostSays("one", core.Ready, metav1.ConditionFalse, core.ReasonWaitingForReboot))
	a.says(2, core.True, core.ReasonApplied, applied)
	w.eventually(w.hostSays("one", core.Ready, metav1.ConditionTrue, ""))
	_, err = w.kubectl("wait", "--for=condition=ready", "elementalhost", "one", "--timeout=10s")
	w.NoErr(err)
}

func TestTheLeaseSaysWhetherTheAgentIsThere(t *testing.T) {
	w := newWorld(t)
	w.controller()
	w.newHost("one")
	a := w.agent("one")
	a.says(1, core.True, core.ReasonNothingRequested, v1beta1.OSVersionStatus{})
	w.eventually(w.hostSays("one", core.AgentConnected, metav1.ConditionUnknown, core.ReasonNotSeen))
	w.eventually(w.hostSays("one", core.Ready, metav1.ConditionUnknown, core.ReasonNotSeen))
	a.renews(time.Now())
	w.eventually(w.hostSays("one", core.AgentConnected, metav1.ConditionTrue, core.ReasonSeen))
	w.eventually(w.hostSays("one", core.Ready, metav1.ConditionTrue, ""))
}

func TestAPausedHostIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	w.controller()
	w.newHost("one", func(h *v1beta1.ElementalHost) {
		h.Annotations = map[string]string{v1beta1.AnnotationPaused: ""}
		h.Spec.MachineRef = &v1beta1.ObjectReference{Kind: "ElementalMachine", Name: "machine"}
	})
	w.newMachine("machine", "one", "v1")
	w.eventually(w.hostSays("one", core.Paused, metav1.ConditionTrue, core.ReasonPaused))
	w.True(w.host("one").Spec.OSVersionManagement == nil)
	_, err := w.kubectl("annotate", "elementalhost", "one", v1beta1.AnnotationPaused+"-")
	w.NoErr(err)
	w.eventually(w.hostSays("one", core.Paused, metav1.ConditionFalse, core.ReasonNotPaused))
	w.eventually(w.forwards("one", osVersion("v1")))
}

func TestALeaseIsTimedByTheControllersClock(t *testing.T) {
	is := is.New(t)
	s, host := newSightings(), types.NamespacedName{Namespace: "default", Name: "one"}
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	is.True(s.note(host, time.Time{}, now).IsZero())
	hour := now.Add(-time.Hour)
	is.Equal(s.note(host, hour, now), hour) // A controller that just started believes what stands there.
	is.Equal(s.note(host, hour, now.Add(time.Minute)), hour)
	// A host whose clock is an hour behind, or a day ahead, is seen whenever it renews its Lease, and only then.
	for i, wrong := range []time.Duration{-time.Hour, 24 * time.Hour} {
		at := now.Add(time.Duration(i+2) * time.Minute)
		is.Equal(s.note(host, at.Add(wrong), at), at)
		is.Equal(s.note(host, at.Add(wrong), at.Add(time.Hour)), at)
	}
	s.forget(host)
	future := now.Add(24 * time.Hour)
	is.Equal(s.note(host, future, now), now) // No Lease is from the future.
}

func TestLabelsFollowWhatTheAgentSays(t *testing.T) {
	w := newWorld(t)
	w.controller()
	a := w.alive("one")
	installed := core.Condition{Type: core.InstallationReady, Status: core.True}
	a.says(1, core.True, core.ReasonNothingRequested, v1beta1.OSVersionStatus{}, installed, bootstrapped())
	w.eventually(w.labelIs("one", v1beta1.LabelInstalled, "true"))
	w.eventually(w.labelIs("one", v1beta1.LabelBootstrapped, "true"))

	// A host that says nothing of it any more is still a node, until it was reset.
	installed.Status = core.False
	a.says(1, core.True, core.ReasonNothingRequested, v1beta1.OSVersionStatus{}, installed)
	w.eventually(w.labelIs("one", v1beta1.LabelInstalled, ""))
	w.NoErr(w.labelIs("one", v1beta1.LabelBootstrapped, "true")())
	a.says(1, core.True, core.ReasonNothingRequested, v1beta1.OSVersionStatus{}, core.Condition{Type: core.ResetReady, Status: core.True})
	w.eventually(w.labelIs("one", v1beta1.LabelBootstrapped, ""))
}

func TestInPlaceUpdateByLabelThenPatch(t *testing.T) {
	w := newWorld(t)
	w.controller()
	a := w.alive("one")
	a.says(1, core.True, core.ReasonNothingRequested, applied, bootstrapped())
	w.eventually(w.hostSays("one", core.Ready, metav1.ConditionTrue, ""))

	w.label("one", "pending")
	armed := applied
	armed.Armed = true
	a.says(1, core.True, core.ReasonNothingRequested, armed, bootstrapped()) // Nothing was to be done: it stays armed.
	w.NoErr(w.patch(w.host("one"), `{"spec":{"osVersionManagement":{"osVersion":{"imageUri":"oci://registry/os:v2"}}}}`))
	armed.Outcome, armed.Attempts = string(core.OutcomeStaged), 1
	a.says(2, core.False, core.ReasonWaitingForDrain, armed, bootstrapped())
	w.eventually(w.hostSays("one", core.NodeDrained, metav1.ConditionTrue, core.ReasonNothingToDrain))
	w.NoErr(w.labelIs("one", v1beta1.LabelInPlaceUpdate, "pending")())

	armed.Outcome = string(core.OutcomeApplied)
	a.says(2, core.True, core.ReasonApplied, armed, bootstrapped())
	w.eventually(w.labelIs("one", v1beta1.LabelInPlaceUpdate, "done"))
	w.eventually(func() error {
		if condition(w.host("one").Status.Conditions, core.NodeDrained, "", "", 0) == nil {
			return errors.New("NodeDrained outlives the update")
		}
		return w.hostSays("one", core.Ready, metav1.ConditionTrue, "")()
	})
}

func TestInPlaceUpdateByPatchThenLabelThatFails(t *testing.T) {
	w := newWorld(t)
	w.controller()
	a := w.alive("one", func(h *v1beta1.ElementalHost) { h.Spec.OSVersionManagement = osVersion("v2") })
	// An older attempt has failed; nobody had armed the host for this one.
	old := v1beta1.OSVersionStatus{Requested: "v2", Outcome: string(core.OutcomeRolledBack), Attempts: 1}
	a.says(1, core.False, core.ReasonNotPending, old, bootstrapped())
	w.eventually(w.hostSays("one", core.Ready, metav1.ConditionFalse, core.ReasonNotPending))
	w.label("one", "pending")
	old.Armed, old.Attempts, old.Outcome = true, 0, string(core.OutcomeApplying)
	a.says(1, core.False, core.ReasonWaitingForOSReconcile, old, bootstrapped())
	w.eventually(w.hostSays("one", core.NodeDrained, metav1.ConditionTrue, core.ReasonNothingToDrain))
	w.NoErr(w.labelIs("one", v1beta1.LabelInPlaceUpdate, "pending")())

	soon := metav1.NewTime(time.Now().Add(time.Minute))
	old.Attempts, old.Outcome, old.NextAttemptTime = 1, string(core.OutcomeFailed), &soon
	a.says(1, core.False, core.ReasonReconciliationFailed, old, bootstrapped())
	w.eventually(w.hostSays("one", core.Ready, metav1.ConditionFalse, core.ReasonReconciliationFailed))
	w.NoErr(w.labelIs("one", v1beta1.LabelInPlaceUpdate, "pending")()) // Another attempt will come.

	old.Attempts, old.NextAttemptTime, old.Outcome = 2, nil, string(core.OutcomeRolledBack)
	a.says(1, core.False, core.ReasonRolledBack, old, bootstrapped())
	w.eventually(w.labelIs("one", v1beta1.LabelInPlaceUpdate, "failed"))
	w.eventually(w.hostSays("one", core.Ready, metav1.ConditionFalse, core.ReasonRolledBack))
	w.eventually(func() error {
		return errors.Join(w.event("one", "Warning", "Failed"), w.event("one", "Warning", "RolledBack"))
	})

	// Armed again at once, it is not judged by the failure of before, which the agent still tells of.
	w.label("one", "pending")
	a.renews(time.Now())
	w.eventually(w.hostSays("one", core.Ready, metav1.ConditionFalse, core.ReasonRolledBack))
	old.Attempts, old.Outcome = 0, string(core.OutcomeApplying)
	a.says(1, core.False, core.ReasonWaitingForOSReconcile, old, bootstrapped())
	w.eventually(w.hostSays("one", core.Ready, metav1.ConditionFalse, core.ReasonWaitingForOSReconcile))
	old.Attempts, old.Outcome = 1, string(core.OutcomeApplied)
	w.NoErr(w.labelIs("one", v1beta1.LabelInPlaceUpdate, "pending")())
	a.says(1, core.True, core.ReasonApplied, old, bootstrapped())
	w.eventually(w.labelIs("one", v1beta1.LabelInPlaceUpdate, "done"))
	w.eventually(func() error { return w.event("one", "Normal", "Applied") })
}

// event checks that a host has an event.
func (w *world) event(host, kind, reason string) error {
	all := &eventsv1.EventList{}
	if err := w.admin.List(w.t.Context(), all, client.InNamespace(w.namespace)); err != nil {
		return err
	}
	for _, e := range all.Items {
		if e.Regarding.Name == host && e.Type == kind && e.Reason == reason && strings.Contains(e.Note, "the agent says") {
			return nil
		}
	}
	return fmt.Errorf("there is no event %s %s among %d", kind, reason, len(all.Items))
}
