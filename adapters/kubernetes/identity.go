package kubernetes

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemental/adapters/kubernetes/api/v1beta1"
	"elemental/core"
)

// What the controller makes for a host bears this label, and the controller watches nothing else of its kind.
const (
	labelManagedBy = "app.kubernetes.io/managed-by"
	managedBy      = "elemental-controller"
)

// HostAccount names the service account and the role of a host: all that a host may do, it does as this.
func HostAccount(host string) string { return "elemental-host-" + host }

// HostRole is what a host may do: read its own ElementalHost, write that one's status, and renew its own
// Lease. Every rule names the object, so no host can see or touch another, and a list is granted only with
// a field selector for that one name.
func HostRole(namespace, host string) *rbacv1.Role {
	return &rbacv1.Role{
		ObjectMeta: managed(namespace, HostAccount(host)),
		Rules: []rbacv1.PolicyRule{
			{
				APIGroups: []string{v1beta1.GroupVersion.Group}, Resources: []string{"elementalhosts"},
				ResourceNames: []string{host}, Verbs: []string{"get", "list", "watch"},
			},
			{
				APIGroups: []string{v1beta1.GroupVersion.Group}, Resources: []string{"elementalhosts/status"},
				ResourceNames: []string{host}, Verbs: []string{"patch"},
			},
			{
				APIGroups: []string{coordinationv1.GroupName}, Resources: []string{"leases"},
				ResourceNames: []string{host}, Verbs: []string{"get", "update", "patch"},
			},
		},
	}
}

// joinedRules are what a host that joined by itself may do besides: renew its own token, read the bootstrap data that
// waits for it, and learn of new certificates of the API server. The controller holds these rights in the namespaces
// of registrations alone, so it can give them nowhere else.
func joinedRules(host string) []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		{
			APIGroups: []string{""}, Resources: []string{"serviceaccounts/token"},
			ResourceNames: []string{HostAccount(host)}, Verbs: []string{"create"},
		},
		bootstrapRule(host),
		{
			APIGroups: []string{""}, Resources: []string{"configmaps"},
			ResourceNames: []string{rootCA}, Verbs: []string{"get"},
		},
	}
}

func bootstrapRule(host string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{
		APIGroups: []string{""}, Resources: []string{"secrets"},
		ResourceNames: []string{BootstrapSecret(host)}, Verbs: []string{"get"},
	}
}

// rootCA is the ConfigMap that Kubernetes keeps in every namespace with the certificates of its API server.
const rootCA = "kube-root-ca.crt"

// BootstrapSecret names the Secret by which bootstrap data reaches a host.
func BootstrapSecret(host string) string { return v1beta1.BootstrapSecretName(host) }

// rulesOf are the rights of a host. One that was revoked has none, and one whose identity was made by hand reads its
// bootstrap data only while some waits for it: where there is some, the controller has that right to give.
func rulesOf(host *v1beta1.ElementalHost, waits bool) []rbacv1.PolicyRule {
	rules := HostRole(host.Namespace, host.Name).Rules
	switch {
	case revoked(host):
		return nil
	case host.Spec.PubKey != "":
		return append(rules, joinedRules(host.Name)...)
	case waits:
		return append(rules, bootstrapRule(host.Name))
	default:
		return rules
	}
}

// HostRoleBinding gives a host's role to its service account.
func HostRoleBinding(namespace, host string) *rbacv1.RoleBinding {
	name := HostAccount(host)
	return &rbacv1.RoleBinding{
		ObjectMeta: managed(namespace, name),
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: name}},
	}
}

func managed(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{labelManagedBy: managedBy}}
}

// identities keeps what a host needs to be someone in the cluster.
type identities struct {
	client client.Client
	live   client.Reader // past the cache
}

// renewed is when the host last renewed its Lease by its own clock; zero: never.
func (i identities) renewed(ctx context.Context, host *v1beta1.ElementalHost) (time.Time, error) {
	lease := &coordinationv1.Lease{}
	err := i.client.Get(ctx, client.ObjectKeyFromObject(host), lease)
	if client.IgnoreNotFound(err) != nil {
		return time.Time{}, fmt.Errorf("reading Lease %s/%s of ElementalHost %s: %w", host.Namespace, host.Name, host.Name, err)
	}
	if err != nil || !ownedBy(lease, host.UID) || lease.Spec.RenewTime == nil {
		return time.Time{}, nil
	}
	return lease.Spec.RenewTime.Time, nil
}

// ensure makes the host's Lease, service account, role and binding where they are missing, and mends a role
// or binding that was changed. Waits says that bootstrap data waits for the host.
//
// The Lease comes first: a host that bears the name of someone else's Lease, such as the controller's own,
// must get no rights on it.
func (i identities) ensure(ctx context.Context, host *v1beta1.ElementalHost, waits bool) error {
	name := HostAccount(host.Name)
	lease := &coordinationv1.Lease{ObjectMeta: managed(host.Namespace, host.Name)}
	account := &corev1.ServiceAccount{ObjectMeta: managed(host.Namespace, name)}
	role, binding := HostRole(host.Namespace, host.Name), HostRoleBinding(host.Namespace, host.Name)
	role.Rules = rulesOf(host, waits)
	rules, subjects := role.Rules, binding.Subjects

	for _, object := range []client.Object{lease, account, role, binding} {
		if err := i.ensureOwned(ctx, ownerHost(host), object); err != nil {
			return err
		}
	}
	// The cache does not keep the whole of what is written back here.
	if !equality.Semantic.DeepEqual(role.Rules, rules) {
		if err := i.live.Get(ctx, client.ObjectKeyFromObject(role), role); err != nil {
			return fmt.Errorf("reading Role %s/%s: %w", role.Namespace, role.Name, err)
		}
		role.Rules = rules
		if err := i.client.Update(ctx, role); err != nil {
			return fmt.Errorf("mending Role %s/%s: %w", role.Namespace, role.Name, err)
		}
	}
	if !equality.Semantic.DeepEqual(binding.Subjects, subjects) {
		if err := i.live.Get(ctx, client.ObjectKeyFromObject(binding), binding); err != nil {
			return fmt.Errorf("reading RoleBinding %s/%s: %w", binding.Namespace, binding.Name, err)
		}
		binding.Subjects = subjects
		if err := i.client.Update(ctx, binding); err != nil {
			return fmt.Errorf("mending RoleBinding %s/%s: %w", binding.Namespace, binding.Name, err)
		}
	}
	return nil
}

