package kubernetes

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemental/adapters/kubernetes/api/v1beta1"
)

// editor is someone who may write hosts and machines, and may read no Secrets.
func (w *world) editor() client.Client {
	w.t.Helper()
	meta := metav1.ObjectMeta{Namespace: w.namespace, Name: "editor"}
	account := &corev1.ServiceAccount{ObjectMeta: meta}
	for _, object := range []client.Object{
		account,
		&rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{
			APIGroups: []string{v1beta1.GroupVersion.Group}, Resources: []string{"elementalhosts", "elementalmachines"}, Verbs: []string{"*"},
		}}},
		&rbacv1.RoleBinding{
			ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "editor"},
			Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: w.namespace, Name: "editor"}},
		},
	} {
		w.NoErr(w.admin.Create(w.t.Context(), object))
	}
	asked := &authenticationv1.TokenRequest{}
	w.NoErr(w.admin.SubResource("token").Create(w.t.Context(), account, asked))
	return w.as(asked.Status.Token)
}

// clusterMachine makes a Machine of Cluster API that calls an ElementalMachine its own, and returns its UID.
func (w *world) clusterMachine(name, infrastructure, secret string) string {
	w.t.Helper()
	w.makes(fmt.Sprintf(`{"apiVersion":"cluster.x-k8s.io/v1beta2","kind":"Machine","metadata":{"name":%q},"spec":{"bootstrap":{"dataSecretName":%q},"infrastructureRef":%s}}`,
		name, secret, infrastructure))
	uid, err := w.kubectl("get", "machines.cluster.x-k8s.io", name, "-o", "jsonpath={.metadata.uid}")
	w.NoErr(err)
	return uid
}

// ours is a reference to an ElementalMachine, as Cluster API's v1beta2 has it.
func ours(name string) string {
	return fmt.Sprintf(`{"apiGroup":"infrastructure.cluster.x-k8s.io","kind":"ElementalMachine","name":%q}`, name)
}

// owned makes a Secret that someone of Cluster API owns; nobody: the kind is empty.
func (w *world) owned(name, kind, group, owner, uid, secretType string, labels map[string]string) {
	w.t.Helper()
	metadata := map[string]any{"name": name, "labels": labels}
	if kind != "" {
		metadata["ownerReferences"] = []any{map[string]any{"apiVersion": group + "/v1beta2", "kind": kind, "name": owner, "uid": uid}}
	}
	object, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": secretType, "stringData": map[string]string{"value": bootstrapCanary},
	})
	w.NoErr(err)
	w.makes(string(object))
}

