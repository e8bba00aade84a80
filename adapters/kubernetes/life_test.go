package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemental/adapters/kubernetes/api/v1beta1"
	"elemental/core"
)

// tells reports a phase and conditions as at a time, of the host's spec as it is now.
func (a agent) tells(at time.Time, phase core.Phase, conditions ...core.Condition) {
	a.t.Helper()
	a.NoErr(a.telling(at, a.host(a.name).Generation, phase, conditions...))
}

func (a agent) telling(at time.Time, generation int64, phase core.Phase, conditions ...core.Condition) error {
	conditions = append(conditions, core.Condition{Type: core.OSVersionReady, Status: core.True, Reason: core.ReasonNothingRequested})
	for i := range conditions {
		conditions[i].Generation = generation
		if conditions[i].Reason == "" {
			conditions[i].Reason = "Because"
		}
	}
	return a.apply(map[string]any{"status": map[string]any{
		"observedGeneration": generation, "phase": string(phase), "conditions": toConditions(nil, conditions, at),
	}})
}

func resetIs(status core.ConditionStatus, reason string) core.Condition {
	return core.Condition{Type: core.ResetReady, Status: status, Reason: reason, Message: "the agent says " + reason}
}

// Answers of an agent to being told to reset.
var (
	underWay = resetIs(core.False, core.ReasonWaitingForReset)
	wasReset = resetIs(core.True, core.ReasonReset)
)

func (w *world) asksReset(host string) {
	w.t.Helper()
	_, err := w.kubectl("label", "--overwrite", "elementalhost", host, v1beta1.LabelNeedsReset+"=true")
	w.NoErr(err)
}

// deletes asks for a host's deletion, and does not wait for it.
func (w *world) deletes(hosts ...string) {
	w.t.Helper()
	_, err := w.kubectl(append([]string{"delete", "--wait=false", "elementalhost"}, hosts...)...)
	w.NoErr(err)
}

// missing checks that an object is not there.
func (w *world) missing(object client.Object, name string) func() error {
	object.SetNamespace(w.namespace)
	object.SetName(name)
	return func() error {
		err := w.admin.Get(context.WithoutCancel(w.t.Context()), client.ObjectKeyFromObject(object), object)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(err, fmt.Errorf("%T %s is still there", object, name))
	}
}

func (w *world) goneHost(name string) func() error {
	return w.missing(&v1beta1.ElementalHost{}, name)
}

// stays checks that something holds for a while: long enough for the controller to act, if it were to.
func (w *world) stays(check func() error) {
	w.t.Helper()
	for deadline := time.Now().Add(500 * time.Millisecond); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if err := check(); err != nil {
			w.t.Fatal(err)
		}
	}
}

// told checks that a host has an event.
func (w *world) told(host, reason string) func() error {
	return func() error {
		all := &eventsv1.EventList{}
		if err := w.admin.List(w.t.Context(), all, client.InNamespace(w.namespace)); err != nil {
			return err
		}
		for _, e := range all.Items {
			if e.Regarding.Name == host && e.Reason == reason {
				return nil
			}
		}
		return fmt.Errorf("there is no event %s of %s", reason, host)
	}
}

func (w *world) isHeld(name string) func() error {
	return func() error {
		if !held(w.host(name)) {
			return errors.New("nothing holds the host")
		}
		return nil
	}
}

func TestLifeADeletedHostStaysUntilItWasReset(t *testing.T) {
	w := newWorld(t)
	w.controller()
	a := w.alive("one")
	w.NoErr(w.isHeld("one")()) // It has an identity, so it is held.
	before := time.Now().Add(-time.Hour)
	a.tells(before, core.PhaseRunning, wasReset, bootstrapped()) // In a former life.
	w.deletes("one")
	w.eventually(w.hostSays("one", core.Ready, metav1.ConditionFalse, core.ReasonWaitingForReset))
	w.stays(w.isHeld("one"))
	w.NoErr(a.telling(before, w.host("one").Generation-1, core.PhaseResetting, wasReset)) // Of before the deletion.
	w.stays(w.isHeld("one"))
	a.tells(before, core.PhaseRunning, wasReset)
	w.stays(w.isHeld("one"))

	// Its identity is kept alive, so that it can report.
	_, err := w.kubectl("delete", "rolebinding", HostAccount("one"))
	w.NoErr(err)
	w.eventually(func() error {
		return a.telling(time.Now(), w.host("one").Generation, core.PhaseTriggeringReset, underWay)
	})
	w.eventually(w.hostSays("one", core.Ready, metav1.ConditionFalse, core.ReasonWaitingForReset))
	shown, err := w.kubectl("get", "elementalhost", "one")
	w.NoErr(err)
	w.NoErr(refused(errors.New(shown), string(core.PhaseTriggeringReset), "False"))
	a.tells(time.Now(), core.PhaseResetting, resetIs(core.False, core.ReasonResetFailed))
	w.eventually(w.hostSays("one", core.Ready, metav1.ConditionFalse, core.ReasonResetFailed))
	a.tells(time.Now(), core.PhaseResetting, wasReset)
	w.eventually(w.goneHost("one"))
	w.eventually(w.told("one", core.ReasonWaitingForReset))
	w.eventually(w.told("one", core.ReasonReset))
}

