package kubernetes

import (
	"context"
	"encoding/base64"
	"fmt"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"elemental/adapters/kubernetes/api/v1beta1"
	"elemental/adapters/kubernetes/identity"
)

// The indexes by which hosts and machines find each other.
const (
	indexHostRef    = "spec.hostRef.name"
	indexMachineRef = "spec.machineRef.name"
	// By these, registrations and requests to join find hosts.
	indexPubKey       = "spec.pubKey"
	indexRegistration = "metadata.annotations.registration"
)

// addControllers makes a manager reconcile all of Elemental's resources.
func addControllers(ctx context.Context, m manager.Manager, server Server) error {
	if err := addIndexes(ctx, m); err != nil {
		return err
	}
	c := m.GetClient()
	find := finder{client: c}
	err := builder.ControllerManagedBy(m).Named("elementalhost").
		For(&v1beta1.ElementalHost{}).
		Owns(&coordinationv1.Lease{}, builder.MatchEveryOwner).
		Owns(&corev1.ServiceAccount{}, builder.MatchEveryOwner).
		Owns(&rbacv1.Role{}, builder.MatchEveryOwner).
		Owns(&rbacv1.RoleBinding{}, builder.MatchEveryOwner).
		Watches(&v1beta1.ElementalMachine{}, handler.EnqueueRequestsFromMapFunc(find.hostsOf)).
		Watches(&v1beta1.ElementalHost{}, tellOutcomes(m.GetEventRecorder(FieldManager))).
		WithOptions(workers()).
		Complete(newHosts(c, m.GetAPIReader(), m.GetEventRecorder(FieldManager)))
	if err != nil {
		return fmt.Errorf("adding the controller of ElementalHosts: %w", err)
	}
	err = builder.ControllerManagedBy(m).Named("elementalmachine").
		For(&v1beta1.ElementalMachine{}).
		Watches(&v1beta1.ElementalHost{}, handler.EnqueueRequestsFromMapFunc(find.machinesOf)).
		WithOptions(workers()).
		Complete(&machines{client: c, now: time.Now})
	if err != nil {
		return fmt.Errorf("adding the controller of ElementalMachines: %w", err)
	}
	return addJoining(m, server, find)
}

// addJoining makes a manager let hosts join.
func addJoining(m manager.Manager, server Server, find finder) error {
	c, live := m.GetClient(), m.GetAPIReader()
	err := builder.ControllerManagedBy(m).Named("elementalregistration").
		For(&v1beta1.ElementalRegistration{}).
		Owns(&corev1.ServiceAccount{}, builder.MatchEveryOwner).
		Owns(&rbacv1.Role{}, builder.MatchEveryOwner).
		Owns(&rbacv1.RoleBinding{}, builder.MatchEveryOwner).
		Watches(&v1beta1.ElementalHost{}, handler.EnqueueRequestsFromMapFunc(find.registrationOf)).
		WithOptions(workers()).
		Complete(&registrations{client: c, live: live, server: server, now: time.Now})
	if err != nil {
		return fmt.Errorf("adding the controller of ElementalRegistrations: %w", err)
	}
	err = builder.ControllerManagedBy(m).Named("elementalhostrequest").
		For(&v1beta1.ElementalHostRequest{}).
		Watches(&v1beta1.ElementalHost{}, handler.EnqueueRequestsFromMapFunc(find.requestOf)).
		Watches(&v1beta1.ElementalRegistration{}, handler.EnqueueRequestsFromMapFunc(find.requestsOf)).
		WithOptions(workers()).
		Complete(&applicants{
			client: c, live: live, identities: identities{client: c, live: live}, server: server,
			events: m.GetEventRecorder(FieldManager), now: time.Now, counting: &sync.Mutex{},
		})
	if err != nil {
		return fmt.Errorf("adding the controller of ElementalHostRequests: %w", err)
	}
	return nil
}

// registrationOf leads from a host to the registration that it came through.
func (f finder) registrationOf(_ context.Context, host client.Object) []reconcile.Request {
	return requests(host.GetNamespace(), registrationNameOf(host)...)
}

