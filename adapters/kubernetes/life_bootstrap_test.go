package kubernetes

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemental/adapters/kubernetes/api/v1beta1"
	"elemental/core"
)

const bootstrapCanary = "canary-of-bootstrap-data"

// theMachineCRD is as much of Cluster API's Machine as is read here.
const theMachineCRD = `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"machines.cluster.x-k8s.io"},
"spec":{"group":"cluster.x-k8s.io","scope":"Namespaced","names":{"kind":"Machine","plural":"machines"},
"versions":[{"name":"v1beta2","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","properties":{"spec":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}}}}]}}`

// machineKind makes Machines known to the cluster.
func (w *world) machineKind() {
	w.t.Helper()
	w.makes(theMachineCRD)
	w.eventually(func() error {
		_, err := w.kubectl("get", "machines.cluster.x-k8s.io")
		return err
	})
}

func (w *world) makes(object string) {
	w.t.Helper()
	path := w.t.TempDir() + "/object.json"
	w.NoErr(os.WriteFile(path, []byte(object), 0o600))
	_, err := w.kubectl("apply", "-f", path)
	w.NoErr(err)
}

// secret makes bootstrap data that is meant for hosts.
func (w *world) secret(name, format, value string) {
	w.t.Helper()
	w.makes(fmt.Sprintf(`{"apiVersion":"v1","kind":"Secret","metadata":{"name":%q,"labels":{%q:"true"}},"stringData":{"format":%q,"value":%q}}`,
		name, v1beta1.LabelBootstrapData, format, value))
}

// waitsFor checks which data waits for a host; the empty value is none.
func (w *world) waitsFor(host, format, value string) func() error {
	return func() error {
		if value == "" {
			if w.host(host).BootstrapWaits() {
				return errors.New("the host is told that bootstrap data waits for it")
			}
			return w.missing(&corev1.Secret{}, BootstrapSecret(host))()
		}
		made := &corev1.Secret{}
		if err := w.admin.Get(w.t.Context(), client.ObjectKey{Namespace: w.namespace, Name: BootstrapSecret(host)}, made); err != nil {
			return err
		}
		if string(made.Data["format"]) != format || string(made.Data["value"]) != value {
			return fmt.Errorf("what waits is %s %q", made.Data["format"], made.Data["value"])
		}
		if !ownedBy(made, w.host(host).UID) {
			return errors.New("it is not the host's own")
		}
		if !w.host(host).BootstrapWaits() {
			return errors.New("the host is not told that bootstrap data waits for it")
		}
		return nil
	}
}

// silent checks that a secret is told by no event and no status.
func (w *world) silent(secret string) {
	w.t.Helper()
	told := &eventsv1.EventList{}
	w.NoErr(w.admin.List(w.t.Context(), told, client.InNamespace(w.namespace)))
	hosts, err := w.kubectl("get", "elementalhosts,elementalmachines,roles", "-o", "json")
	w.NoErr(err)
	if strings.Contains(fmt.Sprint(told.Items, hosts), secret) {
		w.t.Error("bootstrap data is told where it must not be")
	}
}

func TestLifeBootstrapDataOfAMachineWaitsUntilItsHostHasJoined(t *testing.T) {
	w := newWorld(t)
	w.let()
	w.machineKind()
	w.controller()
	a := w.alive("one")
	uid := w.clusterMachine("edge-1-owner", ours("edge-1"), "data")
	w.newMachine("edge-1", "one", "", uid)
	w.eventually(w.labelIs("one", v1beta1.LabelElementalMachineName, "edge-1"))
	w.stays(w.waitsFor("one", "", "")) // The data is not there yet.
	w.secret("data", "", bootstrapCanary)
	w.eventually(w.waitsFor("one", "cloud-config", bootstrapCanary))
	w.Equal(w.host("one").Annotations[v1beta1.AnnotationBootstrapFrom], string(w.machine("edge-1").UID)+"/data")
	w.eventually(func() error { // Its identity was made by hand, and it may read this one Secret now.
		return a.client.Get(t.Context(), client.ObjectKey{Namespace: w.namespace, Name: BootstrapSecret("one")}, &corev1.Secret{})
	})
	w.secret("data", "ignition", bootstrapCanary+"-2")
	w.within(2*sourceLook, w.waitsFor("one", "ignition", bootstrapCanary+"-2"))

	// A machine that goes takes it back.
	w.NoErr(w.admin.Delete(t.Context(), w.machine("edge-1")))
	w.eventually(w.waitsFor("one", "", ""))
	w.True(w.host("one").Spec.BootstrapSecret == nil)
	w.newMachine("edge-1", "one", "", uid)
	w.eventually(w.waitsFor("one", "ignition", bootstrapCanary+"-2"))

	a.tells(time.Now(), core.PhaseBootstrapping, bootstrapped())
	w.eventually(w.labelIs("one", v1beta1.LabelBootstrapped, "true"))
	w.eventually(w.waitsFor("one", "", ""))
	w.True(w.host("one").Spec.BootstrapSecret == nil)
	w.eventually(func() error {
		return refused(a.client.Get(t.Context(), client.ObjectKey{Namespace: w.namespace, Name: BootstrapSecret("one")}, &corev1.Secret{}), "forbidden")
	})
	w.silent(bootstrapCanary)
}

