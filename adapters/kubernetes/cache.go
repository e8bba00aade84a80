package kubernetes

import (
	"slices"
	"unique"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemental/adapters/kubernetes/api/v1beta1"
)

// cacheOptions say what the controller keeps in memory of the objects that it watches, in one namespace, or in all
// where none is named. It keeps what is read there and no more, for five objects stand for each host.
//
// An object from the cache is therefore not to be written back: what is written is a patch of what changed, or
// begins with a read past the cache.
func cacheOptions(namespace string) cache.Options {
	ours := labels.SelectorFromSet(labels.Set{labelManagedBy: managedBy})
	made := func(slim func(client.Object)) cache.ByObject {
		return cache.ByObject{Label: ours, Transform: transform(func(object client.Object) {
			object.SetLabels(nil) // They are alike, and the API server has looked at them.
			object.SetAnnotations(nil)
			slim(object)
		})}
	}
	options := cache.Options{
		DefaultTransform: transform(func(client.Object) {}),
		ByObject: map[client.Object]cache.ByObject{
			&v1beta1.ElementalHost{}:    {Transform: transform(slimHost)},
			&v1beta1.ElementalMachine{}: {Transform: transform(slimMachine)},
			&coordinationv1.Lease{}:     made(func(client.Object) {}),
			&corev1.ServiceAccount{}:    made(func(client.Object) {}),
			&rbacv1.Role{}:              made(slimRole()),
			&rbacv1.RoleBinding{}:       made(slimRoleBinding),
		},
	}
	if namespace != "" {
		options.DefaultNamespaces = map[string]cache.Config{namespace: {}}
	}
	return options
}

// transform makes every object that comes into the cache smaller: it loses what no one reads of any kind, and then
// what slim takes away. Objects of the cache are copied before anyone changes them, so that they may share what is
// alike.
func transform(slim func(client.Object)) func(any) (any, error) {
	return func(in any) (any, error) {
		object, is := in.(client.Object)
		if !is {
			return in, nil // That an object is gone may be known by its name alone.
		}
		object.SetManagedFields(nil)
		owners := object.GetOwnerReferences()
		for i := range owners {
			share(&owners[i].APIVersion, &owners[i].Kind)
		}
		object.SetNamespace(shared(object.GetNamespace()))
		slim(object)
		return object, nil
	}
}

// slimHost leaves out what a host says of its system, but for the request by which it joined: it is for people and for
// other programs, and its larger part by far is the schema of the host's plugin.
func slimHost(object client.Object) {
	host := object.(*v1beta1.ElementalHost)
	if s := host.Status.System; s != nil && s.Request != "" {
		host.Status.System = &v1beta1.SystemStatus{Request: s.Request}
	} else {
		host.Status.System = nil
	}
	shareConditions(host.Status.Conditions)
	shareVersions(host.Status.OSVersion)
}

func slimMachine(object client.Object) {
	machine := object.(*v1beta1.ElementalMachine)
	shareConditions(machine.Status.Conditions)
	shareVersions(machine.Status.OSVersion)
}

// slimRole lets all roles that are as they should be have the same rules, but for the host's name.
func slimRole() func(client.Object) {
	pattern := HostRole("", "").Rules
	return func(object client.Object) {
		role := object.(*rbacv1.Role)
		if len(role.Rules) == 0 {
			return
		}
		wanted := slices.Clone(pattern)
		for i := range wanted {
			wanted[i].ResourceNames = role.Rules[0].ResourceNames
		}
		if equality.Semantic.DeepEqual(role.Rules, wanted) {
			role.Rules = wanted
		}
	}
}

func slimRoleBinding(object client.Object) {
	binding := object.(*rbacv1.RoleBinding)
	share(&binding.RoleRef.APIGroup, &binding.RoleRef.Kind)
	for i := range binding.Subjects {
		share(&binding.Subjects[i].APIGroup, &binding.Subjects[i].Kind, &binding.Subjects[i].Namespace)
	}
}

func shareConditions(conditions []metav1.Condition) {
	for i := range conditions {
		c := &conditions[i]
		share(&c.Type, &c.Reason, &c.Message)
		c.Status = metav1.ConditionStatus(shared(string(c.Status)))
	}
}

func shareVersions(status *v1beta1.OSVersionStatus) {
	if status == nil {
		return
	}
	share(&status.Requested, &status.Applied, &status.Outcome)
	for _, v := range []*v1beta1.Version{status.Booted, status.Staged, status.Previous} {
		if v != nil {
			share(&v.Reference, &v.Digest, &v.Version)
		}
	}
}

// share lets strings that are alike in many objects be in memory once.
func share(all ...*string) {
	for _, s := range all {
		*s = shared(*s)
	}
}

func shared(s string) string { return unique.Make(s).Value() }
