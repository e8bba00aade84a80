package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemental/adapters/kubernetes/api/v1beta1"
	"elemental/core"
)

// +kubebuilder:rbac:groups=cluster.x-k8s.io,resources=machines,verbs=get

// sourceLook is how often the source of a host's bootstrap data is looked at until the host has joined. Nobody may watch
// Secrets who is not to read them all.
const sourceLook = 10 * time.Second

// The keys of a Secret with bootstrap data, as Cluster API has them.
const (
	bootstrapValue  = "value"
	bootstrapFormat = "format"
	cloudConfig     = "cloud-config" // what the data is where no format is named
)

// bootstraps keep the copies of bootstrap data by which hosts join their clusters. Each is read live, and is in no cache.
type bootstraps struct {
	client client.Client
	live   client.Reader
}

// supply is where a host's bootstrap data comes from.
type supply struct {
	secret   string // that has it; empty: none is to wait for the host
	from     string // the note of it on the host, which stands for as long as there may be a copy; empty: there is none
	expected bool   // it is there, or may come

	machine types.UID // the Machine of Cluster API whose data it is; empty: someone named the Secret by hand
	refused error     // why what claims to be a source is none
}

// own says that someone made the very Secret that the host reads, and there is nothing to copy.
func (s supply) own() bool { return s.secret != "" && s.from == "" }

// find says where a host's bootstrap data comes from: from the Machine that owns the machine which the host serves, or
// else from the Secret that someone named by hand.
func (b bootstraps) find(ctx context.Context, l *look) (supply, error) {
	host, machine := l.host, l.machine
	bootstrapped := core.IsBootstrapped(marked(host, v1beta1.LabelBootstrapped), fromConditions(host.Status.Conditions))
	if l.release.Parting != core.PartingNone || bootstrapped || machine != nil && !machine.DeletionTimestamp.IsZero() {
		return supply{}, nil
	}
	if machine != nil {
		if i := slices.IndexFunc(machine.OwnerReferences, isMachine); i >= 0 {
			owner := machine.OwnerReferences[i]
			name, err := b.dataOf(ctx, machine, owner)
			if errors.Is(err, errNoSource) {
				return supply{expected: true, refused: err}, nil
			}
			if err != nil || name == "" {
				return supply{expected: true}, err
			}
			return supply{secret: name, from: string(machine.UID) + "/" + name, expected: true, machine: owner.UID}, nil
		}
	}
	noted := host.Annotations[v1beta1.AnnotationBootstrapFrom]
	switch ref := host.Spec.BootstrapSecret; {
	case ref == nil:
		return supply{}, nil
	case !host.BootstrapWaits():
		return supply{secret: ref.Name, from: ref.Name, expected: true}, nil
	case strings.Contains(noted, "/"): // It was a machine's, which the host serves no more.
		return supply{}, nil
	case noted != "":
		return supply{secret: noted, from: noted, expected: true}, nil
	default:
		return supply{secret: ref.Name, expected: true}, nil
	}
}

// dataOf names the Secret with the bootstrap data of a Machine; it is empty while there is none.
func (b bootstraps) dataOf(ctx context.Context, machine *v1beta1.ElementalMachine, owner metav1.OwnerReference) (string, error) {
	owning := &unstructured.Unstructured{}
	owning.SetAPIVersion(owner.APIVersion)
	owning.SetKind(owner.Kind)
	key := types.NamespacedName{Namespace: machine.Namespace, Name: owner.Name}
	err := b.live.Get(ctx, key, owning)
	if apierrors.IsNotFound(err) || meta.IsNoMatchError(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading Machine %s, which owns ElementalMachine %s: %w", key, machine.Name, err)
	}
	if owning.GetDeletionTimestamp() != nil {
		return "", nil
	}
	if err := vouches(owning, owner, machine); err != nil {
		return "", err
	}
	name, _, err := unstructured.NestedString(owning.Object, "spec", "bootstrap", "dataSecretName")
	if err != nil {
		return "", fmt.Errorf("reading spec.bootstrap.dataSecretName of Machine %s: %w", key, err)
	}
	return name, nil
}

// withdraw deletes a copy that is not to wait any more. The host was told before, and its note of the copy outlives it.
func (b bootstraps) withdraw(ctx context.Context, host *v1beta1.ElementalHost) error {
	if host.Annotations[v1beta1.AnnotationBootstrapFrom] == "" {
		return nil
	}
	made, err := b.made(ctx, host)
	if err != nil || made == nil {
		return err
	}
	err = b.client.Delete(ctx, made, client.Preconditions{UID: &made.UID})
	return wrap(client.IgnoreNotFound(err), "deleting Secret %s/%s, which ElementalHost %s needs no more", made.Namespace, made.Name, host.Name)
}