func TestLifeAHostOfWhichNobodyHeardGoesAtOnce(t *testing.T) {
	w := newWorld(t)
	w.controller()
	w.newHost("one")
	w.eventually(w.isHeld("one"))
	w.deletes("one")
	w.eventually(w.goneHost("one"))
	w.eventually(w.told("one", core.ReasonUnused))
}

func TestLifeAHostIsLetGoByForceOrByRevoking(t *testing.T) {
	w := newWorld(t)
	w.let()
	w.controller()
	for name, annotation := range map[string]string{"forced": v1beta1.AnnotationForceDelete + "=true", "revoked": v1beta1.AnnotationRevoked + "=stolen"} {
		a := w.alive(name)
		a.tells(time.Now(), core.PhaseRunning, bootstrapped())
		_, err := w.kubectl("annotate", "elementalhost", name, v1beta1.AnnotationForceDelete+"=yes") // It is no yes.
		w.NoErr(err)
		w.deletes(name)
		w.eventually(w.hostSays(name, core.Ready, metav1.ConditionFalse, core.ReasonWaitingForReset))
		w.stays(w.isHeld(name))
		_, err = w.kubectl("annotate", "--overwrite", "elementalhost", name, annotation)
		w.NoErr(err)
		w.eventually(w.goneHost(name))
	}
	w.eventually(w.told("forced", core.ReasonForced))
	w.eventually(w.told("revoked", core.ReasonRevoked))
}

func TestLifeAHostIsResetByItsLabelAndIsFree(t *testing.T) {
	w := newWorld(t)
	w.controller()
	a := w.alive("one", func(h *v1beta1.ElementalHost) {
		h.Labels = map[string]string{"rack": "7"}
		h.Spec.MachineRef = &v1beta1.ObjectReference{Name: "edge-1"}
	})
	w.newMachine("edge-1", "one", "v1")
	w.eventually(w.forwards("one", osVersion("v1")))
	a.tells(time.Now().Add(-time.Hour), core.PhaseRunning, bootstrapped())
	w.eventually(w.labelIs("one", v1beta1.LabelBootstrapped, "true"))
	w.label("one", "pending")
	w.asksReset("one")
	w.eventually(w.hostSays("one", core.Ready, metav1.ConditionFalse, core.ReasonWaitingForReset))

	// While it is to be reset it gets nothing, and is still the machine's, which goes.
	w.NoErr(w.patch(w.machine("edge-1"), `{"spec":{"osVersionManagement":{"osVersion":{"imageUri":"oci://registry/os:v2"}}}}`))
	w.NoErr(w.admin.Delete(t.Context(), w.machine("edge-1")))
	a.tells(time.Now().Add(-time.Minute), core.PhaseResetting, underWay, bootstrapped())
	w.stays(w.forwards("one", osVersion("v1")))
	w.NoErr(w.labelIs("one", v1beta1.LabelElementalMachineName, "edge-1")())
	w.NoErr(w.labelIs("one", v1beta1.LabelBootstrapped, "true")())

	first := time.Now().Add(-30 * time.Second)
	a.tells(first, core.PhaseResetting, wasReset)
	w.eventually(w.labelIs("one", v1beta1.LabelNeedsReset, ""))
	free := w.host("one")
	w.Equal(free.Labels, map[string]string{"rack": "7", v1beta1.LabelReset: "true"})
	w.Equal(free.Spec, v1beta1.ElementalHostSpec{})
	w.True(held(free))
	w.eventually(w.told("one", core.ReasonReset))

	// Asked again at once, the answer of before is not the answer to this, and its agent is told so.
	w.asksReset("one")
	w.NoErr(a.telling(first, free.Generation, core.PhaseResetting, wasReset))
	w.stays(w.labelIs("one", v1beta1.LabelNeedsReset, "true"))
	w.True(!w.host("one").ResetAsked())
	a.tells(first, core.PhaseRunning, wasReset)
	w.True(w.host("one").ResetAsked())
	w.stays(w.labelIs("one", v1beta1.LabelNeedsReset, "true"))
	a.tells(time.Now(), core.PhaseResetting, underWay)
	a.tells(time.Now(), core.PhaseResetting, wasReset)
	w.eventually(w.labelIs("one", v1beta1.LabelNeedsReset, ""))

	// Another machine may take it, and what it was is over.
	w.newMachine("edge-2", "one", "v3")
	w.eventually(w.forwards("one", osVersion("v3")))
	a.tells(time.Now(), core.PhaseRunning, bootstrapped())
	w.eventually(w.labelIs("one", v1beta1.LabelReset, ""))
	w.True(w.host("one").Annotations[v1beta1.AnnotationResetTaken] == "")
}

func TestLifeWhatItsOwnerAskedForOutlivesAReset(t *testing.T) {
	w := newWorld(t)
	w.controller()
	a := w.alive("one", func(h *v1beta1.ElementalHost) { h.Spec.OSVersionManagement = osVersion("v1") })
	w.asksReset("one")
	a.tells(time.Now(), core.PhaseResetting, wasReset)
	w.eventually(w.labelIs("one", v1beta1.LabelReset, "true"))
	w.NoErr(w.forwards("one", osVersion("v1"))())

	// Deleted while it is off after its reset, it has nothing more to say.
	w.deletes("one")
	w.eventually(w.goneHost("one"))
}