func TestLifeBootstrapDataThatSomeoneNames(t *testing.T) {
	w := newWorld(t)
	w.let()
	w.controller()
	a := w.alive("one", func(h *v1beta1.ElementalHost) { h.Spec.BootstrapSecret = &v1beta1.ObjectReference{Name: "data"} })
	w.stays(w.waitsFor("one", "", ""))
	w.secret("data", "cloud-config", bootstrapCanary)
	w.within(2*sourceLook, w.waitsFor("one", "cloud-config", bootstrapCanary))
	w.secret("data", "cloud-config", "")
	w.within(2*sourceLook, w.waitsFor("one", "", ""))
	w.Equal(w.host("one").Spec.BootstrapSecret.Name, "data") // What was named stays named.
	w.eventually(w.told("one", "BootstrapDataMissing"))
	w.secret("data", "cloud-config", bootstrapCanary)
	w.within(2*sourceLook, w.waitsFor("one", "cloud-config", bootstrapCanary))

	// Who takes its label away takes it back.
	_, err := w.kubectl("label", "secret", "data", v1beta1.LabelBootstrapData+"-")
	w.NoErr(err)
	w.within(2*sourceLook, w.waitsFor("one", "", ""))
	w.eventually(w.told("one", "BootstrapDataRefused"))
	w.secret("data", "cloud-config", bootstrapCanary)
	w.within(2*sourceLook, w.waitsFor("one", "cloud-config", bootstrapCanary))

	// A host that is to be reset, or goes, gets none.
	w.asksReset("one")
	w.eventually(w.waitsFor("one", "", ""))
	a.tells(time.Now(), core.PhaseResetting, wasReset)
	w.eventually(w.labelIs("one", v1beta1.LabelReset, "true"))
	w.NoErr(w.patch(w.host("one"), `{"spec":{"bootstrapSecret":{"name":"data"}}}`))
	w.eventually(w.waitsFor("one", "cloud-config", bootstrapCanary))
	a.tells(time.Now(), core.PhaseRunning)
	w.deletes("one")
	w.eventually(w.waitsFor("one", "", ""))
	w.silent(bootstrapCanary)
}

func TestLifeBootstrapDataThatTheControllerMayNotRead(t *testing.T) {
	w := newWorld(t)
	w.controller()
	w.secret("data", "cloud-config", bootstrapCanary)
	a := w.alive("one", func(h *v1beta1.ElementalHost) { h.Spec.BootstrapSecret = &v1beta1.ObjectReference{Name: "data"} })
	a.tells(time.Now(), core.PhaseRunning)
	w.eventually(w.hostSays("one", core.Ready, metav1.ConditionTrue, "")) // All else goes on.
	w.eventually(w.told("one", "BootstrapDataMissing"))
	w.let()
	w.eventually(w.waitsFor("one", "cloud-config", bootstrapCanary))

	// The very Secret that the host reads may be someone's own, and is left alone.
	w.newHost("two", func(h *v1beta1.ElementalHost) {
		h.Spec.BootstrapSecret = &v1beta1.ObjectReference{Name: BootstrapSecret("two")}
	})
	w.secret(BootstrapSecret("two"), "", bootstrapCanary)
	b := w.agent("two")
	b.tells(time.Now(), core.PhaseBootstrapping, bootstrapped())
	w.eventually(func() error {
		if w.host("two").Spec.BootstrapSecret != nil {
			return errors.New("bootstrap data still waits")
		}
		return nil
	})
	w.NoErr(w.admin.Get(t.Context(), client.ObjectKey{Namespace: w.namespace, Name: BootstrapSecret("two")}, &corev1.Secret{}))
}