// made is the copy that was made for the host; nil: there is none.
func (b bootstraps) made(ctx context.Context, host *v1beta1.ElementalHost) (*corev1.Secret, error) {
	made := &corev1.Secret{}
	key := types.NamespacedName{Namespace: host.Namespace, Name: BootstrapSecret(host.Name)}
	err := b.live.Get(ctx, key, made)
	if apierrors.IsNotFound(err) || err == nil && !ownedBy(made, host.UID) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading Secret %s: %w", key, err)
	}
	return made, nil
}

// copy makes the data wait for the host where there is some, and says whether it does. What can't be read now waits as it
// did; what must not be handed out does not, and the error is errNoSource. The data is in no error.
func (b bootstraps) copy(ctx context.Context, host *v1beta1.ElementalHost, data supply) (bool, error) {
	if data.secret == "" {
		return false, data.refused
	}
	source := &corev1.Secret{}
	key := types.NamespacedName{Namespace: host.Namespace, Name: data.secret}
	switch err := b.live.Get(ctx, key, source); {
	case apierrors.IsNotFound(err):
		return false, nil
	case apierrors.IsForbidden(err):
		return host.BootstrapWaits(), fmt.Errorf("reading Secret %s, which has bootstrap data for ElementalHost %s: %w; let the controller do so: kubectl apply -n %s -k packaging/rbac/hosts", key, host.Name, err, host.Namespace)
	case err != nil:
		return host.BootstrapWaits(), fmt.Errorf("reading Secret %s, which has bootstrap data for ElementalHost %s: %w", key, host.Name, err)
	}
	if err := meant(source, data.machine); err != nil {
		return false, fmt.Errorf("using Secret %s as bootstrap data for ElementalHost %s: %w", key, host.Name, err)
	}
	if len(source.Data[bootstrapValue]) == 0 {
		return false, fmt.Errorf("reading Secret %s: it has no bootstrap data for ElementalHost %s under the key %q", key, host.Name, bootstrapValue)
	}
	if data.own() {
		return true, nil
	}
	content := map[string][]byte{bootstrapValue: source.Data[bootstrapValue], bootstrapFormat: source.Data[bootstrapFormat]}
	if len(content[bootstrapFormat]) == 0 {
		content[bootstrapFormat] = []byte(cloudConfig)
	}
	if err := b.write(ctx, host, content); err != nil {
		return host.BootstrapWaits(), err
	}
	return true, nil
}

// write makes the copy, or mends the one that is there.
func (b bootstraps) write(ctx context.Context, host *v1beta1.ElementalHost, content map[string][]byte) error {
	made, err := b.made(ctx, host)
	if err != nil {
		return err
	}
	if made == nil {
		made = &corev1.Secret{ObjectMeta: managed(host.Namespace, BootstrapSecret(host.Name)), Data: content}
		made.OwnerReferences = []metav1.OwnerReference{ownerHost(host).reference()}
		err := b.client.Create(ctx, made)
		if apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("using Secret %s/%s for ElementalHost %s: it does not belong to it; remove it", made.Namespace, made.Name, host.Name)
		}
		return wrap(err, "creating Secret %s/%s for ElementalHost %s", made.Namespace, made.Name, host.Name)
	}
	if maps.EqualFunc(made.Data, content, slices.Equal) {
		return nil
	}
	made.Data = content
	return wrap(b.client.Update(ctx, made), "writing Secret %s/%s of ElementalHost %s", made.Namespace, made.Name, host.Name)
}

// note keeps on the host where its bootstrap data comes from, before there is a copy and until there is none.
func (w *wish) note(data supply) {
	switch {
	case data.secret == "":
		w.spec.BootstrapSecret = nil // What was noted is forgotten once it is deleted.
	case data.from == "":
		delete(w.annotations, v1beta1.AnnotationBootstrapFrom)
	default:
		w.annotations[v1beta1.AnnotationBootstrapFrom] = data.from
	}
}

// offer shows the host that bootstrap data waits for it, or that it does not. What someone named by hand stays named.
func (w *wish) offer(host *v1beta1.ElementalHost, data supply, waits bool) {
	switch byHand := data.secret != "" && !strings.Contains(data.from, "/"); {
	case data.own():
	case waits && !host.BootstrapWaits():
		w.spec.BootstrapSecret = &v1beta1.ObjectReference{APIVersion: "v1", Kind: "Secret", Name: BootstrapSecret(host.Name)}
	case !waits && host.BootstrapWaits() && byHand:
		w.spec.BootstrapSecret = &v1beta1.ObjectReference{APIVersion: "v1", Kind: "Secret", Name: data.secret}
	case !waits && host.BootstrapWaits():
		w.spec.BootstrapSecret = nil
	}
}