// requestOf leads from a host to the request that it got its identity by.
func (f finder) requestOf(_ context.Context, host client.Object) []reconcile.Request {
	public, err := base64.StdEncoding.DecodeString(host.(*v1beta1.ElementalHost).Spec.PubKey)
	if err != nil || len(public) == 0 {
		return nil
	}
	return requests(host.GetNamespace(), identity.Hash(public))
}

// requestsOf leads from a registration to the requests that came through it.
func (f finder) requestsOf(ctx context.Context, registration client.Object) []reconcile.Request {
	all := &v1beta1.ElementalHostRequestList{}
	_ = f.client.List(ctx, all, client.InNamespace(registration.GetNamespace()))
	var found []reconcile.Request
	for _, asked := range all.Items {
		if asked.Spec.Registration == registration.GetName() {
			found = append(found, requests(asked.Namespace, asked.Name)...)
		}
	}
	return found
}

func registrationNameOf(host client.Object) []string {
	if name := host.GetAnnotations()[v1beta1.AnnotationRegistrationName]; name != "" {
		return []string{name}
	}
	return nil
}

// workers are ten to a kind. An object that fails is tried again within seconds, however often it failed: what
// was changed while the API server was away must not wait for minutes.
func workers() controller.Options {
	return controller.Options{
		MaxConcurrentReconciles: 10,
		RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](20*time.Millisecond, 4*time.Second),
	}
}

func addIndexes(ctx context.Context, m manager.Manager) error {
	err := m.GetFieldIndexer().IndexField(ctx, &v1beta1.ElementalMachine{}, indexHostRef, func(o client.Object) []string {
		return referred(o.(*v1beta1.ElementalMachine).Spec.HostRef)
	})
	if err != nil {
		return fmt.Errorf("indexing ElementalMachines by their host: %w", err)
	}
	err = m.GetFieldIndexer().IndexField(ctx, &v1beta1.ElementalHost{}, indexMachineRef, func(o client.Object) []string {
		return referred(o.(*v1beta1.ElementalHost).Spec.MachineRef)
	})
	if err != nil {
		return fmt.Errorf("indexing ElementalHosts by their machine: %w", err)
	}
	err = m.GetFieldIndexer().IndexField(ctx, &v1beta1.ElementalHost{}, indexPubKey, func(o client.Object) []string {
		if key := o.(*v1beta1.ElementalHost).Spec.PubKey; key != "" {
			return []string{key}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("indexing ElementalHosts by their key: %w", err)
	}
	err = m.GetFieldIndexer().IndexField(ctx, &v1beta1.ElementalHost{}, indexRegistration, registrationNameOf)
	if err != nil {
		return fmt.Errorf("indexing ElementalHosts by their registration: %w", err)
	}
	return nil
}

func referred(ref *v1beta1.ObjectReference) []string {
	if ref == nil {
		return nil
	}
	return []string{ref.Name}
}

// finder leads from a machine to the hosts that its change concerns, and back.
type finder struct {
	client client.Client
}

func (f finder) hostsOf(ctx context.Context, machine client.Object) []reconcile.Request {
	all := &v1beta1.ElementalHostList{}
	// Reading one's own memory fails only when the process is about to end.
	_ = f.client.List(ctx, all, client.InNamespace(machine.GetNamespace()), client.MatchingFields{indexMachineRef: machine.GetName()})
	found := requests(machine.GetNamespace(), referred(machine.(*v1beta1.ElementalMachine).Spec.HostRef)...)
	for _, host := range all.Items {
		found = append(found, requests(host.Namespace, host.Name)...)
	}
	return found
}

func (f finder) machinesOf(ctx context.Context, host client.Object) []reconcile.Request {
	all := &v1beta1.ElementalMachineList{}
	_ = f.client.List(ctx, all, client.InNamespace(host.GetNamespace()), client.MatchingFields{indexHostRef: host.GetName()})
	found := requests(host.GetNamespace(), referred(host.(*v1beta1.ElementalHost).Spec.MachineRef)...)
	for _, machine := range all.Items {
		found = append(found, requests(machine.Namespace, machine.Name)...)
	}
	return found
}

func requests(namespace string, names ...string) []reconcile.Request {
	var all []reconcile.Request
	for _, name := range names {
		all = append(all, reconcile.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}})
	}
	return all
}
