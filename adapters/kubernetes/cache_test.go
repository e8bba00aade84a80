package kubernetes

import (
	"errors"
	"testing"

	"github.com/matryer/is"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemental/adapters/kubernetes/api/v1beta1"
	"elemental/core"
)

// The controller works with less than there is, and whatever it writes, the rest stays.
func TestWhatTheCacheLeavesOutStays(t *testing.T) {
	w := newWorld(t)
	c, count := w.cached()
	r := newHosts(c, w.admin, events.NewFakeRecorder(1000))
	key := types.NamespacedName{Namespace: w.namespace, Name: "one"}
	reconcile := func() {
		_, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: key})
		w.NoErr(err)
	}
	w.newHost("one", func(h *v1beta1.ElementalHost) {
		h.Labels = map[string]string{"rack": "7"}
		h.Annotations = map[string]string{"note": "mine"}
	})
	w.newMachine("edge-1", "one", "v1")
	w.eventually(func() error {
		reconcile()
		return w.forwards("one", osVersion("v1"))()
	})
	a := w.agent("one")
	w.NoErr(a.apply(map[string]any{"status": map[string]any{"phase": "Running", "system": map[string]any{"machineID": "0123", "pluginSchema": "{}"}}}))
	version := w.host("one").ResourceVersion
	kept := &v1beta1.ElementalHost{}
	w.eventually(func() error {
		w.NoErr(c.Get(t.Context(), key, kept))
		if kept.ResourceVersion != version {
			return errors.New("the cache is behind")
		}
		return nil
	})
	w.Equal(kept.Status.System, nil)
	w.Equal(len(kept.ManagedFields), 0)

	// Now all is written that the controller ever writes of a host: spec, labels, status and rights.
	w.NoErr(w.patch(w.machine("edge-1"), `{"spec":{"osVersionManagement":{"osVersion":{"imageUri":"oci://registry/os:v2"}}}}`))
	role, binding := &rbacv1.Role{}, &rbacv1.RoleBinding{}
	rights := types.NamespacedName{Namespace: w.namespace, Name: HostAccount("one")}
	for _, object := range []client.Object{role, binding} {
		w.NoErr(w.admin.Get(t.Context(), rights, object))
		object.SetAnnotations(map[string]string{"note": "mine"})
	}
	role.Rules[0].Verbs, binding.Subjects[0].Name = []string{"*"}, "stranger"
	w.NoErr(w.admin.Update(t.Context(), role))
	w.NoErr(w.admin.Update(t.Context(), binding))
	before := count.Load()
	w.eventually(func() error {
		reconcile()
		w.NoErr(w.admin.Get(t.Context(), rights, role))
		w.NoErr(w.admin.Get(t.Context(), rights, binding))
		if role.Rules[0].Verbs[0] == "*" || binding.Subjects[0].Name == "stranger" {
			return errors.New("the rights are not mended")
		}
		return errors.Join(w.forwards("one", osVersion("v2"))(), w.hostSays("one", core.AgentConnected, metav1.ConditionUnknown, core.ReasonNotSeen)())
	})
	w.True(count.Load() >= before+4)
	host := w.host("one")
	w.Equal(*host.Status.System, v1beta1.SystemStatus{MachineID: "0123", PluginSchema: "{}"})
	w.Equal(host.Labels["rack"], "7")
	for _, object := range []client.Object{host, role, binding} {
		w.Equal(object.GetAnnotations()["note"], "mine")
	}
	for _, object := range []client.Object{role, binding} {
		w.Equal(object.GetLabels()[labelManagedBy], managedBy)
		w.Equal(object.GetOwnerReferences()[0].UID, host.UID)
	}
}

func TestRulesAreSharedOnlyWhereTheyAreAsTheyShouldBe(t *testing.T) {
	is := is.New(t)
	slim := slimRole()
	one, other, changed, empty := HostRole("here", "one"), HostRole("here", "other"), HostRole("here", "one"), HostRole("here", "one")
	changed.Rules[1].ResourceNames = []string{"other"}
	empty.Rules = nil
	for _, role := range []*rbacv1.Role{one, other, changed, empty} {
		before := role.DeepCopy()
		slim(role)
		is.Equal(role, before) // It says what it said.
	}
	is.True(&one.Rules[0].Verbs[0] == &other.Rules[0].Verbs[0])
	is.True(&one.Rules[0].Verbs[0] != &changed.Rules[0].Verbs[0])
}

// An object that is gone may come as a mere name.
func TestATombstonePassesIntoTheCache(t *testing.T) {
	is := is.New(t)
	gone := toolscache.DeletedFinalStateUnknown{Key: "here/one"}
	out, err := transform(slimHost)(gone)
	is.NoErr(err)
	is.Equal(out, gone)
}
