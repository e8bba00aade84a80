package kubernetes

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemental/adapters/kubernetes/api/v1beta1"
	"elemental/core"
)

// mortal lets so many writes through, and no more: as if the controller had been killed before the next.
type mortal struct {
	next http.RoundTripper
	left *atomic.Int64
}

func (m mortal) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodGet && m.left.Add(-1) < 0 {
		return nil, errors.New("the controller was killed")
	}
	return m.next.RoundTrip(r)
}

// mortalHosts reconciles hosts, and has so many writes left as the counter says.
func (w *world) mortalHosts() (*hosts, *atomic.Int64) {
	w.t.Helper()
	left := new(atomic.Int64)
	m := w.cachedThrough(func(next http.RoundTripper) http.RoundTripper { return mortal{next, left} })
	recorder := events.NewFakeRecorder(1)
	go func() {
		for {
			select {
			case <-recorder.Events:
			case <-w.t.Context().Done():
				return
			}
		}
	}()
	return newHosts(m.GetClient(), m.GetAPIReader(), recorder), left
}

// TestLifeAControllerThatIsKilledBetweenAnyTwoWrites takes one host after another through its life, and kills the
// controller after one write more each time.
func TestLifeAControllerThatIsKilledBetweenAnyTwoWrites(t *testing.T) {
	w := newWorld(t)
	w.let()
	r, left := w.mortalHosts()
	w.secret("data", "cloud-config", bootstrapCanary)
	const most = 9 // More than any step of the life below writes.
	for n := range most {
		name := fmt.Sprintf("host-%d", n)
		request := ctrl.Request{NamespacedName: client.ObjectKey{Namespace: w.namespace, Name: name}}
		a := agent{w, w.admin, name}
		// until reconciles with a controller that dies, and then with one that lives, until the check succeeds.
		until := func(check func() error) {
			t.Helper()
			left.Store(int64(n))
			for range 20 {
				_, _ = r.Reconcile(t.Context(), request)
				w.NoErr(w.tidy(name))
			}
			left.Store(1 << 30)
			w.eventually(func() error {
				_, err := r.Reconcile(t.Context(), request)
				return errors.Join(err, w.tidy(name), check())
			})
		}
		w.newHost(name, func(h *v1beta1.ElementalHost) { h.Spec.BootstrapSecret = &v1beta1.ObjectReference{Name: "data"} })
		until(w.waitsFor(name, "cloud-config", bootstrapCanary))
		a.tells(time.Now().Add(-time.Hour), core.PhaseBootstrapping, bootstrapped())
		until(w.waitsFor(name, "", ""))
		until(w.labelIs(name, v1beta1.LabelBootstrapped, "true"))
		w.asksReset(name)
		a.tells(time.Now().Add(-time.Minute), core.PhaseResetting, wasReset)
		until(w.labelIs(name, v1beta1.LabelReset, "true"))
		until(w.labelIs(name, v1beta1.LabelNeedsReset, ""))
		a.tells(time.Now(), core.PhaseRunning, wasReset)
		w.deletes(name)
		until(w.hostSays(name, core.Ready, metav1.ConditionFalse, core.ReasonWaitingForReset))
		a.tells(time.Now(), core.PhaseResetting, wasReset)
		until(w.goneHost(name))
	}
}

// tidy checks that nothing was made that could be left behind: a host with an identity is held, and a copy of bootstrap
// data is noted.
func (w *world) tidy(name string) error {
	host := &v1beta1.ElementalHost{}
	if err := w.admin.Get(w.t.Context(), client.ObjectKey{Namespace: w.namespace, Name: name}, host); err != nil {
		return client.IgnoreNotFound(err)
	}
	account := &corev1.ServiceAccount{}
	if err := w.admin.Get(w.t.Context(), client.ObjectKey{Namespace: w.namespace, Name: HostAccount(name)}, account); err == nil && !held(host) {
		return errors.New("the host has an identity, and nothing holds it")
	}
	data := &corev1.Secret{}
	err := w.admin.Get(w.t.Context(), client.ObjectKey{Namespace: w.namespace, Name: BootstrapSecret(name)}, data)
	if err == nil && host.Annotations[v1beta1.AnnotationBootstrapFrom] == "" {
		return errors.New("there is bootstrap data of which the host does not know")
	}
	if err != nil && host.BootstrapWaits() {
		return errors.New("the host is told of bootstrap data that is not there")
	}
	return nil
}

func TestLifeANamespaceThatIsDeletedDoesNotHang(t *testing.T) {
	w := newWorld(t)
	w.controller()
	a := w.alive("one")
	a.tells(time.Now(), core.PhaseRunning, bootstrapped())
	w.eventually(w.hostSays("one", core.Ready, metav1.ConditionTrue, ""))
	_, err := w.kubectl("delete", "--wait=false", "namespace", w.namespace)
	w.NoErr(err)
	w.deletes("one")
	w.eventually(w.hostSays("one", core.Ready, metav1.ConditionFalse, core.ReasonWaitingForReset))
	w.stays(w.isHeld("one")) // While it has its identity, it can report.
	_, err = w.kubectl("delete", "serviceaccount", HostAccount("one"))
	w.NoErr(err)
	w.eventually(w.goneHost("one"))
}

func TestLifeManyHostsAreDeletedAtOnce(t *testing.T) {
	const many = 200
	w := newWorld(t)
	w.controller()
	var names []string
	for i := range many {
		names = append(names, fmt.Sprintf("host-%d", i))
		w.newHost(names[i])
	}
	w.within(time.Minute, func() error {
		for _, name := range names {
			if err := w.isHeld(name)(); err != nil {
				return err
			}
		}
		return nil
	})
	for _, name := range names {
		agent{w, w.admin, name}.tells(time.Now(), core.PhaseRunning, bootstrapped())
	}
	w.deletes(names...)
	rand.Shuffle(many, func(i, j int) { names[i], names[j] = names[j], names[i] })
	began := time.Now()
	for _, name := range names {
		w.NoErr(w.isHeld(name)())
		agent{w, w.admin, name}.tells(time.Now(), core.PhaseResetting, wasReset)
	}
	w.within(time.Minute, func() error {
		left := &v1beta1.ElementalHostList{}
		w.NoErr(w.admin.List(t.Context(), left, client.InNamespace(w.namespace)))
		if len(left.Items) > 0 {
			return fmt.Errorf("%d hosts are still there", len(left.Items))
		}
		return nil
	})
	t.Logf("%d hosts told that they were reset, and were let go, in %s", many, time.Since(began))
}