// handle is the Secret that a host's tokens are bound to: they end with it.
func (i identities) handle(ctx context.Context, host *v1beta1.ElementalHost) (*corev1.Secret, error) {
	handle := &corev1.Secret{ObjectMeta: managed(host.Namespace, HostAccount(host.Name))}
	handle.OwnerReferences = []metav1.OwnerReference{ownerHost(host).reference()}
	key := client.ObjectKeyFromObject(handle)
	err := i.client.Create(ctx, handle)
	if !apierrors.IsAlreadyExists(err) {
		return handle, wrap(err, "creating Secret %s", key)
	}
	if err := i.live.Get(ctx, key, handle); err != nil {
		return nil, fmt.Errorf("reading Secret %s: %w", key, err)
	}
	if !ownedBy(handle, host.UID) {
		return nil, fmt.Errorf("using Secret %s for ElementalHost %s: it does not belong to it; remove it", key, host.Name)
	}
	return handle, nil
}

// replace ends whatever the one could do who was this host until now: a token that was made by hand is bound to no
// handle, and ends with the account alone.
func (i identities) replace(ctx context.Context, host *v1beta1.ElementalHost) error {
	if err := i.revoke(ctx, host); err != nil {
		return err
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: host.Namespace, Name: HostAccount(host.Name)}}
	return wrap(client.IgnoreNotFound(i.client.Delete(ctx, account)), "deleting ServiceAccount %s/%s of the one who was ElementalHost %s until now", account.Namespace, account.Name, host.Name)
}

// revoke ends all tokens of a host that are bound to its handle, within seconds.
func (i identities) revoke(ctx context.Context, host *v1beta1.ElementalHost) error {
	handle := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: host.Namespace, Name: HostAccount(host.Name)}}
	return wrap(client.IgnoreNotFound(i.client.Delete(ctx, handle)), "deleting Secret %s/%s, to which the tokens of ElementalHost %s are bound", handle.Namespace, handle.Name, host.Name)
}

func wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}

// ensureOwned reads an object into itself, or creates it as the host's own. An object of that name that
// belongs to someone else is an error.
func (i identities) ensureOwned(ctx context.Context, owner owner, object client.Object) error {
	key := client.ObjectKeyFromObject(object)
	wanted := object.DeepCopyObject().(client.Object)
	wanted.SetOwnerReferences([]metav1.OwnerReference{owner.reference()})
	err := i.client.Get(ctx, key, object)
	if apierrors.IsNotFound(err) {
		err = i.client.Create(ctx, wanted)
		if err == nil {
			return nil
		}
		if !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("creating %T %s: %w", object, key, err)
		}
		// The cache does not know yet what was just created, and never what bears no label of ours.
		err = i.live.Get(ctx, key, object)
	}
	if err != nil {
		return fmt.Errorf("reading %T %s: %w", object, key, err)
	}
	if !ownedBy(object, owner.uid) {
		return fmt.Errorf("using %T %s for %s %s: it does not belong to it; remove it, or give the %s another name",
			object, key, owner.kind, owner.name, owner.kind)
	}
	return nil
}

// owner is the object of ours that another exists for, and with which it goes.
type owner struct {
	kind, name string
	uid        types.UID
}

func ownerHost(host *v1beta1.ElementalHost) owner { return owner{"ElementalHost", host.Name, host.UID} }

func (o owner) reference() metav1.OwnerReference {
	return metav1.OwnerReference{APIVersion: v1beta1.GroupVersion.String(), Kind: o.kind, Name: o.name, UID: o.uid}
}

func ownedBy(object metav1.Object, uid types.UID) bool {
	return slices.ContainsFunc(object.GetOwnerReferences(), func(o metav1.OwnerReference) bool { return o.UID == uid })
}

// sightings are when this controller saw each Lease renewed. A host's clock may be wrong, so the time that it
// writes only tells one renewal from the next; it is believed once, by a controller that has just started.
type sightings struct {
	mu   sync.Mutex
	seen map[types.NamespacedName]sighting
}

type sighting struct {
	renewed time.Time // as the host wrote it
	at      time.Time // by the clock of the controller
}

func newSightings() *sightings { return &sightings{seen: map[types.NamespacedName]sighting{}} }

// note takes in a Lease as it is now, and returns when it was last renewed by the controller's own clock.
func (s *sightings) note(host types.NamespacedName, renewed, now time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, known := s.seen[host]
	switch {
	case renewed.IsZero():
		delete(s.seen, host)
		return time.Time{}
	case known && before.renewed.Equal(renewed):
		return before.at
	case known || renewed.After(now):
		s.seen[host] = sighting{renewed, now}
		return now
	default:
		s.seen[host] = sighting{renewed, renewed}
		return renewed
	}
}

// forget drops a host that is gone.
func (s *sightings) forget(host types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.seen, host)
}

// connected says whether a host's agent is alive, and when to ask again.
func connected(renewed time.Time, generation int64, now time.Time) (core.Condition, time.Duration) {
	c, again := core.SumConnected(renewed, now)
	c.Generation = generation
	return c, again
}
