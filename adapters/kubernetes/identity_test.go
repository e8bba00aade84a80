package kubernetes

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemental/adapters/kubernetes/api/v1beta1"
	"elemental/core"
)

// Everything is asked with the token of the host's own account, as the API server authorizes it.
func TestWhatAHostMayDo(t *testing.T) {
	w := newWorld(t)
	w.controller()
	a := w.alive("a")
	w.alive("b")
	own := func(object client.Object, name string) client.Object {
		object.SetNamespace(w.namespace)
		object.SetName(name)
		return object
	}
	hostA := func() client.Object { return own(&v1beta1.ElementalHost{}, "a") }
	hostB := func() client.Object { return own(&v1beta1.ElementalHost{}, "b") }
	leaseA := func() client.Object { return own(&coordinationv1.Lease{}, "a") }
	leaseB := func() client.Object { return own(&coordinationv1.Lease{}, "b") }
	label := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"cluster.x-k8s.io/cluster-name":"mine"}}}`))
	spec := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"pubKey":"stolen"}}`))
	phase := client.RawPatch(types.MergePatchType, []byte(`{"status":{"phase":"Running"}}`))
	renew := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"holderIdentity":"a"}}`))
	named := func(name string) client.ListOption { return client.MatchingFields{"metadata.name": name} }
	c, in := a.client, client.InNamespace(w.namespace)

	for name, row := range map[string]struct {
		may bool
		do  func(context.Context) error
	}{
		"read itself":                     {true, func(ctx context.Context) error { return c.Get(ctx, client.ObjectKeyFromObject(hostA()), hostA()) }},
		"list itself by name":             {true, func(ctx context.Context) error { return c.List(ctx, &v1beta1.ElementalHostList{}, in, named("a")) }},
		"patch its own status":            {true, func(ctx context.Context) error { return c.Status().Patch(ctx, hostA(), phase) }},
		"read its own Lease":              {true, func(ctx context.Context) error { return c.Get(ctx, client.ObjectKeyFromObject(leaseA()), leaseA()) }},
		"renew its own Lease":             {true, func(ctx context.Context) error { return c.Patch(ctx, leaseA(), renew) }},
		"patch its own spec":              {false, func(ctx context.Context) error { return c.Patch(ctx, hostA(), spec) }},
		"patch its own labels":            {false, func(ctx context.Context) error { return c.Patch(ctx, hostA(), label) }},
		"delete itself":                   {false, func(ctx context.Context) error { return c.Delete(ctx, hostA()) }},
		"make a host":                     {false, func(ctx context.Context) error { return c.Create(ctx, own(&v1beta1.ElementalHost{}, "c")) }},
		"delete its own Lease":            {false, func(ctx context.Context) error { return c.Delete(ctx, leaseA()) }},
		"make a Lease":                    {false, func(ctx context.Context) error { return c.Create(ctx, own(&coordinationv1.Lease{}, "c")) }},
		"read another host":               {false, func(ctx context.Context) error { return c.Get(ctx, client.ObjectKeyFromObject(hostB()), hostB()) }},
		"list another host by name":       {false, func(ctx context.Context) error { return c.List(ctx, &v1beta1.ElementalHostList{}, in, named("b")) }},
		"list all hosts of the namespace": {false, func(ctx context.Context) error { return c.List(ctx, &v1beta1.ElementalHostList{}, in) }},
		"list all hosts":                  {false, func(ctx context.Context) error { return c.List(ctx, &v1beta1.ElementalHostList{}) }},
		"patch another host's status":     {false, func(ctx context.Context) error { return c.Status().Patch(ctx, hostB(), phase) }},
		"delete another host":             {false, func(ctx context.Context) error { return c.Delete(ctx, hostB()) }},
		"read another's Lease":            {false, func(ctx context.Context) error { return c.Get(ctx, client.ObjectKeyFromObject(leaseB()), leaseB()) }},
		"renew another's Lease":           {false, func(ctx context.Context) error { return c.Patch(ctx, leaseB(), renew) }},
		"list Leases":                     {false, func(ctx context.Context) error { return c.List(ctx, &coordinationv1.LeaseList{}, in) }},
		"list secrets":                    {false, func(ctx context.Context) error { return c.List(ctx, &corev1.SecretList{}, in) }},
		"list machines":                   {false, func(ctx context.Context) error { return c.List(ctx, &v1beta1.ElementalMachineList{}, in) }},
		"read its own Role": {false, func(ctx context.Context) error {
			return c.Get(ctx, types.NamespacedName{Namespace: w.namespace, Name: HostAccount("a")}, &rbacv1.Role{})
		}},
		"make a pod":      {false, func(ctx context.Context) error { return c.Create(ctx, own(&corev1.Pod{}, "c")) }},
		"list namespaces": {false, func(ctx context.Context) error { return c.List(ctx, &corev1.NamespaceList{}) }},
	} {
		t.Run(name, func(t *testing.T) {
			switch err := row.do(t.Context()); {
			case row.may && err != nil:
				t.Errorf("it may not: %v", err)
			case !row.may && !apierrors.IsForbidden(err):
				t.Errorf("it was not forbidden: %v", err)
			}
		})
	}

	// What it may patch, it cannot use to reach further.
	before := w.host("a")
	w.NoErr(a.apply(map[string]any{
		"metadata": map[string]any{"labels": map[string]any{v1beta1.LabelClusterName: "mine", v1beta1.LabelInPlaceUpdate: "pending"}},
		"spec":     map[string]any{"pubKey": "stolen"},
		"status":   map[string]any{"phase": "Installing"},
	}))
	after := w.host("a")
	w.Equal(after.Status.Phase, "Installing")
	w.Equal(after.Labels, before.Labels)
	w.Equal(after.Spec, before.Spec)
	w.Equal(after.Generation, before.Generation)
}

// No rule was forgotten in the table above: the API server itself lists what the token is good for.
func TestAHostMayDoNothingElse(t *testing.T) {
	w := newWorld(t)
	w.controller()
	a := w.alive("a")
	review := &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: w.namespace}}
	w.NoErr(a.client.Create(t.Context(), review))
	for _, rule := range review.Status.ResourceRules {
		for _, group := range rule.APIGroups {
			if strings.HasSuffix(group, ".k8s.io") && strings.HasPrefix(group, "auth") {
				continue // Everyone may ask what they may do, and who they are.
			}
			w.Equal(rule.ResourceNames, []string{"a"})
		}
	}
}

func TestAHostGetsNoRightsOnWhatIsNotItsOwn(t *testing.T) {
	w := newWorld(t)
	foreign := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "elemental-controller"}}
	w.NoErr(w.admin.Create(t.Context(), foreign))
	w.controller()
	w.newHost("elemental-controller")
	w.newHost("other")
	w.agent("other")
	w.eventually(func() error { // It is reconciled none the less.
		return condition(w.host("elemental-controller").Status.Conditions, core.Ready, metav1.ConditionFalse, "", 0)
	})
	err := w.admin.Get(t.Context(), types.NamespacedName{Namespace: w.namespace, Name: HostAccount("elemental-controller")}, &rbacv1.Role{})
	w.True(apierrors.IsNotFound(err))
}

func TestARoleThatWasChangedIsMended(t *testing.T) {
	w := newWorld(t)
	w.controller()
	w.alive("one")
	role := &rbacv1.Role{}
	key := types.NamespacedName{Namespace: w.namespace, Name: HostAccount("one")}
	w.NoErr(w.admin.Get(t.Context(), key, role))
	role.Rules = append(role.Rules, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get"}})
	w.NoErr(w.admin.Update(t.Context(), role))
	w.eventually(func() error {
		w.NoErr(w.admin.Get(t.Context(), key, role))
		w.Equal(role.OwnerReferences[0].Name, "one")
		return lacks(role, "secrets")
	})
	w.NoErr(w.admin.Delete(t.Context(), role))
	w.eventually(func() error { return w.admin.Get(t.Context(), key, role) })
	w.within(time.Second, func() error { return lacks(role, "secrets") })
}

func lacks(role *rbacv1.Role, resource string) error {
	for _, rule := range role.Rules {
		if slices.Contains(rule.Resources, resource) {
			return fmt.Errorf("the Role %s names %s", role.Name, resource)
		}
	}
	return nil
}