// TestAttacksOnBootstrapData tries to have Secrets handed to a host that are not meant for hosts, as someone who may not
// read them, and sees that what is meant for hosts still reaches them.
func TestAttacksOnBootstrapData(t *testing.T) {
	w := newWorld(t)
	w.let()
	w.machineKind()
	w.controller()
	editor := w.editor()
	const opaque, typed = "Opaque", string(clusterSecret)
	meant := map[string]string{v1beta1.LabelBootstrapData: "true"}
	w.owned("edge-kubeconfig", "KubeadmControlPlane", "controlplane.cluster.x-k8s.io", "edge", "1", typed, nil)
	w.owned("other-kubeconfig", "Cluster", clusterGroup, "other", "1", typed, nil)
	w.owned("edge-ca", "", "", "", "", typed, nil)
	w.owned("provided", "KubeadmConfig", bootstrapGroup, "edge-1", "1", typed, nil)
	w.owned("opaque", "KubeadmConfig", bootstrapGroup, "edge-1", "1", opaque, nil)
	w.owned("plain", "", "", "", "", opaque, nil)
	w.owned("denied", "", "", "", "", opaque, map[string]string{v1beta1.LabelBootstrapData: "false"})
	w.owned("meant", "", "", "", "", opaque, meant)
	w.owned(BootstrapSecret("another"), "ElementalHost", v1beta1.GroupVersion.Group, "another", "1", opaque, nil)

	byHand := func(name, secret string) {
		host := &v1beta1.ElementalHost{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}}
		host.Spec.BootstrapSecret = &v1beta1.ObjectReference{Name: secret}
		w.eventually(func() error { return client.IgnoreAlreadyExists(editor.Create(t.Context(), host)) }) // Its role takes a moment.
	}
	byMachine := func(name, owner, uid string) {
		host := &v1beta1.ElementalHost{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}}
		machine := &v1beta1.ElementalMachine{ObjectMeta: metav1.ObjectMeta{
			Namespace: w.namespace, Name: name,
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "cluster.x-k8s.io/v1beta2", Kind: "Machine", Name: owner, UID: types.UID(uid)}},
		}}
		machine.Spec.HostRef = &v1beta1.ObjectReference{Name: name}
		for _, object := range []client.Object{machine, host} {
			w.eventually(func() error { return client.IgnoreAlreadyExists(editor.Create(t.Context(), object)) })
		}
	}
	good := func(name, secret string) { byMachine(name, name, w.clusterMachine(name, ours(name), secret)) }
	for name, story := range map[string]struct {
		begin func(host string)
		waits bool
	}{
		"hand-kubeconfig": {func(h string) { byHand(h, "edge-kubeconfig") }, false},
		"hand-plain":      {func(h string) { byHand(h, "plain") }, false},
		"hand-denied":     {func(h string) { byHand(h, "denied") }, false},
		"hand-provided":   {func(h string) { byHand(h, "provided") }, false}, // It is another machine's.
		"hand-another":    {func(h string) { byHand(h, BootstrapSecret("another")) }, false},
		"hand-meant":      {func(h string) { byHand(h, "meant") }, true},
		"hand-noted": {func(h string) { // As if it had been copied before.
			host := &v1beta1.ElementalHost{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: h, Annotations: map[string]string{v1beta1.AnnotationBootstrapFrom: "edge-kubeconfig"}}}
			host.Spec.BootstrapSecret = &v1beta1.ObjectReference{Name: BootstrapSecret(h)}
			w.eventually(func() error { return client.IgnoreAlreadyExists(editor.Create(t.Context(), host)) })
		}, false},
		"machine-of-another": {func(h string) { byMachine(h, "victim", w.clusterMachine("victim", ours("victim"), "provided")) }, false},
		"machine-of-old-uid": {func(h string) { w.clusterMachine(h, ours(h), "provided"); byMachine(h, h, "1") }, false},
		"machine-other-kind": {func(h string) {
			byMachine(h, h, w.clusterMachine(h, `{"apiGroup":"infrastructure.cluster.x-k8s.io","kind":"DockerMachine","name":"`+h+`"}`, "provided"))
		}, false},
		"machine-elsewhere": {func(h string) {
			byMachine(h, h, w.clusterMachine(h, `{"apiVersion":"infrastructure.cluster.x-k8s.io/v1beta1","kind":"ElementalMachine","namespace":"elsewhere","name":"`+h+`"}`, "provided"))
		}, false},
		"machine-kubeconfig":   {func(h string) { good(h, "edge-kubeconfig") }, false},
		"machine-kubeconfig-2": {func(h string) { good(h, "other-kubeconfig") }, false},
		"machine-ca":           {func(h string) { good(h, "edge-ca") }, false},
		"machine-plain":        {func(h string) { good(h, "plain") }, false},
		"machine-opaque":       {func(h string) { good(h, "opaque") }, false},
		"machine-provided":     {func(h string) { good(h, "provided") }, true},
		"machine-meant":        {func(h string) { good(h, "meant") }, true},
		"machine-v1beta1": {func(h string) {
			byMachine(h, h, w.clusterMachine(h, `{"apiVersion":"infrastructure.cluster.x-k8s.io/v1beta1","kind":"ElementalMachine","namespace":"`+w.namespace+`","name":"`+h+`"}`, "provided"))
		}, true},
		"machine-own": {func(h string) {
			uid := w.clusterMachine(h, ours(h), "own")
			w.owned("own", "Machine", clusterGroup, h, uid, typed, nil)
			byMachine(h, h, uid)
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			story.begin(name)
			if story.waits {
				w.eventually(w.waitsFor(name, "cloud-config", bootstrapCanary))
				return
			}
			w.eventually(w.told(name, "BootstrapDataRefused"))
			if err := w.missing(&corev1.Secret{}, BootstrapSecret(name))(); err != nil {
				t.Error(errors.Join(errors.New("the host was handed what is not meant for it"), err))
			}
		})
	}
	w.silent(bootstrapCanary)
}
