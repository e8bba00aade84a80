package kubernetes

import (
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"elemental/adapters/kubernetes/api/v1beta1"
)

// What the controller copies for a host, that host reads. Whoever may write hosts and machines need not be let to read
// Secrets, and must not come to read them through a host. So the word of a host or an ElementalMachine is not enough: the
// Machine and the Secret themselves must say that the data is meant to be handed out.

// errNoSource says that bootstrap data must not be taken from where someone says it is.
var errNoSource = errors.New("it is not handed out")

// The API groups of Cluster API, and its type of Secret.
const (
	clusterGroup   = "cluster.x-k8s.io"
	bootstrapGroup = "bootstrap.cluster.x-k8s.io"

	clusterSecret corev1.SecretType = "cluster.x-k8s.io/secret"
)

// isMachine says whether an owner is a Machine of Cluster API.
func isMachine(owner metav1.OwnerReference) bool {
	return owner.Kind == "Machine" && groupOf(owner.APIVersion) == clusterGroup
}

// groupOf is the API group of a version; empty where it names none.
func groupOf(version string) string {
	parsed, err := schema.ParseGroupVersion(version)
	if err != nil {
		return ""
	}
	return parsed.Group
}

// vouches checks that a Machine is the one that an ElementalMachine calls its owner, and calls it its own. Who writes
// ElementalMachines may write any owner into them.
func vouches(owning *unstructured.Unstructured, owner metav1.OwnerReference, machine *v1beta1.ElementalMachine) error {
	if owner.UID == "" || owning.GetUID() != owner.UID {
		return fmt.Errorf("using the bootstrap data of Machine %s/%s for ElementalMachine %s: its ownerReferences name another Machine of that name, with the uid %s: %w",
			machine.Namespace, owner.Name, machine.Name, owner.UID, errNoSource)
	}
	ref, _, err := unstructured.NestedMap(owning.Object, "spec", "infrastructureRef")
	said := func(field string) string { text, _ := ref[field].(string); return text }
	group := said("apiGroup") // Version v1beta1 of Cluster API has apiVersion, and a namespace.
	if group == "" {
		group = groupOf(said("apiVersion"))
	}
	elsewhere := said("namespace") != "" && said("namespace") != machine.Namespace
	if err != nil || elsewhere || group != v1beta1.GroupVersion.Group || said("kind") != "ElementalMachine" || said("name") != machine.Name {
		return fmt.Errorf("using the bootstrap data of Machine %s/%s for ElementalMachine %s: the Machine's spec.infrastructureRef does not name that ElementalMachine: %w",
			machine.Namespace, owner.Name, machine.Name, errNoSource)
	}
	return nil
}

// meant checks that a Secret has bootstrap data that is meant to be handed out: its label says so, or it was made by a
// bootstrap provider, or for the very Machine (empty: there is none). Kubeconfigs and certificate authorities have other
// owners.
func meant(secret *corev1.Secret, machine types.UID) error {
	if secret.Labels[v1beta1.LabelBootstrapData] == v1beta1.LabelValueTrue {
		return nil
	}
	provided := slices.ContainsFunc(secret.OwnerReferences, func(o metav1.OwnerReference) bool {
		return groupOf(o.APIVersion) == bootstrapGroup || isMachine(o) && o.UID == machine
	})
	if machine != "" && provided && secret.Type == clusterSecret {
		return nil
	}
	return fmt.Errorf("%w, since the Secret does not say that it is meant for hosts; if it is: kubectl label -n %s secret %s %s=%s",
		errNoSource, secret.Namespace, secret.Name, v1beta1.LabelBootstrapData, v1beta1.LabelValueTrue)
}
