package kubernetes

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemental/adapters/kubernetes/api/v1beta1"
	"elemental/core"
)

func TestARegistrationWarnsOfANamespaceWithTooManyHosts(t *testing.T) {
	if testing.Short() {
		t.Skip("it makes a thousand hosts")
	}
	w := newWorld(t)
	c, _ := w.cached()
	registration := &v1beta1.ElementalRegistration{}
	registration.Namespace, registration.Name = w.namespace, "field"
	w.NoErr(w.admin.Create(t.Context(), registration))
	r := &registrations{client: c, now: time.Now}
	says := func(hosts int) string {
		t.Helper()
		w.eventually(func() error { // The cache learns of them a moment later.
			seen := &v1beta1.ElementalHostList{}
			err := c.List(t.Context(), seen, client.InNamespace(w.namespace))
			if err == nil && len(seen.Items) != hosts {
				err = fmt.Errorf("%d hosts are known, and not %d", len(seen.Items), hosts)
			}
			return err
		})
		w.NoErr(w.admin.Get(t.Context(), client.ObjectKeyFromObject(registration), registration))
		w.NoErr(r.report(t.Context(), registration, time.Time{}, nil))
		w.NoErr(w.admin.Get(t.Context(), client.ObjectKeyFromObject(registration), registration))
		ready := meta.FindStatusCondition(registration.Status.Conditions, core.Ready)
		w.True(ready != nil)
		w.Equal(string(ready.Status), "True") // It still lets hosts in.
		return ready.Message
	}
	for i := range mostHosts {
		w.newHost(fmt.Sprintf("host-%d", i))
	}
	w.Equal(says(mostHosts), "hosts can join")
	w.newHost("one-more")
	w.True(strings.HasPrefix(says(mostHosts+1), "hosts can join, but namespace "+w.namespace+" has more than 1000 of them"))
	w.NoErr(w.admin.Delete(t.Context(), w.host("one-more")))
	w.Equal(says(mostHosts), "hosts can join")
}
