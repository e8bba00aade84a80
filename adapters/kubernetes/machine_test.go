package kubernetes

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"elemental/adapters/kubernetes/api/v1beta1"
	"elemental/core"
)

func (w *world) forwards(host string, want *runtime.RawExtension) func() error {
	return func() error {
		if got := w.host(host).Spec.OSVersionManagement; !sameVersion(got, want) {
			return fmt.Errorf("the host's osVersionManagement is %v", got)
		}
		return nil
	}
}

func (w *world) machineSays(name, kind string, status metav1.ConditionStatus, reason string) func() error {
	return func() error {
		machine := w.machine(name)
		return condition(machine.Status.Conditions, kind, status, reason, machine.Generation)
	}
}

func TestAMachineSpeaksThroughItsHost(t *testing.T) {
	w := newWorld(t)
	w.controller()
	a := w.alive("one", func(h *v1beta1.ElementalHost) { // Someone asked for this before the machine came.
		h.Spec.OSVersionManagement = osVersionOf(`{"packages":{"refresh":true},"osVersion":{"debug":true}}`)
	})
	w.newMachine("edge-1", "one", "v1")
	w.eventually(w.forwards("one", osVersion("v1")))
	w.eventually(w.labelIs("one", v1beta1.LabelElementalMachineName, "edge-1"))
	w.NoErr(w.labelIs("one", v1beta1.LabelMachineName, "edge-1-owner")())
	w.NoErr(w.labelIs("one", v1beta1.LabelClusterName, "edge")())
	a.says(w.host("one").Generation, core.True, core.ReasonApplied, applied, bootstrapped())
	w.eventually(w.machineSays("edge-1", core.Ready, metav1.ConditionTrue, ""))
	w.eventually(w.machineSays("edge-1", "HostReady", metav1.ConditionTrue, ""))
	w.Equal(*w.machine("edge-1").Status.OSVersion, applied)

	// The seed's order: arm the host, patch the machine, wait for the machine.
	w.label("one", "pending")
	began := time.Now()
	_, err := w.kubectl("patch", "elementalmachine", "edge-1", "--type=merge", "-p",
		`{"spec":{"osVersionManagement":{"osVersion":{"imageUri":"oci://registry/os:v2"}}}}`)
	w.NoErr(err)
	w.within(time.Second, w.forwards("one", osVersion("v2")))
	t.Logf("patched and forwarded in %s", time.Since(began))
	_, err = w.kubectl("wait", "--for=condition=ready", "elementalmachine", "edge-1", "--timeout=1s")
	w.NoErr(refused(err, "timed out"))
	generation := w.host("one").Generation
	under := v1beta1.OSVersionStatus{Requested: "v2", Outcome: string(core.OutcomeStaged), Armed: true, Attempts: 1}
	a.says(generation, core.False, core.ReasonWaitingForDrain, under, bootstrapped())
	w.eventually(w.hostSays("one", core.NodeDrained, metav1.ConditionTrue, core.ReasonDrainedByHand))
	w.eventually(w.machineSays("edge-1", core.Ready, metav1.ConditionFalse, core.ReasonWaitingForDrain))
	under.Outcome, under.Applied = string(core.OutcomeApplied), "v2"
	a.says(generation, core.True, core.ReasonApplied, under, bootstrapped())
	w.eventually(w.labelIs("one", v1beta1.LabelInPlaceUpdate, "done"))
	_, err = w.kubectl("wait", "--for=condition=ready", "elementalmachine", "edge-1", "--timeout=10s")
	w.NoErr(err)

	// A change that the host need not know of is honest, too, without its agent.
	w.NoErr(w.patch(w.machine("edge-1"), `{"spec":{"inPlaceUpdate":{"drain":"Auto"}}}`))
	w.eventually(w.machineSays("edge-1", core.Ready, metav1.ConditionTrue, ""))
	w.label("one", "pending")
	w.NoErr(w.patch(w.machine("edge-1"), `{"spec":{"osVersionManagement":{"osVersion":{"imageUri":"oci://registry/os:v3"}}}}`))
	w.eventually(w.forwards("one", osVersion("v3")))
	w.NoErr(w.labelIs("one", v1beta1.LabelInPlaceUpdate, "pending")()) // The agent still says how the update before went.
	under.Outcome, under.Attempts = string(core.OutcomeStaged), 1
	a.says(w.host("one").Generation, core.False, core.ReasonWaitingForDrain, under, bootstrapped())
	w.eventually(w.hostSays("one", core.NodeDrained, metav1.ConditionFalse, core.ReasonDrainFailed))

	// What the machine asks for no more, the host is asked for no more; a null within is kept.
	null := osVersionOf(`{"list":[{"a":null}],"none":null}`)
	w.eventually(func() error {
		machine := w.machine("edge-1")
		machine.Spec.OSVersionManagement = null
		return w.admin.Update(t.Context(), machine)
	})
	w.eventually(w.forwards("one", null))
	w.NoErr(w.patch(w.machine("edge-1"), `{"spec":{"osVersionManagement":null}}`))
	w.eventually(w.forwards("one", nil))

	// Without the machine the host is its own again.
	w.NoErr(w.admin.Delete(t.Context(), w.machine("edge-1")))
	w.eventually(w.labelIs("one", v1beta1.LabelElementalMachineName, ""))
	w.eventually(func() error {
		return w.patch(w.host("one"), `{"spec":{"osVersionManagement":{"osVersion":{"imageUri":"oci://registry/os:v4"}}}}`)
	})
}

func TestAMachineFindsItsHostByTheHostsReference(t *testing.T) {
	w := newWorld(t)
	w.controller()
	w.newHost("one", func(h *v1beta1.ElementalHost) { h.Spec.MachineRef = &v1beta1.ObjectReference{Name: "edge-1"} })
	w.newMachine("edge-1", "one", "v1")
	w.NoErr(w.patch(w.machine("edge-1"), `{"spec":{"hostRef":null}}`))
	w.eventually(w.forwards("one", osVersion("v1")))
	w.eventually(func() error {
		return condition(w.machine("edge-1").Status.Conditions, core.Ready, metav1.ConditionFalse, core.ReasonWaitingForOSReconcile, 0)
	})
}

func TestAMachineWithoutAHostSaysSo(t *testing.T) {
	w := newWorld(t)
	w.controller()
	w.newMachine("edge-1", "nowhere", "v1")
	w.eventually(w.machineSays("edge-1", core.Ready, metav1.ConditionFalse, core.ReasonHostNotFound))
	w.newHost("nowhere")
	w.eventually(w.forwards("nowhere", osVersion("v1")))

	// A host serves one machine; who comes second is told so.
	w.newMachine("edge-2", "nowhere", "v2")
	w.eventually(w.machineSays("edge-2", core.Ready, metav1.ConditionFalse, core.ReasonNoHost))
	w.NoErr(w.forwards("nowhere", osVersion("v1"))())
	w.NoErr(w.patch(w.machine("edge-2"), `{"spec":{"hostRef":null}}`))
	w.eventually(func() error {
		return condition(w.machine("edge-2").Status.Conditions, core.Ready, metav1.ConditionFalse, core.ReasonNoHost, 2)
	})
}
