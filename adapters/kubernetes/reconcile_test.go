package kubernetes

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"elemental/adapters/kubernetes/api/v1beta1"
	"elemental/core"
)

// writes counts the calls that change something.
type writes struct {
	next  http.RoundTripper
	count *atomic.Int64
}

func (c writes) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodGet {
		c.count.Add(1)
	}
	return c.next.RoundTrip(r)
}

// cached is the controller's client, without its controllers, and a count of what it writes.
func (w *world) cached() (client.Client, *atomic.Int64) {
	w.t.Helper()
	count := new(atomic.Int64)
	m := w.cachedThrough(func(next http.RoundTripper) http.RoundTripper { return writes{next, count} })
	return m.GetClient(), count
}

// cachedThrough is the controller's manager without its controllers, whose requests go through something of the test's.
func (w *world) cachedThrough(wrap func(http.RoundTripper) http.RoundTripper) manager.Manager {
	w.t.Helper()
	scheme, err := newScheme()
	w.NoErr(err)
	config := configOf(w.t, controllerIdentity)
	config.Wrap(wrap)
	m, err := manager.New(config, managerOptions(Options{Namespace: w.namespace, MetricsAddress: "0", HealthAddress: "0", Log: logr.Discard()}, scheme))
	w.NoErr(err)
	ctx, cancel := context.WithCancel(context.Background())
	w.NoErr(addIndexes(ctx, m))
	ended := make(chan error, 1)
	go func() { ended <- m.Start(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("the cache ended with %v", err)
		}
	})
	w.True(m.GetCache().WaitForCacheSync(ctx))
	return m
}

func TestNothingIsWrittenWhenNothingChanged(t *testing.T) {
	w := newWorld(t)
	c, count := w.cached()
	host := newHosts(c, w.admin, events.NewFakeRecorder(1000))
	machine := &machines{client: c, now: time.Now}
	hostKey := ctrl.Request{NamespacedName: types.NamespacedName{Namespace: w.namespace, Name: "one"}}
	machineKey := ctrl.Request{NamespacedName: types.NamespacedName{Namespace: w.namespace, Name: "edge-1"}}
	w.newHost("one")
	w.newMachine("edge-1", "one", "v1")
	settle := func() int64 {
		before := count.Load()
		_, err := host.Reconcile(t.Context(), hostKey)
		w.NoErr(err)
		_, err = machine.Reconcile(t.Context(), machineKey)
		w.NoErr(err)
		return count.Load() - before
	}
	quiet := func() error { // The cache learns of what was written a moment later.
		if n := settle(); n > 0 {
			return fmt.Errorf("there were %d writes", n)
		}
		return nil
	}
	w.eventually(func() error {
		settle()
		return w.forwards("one", osVersion("v1"))()
	})
	w.eventually(quiet)
	w.agent("one").says(w.host("one").Generation, core.False, core.ReasonWaitingForReboot, applied, bootstrapped())
	w.eventually(func() error {
		settle()
		return w.machineSays("edge-1", core.Ready, metav1.ConditionFalse, core.ReasonWaitingForReboot)()
	})
	w.eventually(quiet)

	// From here on nothing is to be written, however often they look.
	hostVersion, machineVersion := w.host("one").ResourceVersion, w.machine("edge-1").ResourceVersion
	before := count.Load()
	for range 20 {
		settle()
	}
	w.Equal(count.Load(), before)
	w.Equal(w.host("one").ResourceVersion, hostVersion)
	w.Equal(w.machine("edge-1").ResourceVersion, machineVersion)
}

// What stood there before the schema said that it must be an object still reads as it stands.
func TestAnOddHostDoesNotStopTheOthers(t *testing.T) {
	w := newWorld(t)
	const crd = "elementalhosts.infrastructure.cluster.x-k8s.io"
	const path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/osVersionManagement/type"
	_, err := w.kubectl("patch", "crd", crd, "--type=json", "-p", `[{"op":"remove","path":"`+path+`"}]`)
	w.NoErr(err)
	w.eventually(func() error {
		return w.admin.Create(t.Context(), &v1beta1.ElementalHost{
			ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "odd"},
			Spec:       v1beta1.ElementalHostSpec{OSVersionManagement: osVersionOf(`["a","list"]`)},
		})
	})
	_, err = w.kubectl("patch", "crd", crd, "--type=json", "-p", `[{"op":"add","path":"`+path+`","value":"object"}]`)
	w.NoErr(err)
	w.controller()
	a := w.alive("one")
	a.says(1, core.True, core.ReasonNothingRequested, applied)
	w.eventually(w.hostSays("one", core.Ready, metav1.ConditionTrue, ""))
	w.Equal(string(w.host("odd").Spec.OSVersionManagement.Raw), `["a","list"]`)

	// It can be mended.
	w.NoErr(w.patch(w.host("odd"), `{"spec":{"osVersionManagement":{"osVersion":{}}}}`))
	w.eventually(w.hostSays("odd", core.AgentConnected, metav1.ConditionUnknown, core.ReasonNotSeen))
}

func TestChangesFlowSoonAfterAnOutage(t *testing.T) {
	w := newWorld(t)
	w.controller()
	w.newHost("one")
	w.newMachine("edge-1", "one", "v1")
	w.eventually(w.forwards("one", osVersion("v1")))

	plane.StopAPIServer()
	<-time.After(12 * time.Second) // Long enough for client-go to wait for longer than what is allowed below.
	w.NoErr(plane.StartAPIServer(t.Context()))
	w.NoErr(w.patch(w.machine("edge-1"), `{"spec":{"osVersionManagement":{"osVersion":{"imageUri":"oci://registry/os:v2"}}}}`))
	began := time.Now()
	w.within(5*time.Second, w.forwards("one", osVersion("v2")))
	t.Logf("forwarded %s after the outage", time.Since(began))
}
