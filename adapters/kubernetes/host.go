package kubernetes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemental/adapters/kubernetes/api/v1beta1"
	"elemental/core"
)

// FieldManager is the name under which the controller writes.
const FieldManager = "elemental-controller"

// +kubebuilder:rbac:groups=infrastructure.cluster.x-k8s.io,resources=elementalhosts,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=infrastructure.cluster.x-k8s.io,resources=elementalhosts/status,verbs=patch
// +kubebuilder:rbac:groups=infrastructure.cluster.x-k8s.io,resources=elementalmachines,verbs=get;list;watch
// +kubebuilder:rbac:groups=coordination.k8s.io,resources=leases,verbs=get;list;watch;create;update;patch
// +kubebuilder:rbac:groups="",resources=serviceaccounts,verbs=get;list;watch;create
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=roles;rolebindings,verbs=get;list;watch;create;update
// +kubebuilder:rbac:groups="";events.k8s.io,resources=events,verbs=create;patch;update

// hosts reconciles ElementalHosts.
type hosts struct {
	client     client.Client
	identities identities
	sightings  *sightings
	now        func() time.Time
}

// Reconcile makes a host's identity, forwards what its machine asks for, and sums up what its agent says.
func (r *hosts) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	host := &v1beta1.ElementalHost{}
	if err := r.client.Get(ctx, request.NamespacedName, host); err != nil {
		if apierrors.IsNotFound(err) {
			r.sightings.forget(request.NamespacedName)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !host.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	machine, err := r.machineOf(ctx, host)
	if err != nil {
		return ctrl.Result{}, err
	}
	if !paused(host) {
		if err := r.fulfil(ctx, host, wishFor(host, machine)); err != nil {
			return ctrl.Result{}, unlessStale(err)
		}
	}
	renewed, identityErr := r.identities.ensure(ctx, host)
	if revoked(host) {
		identityErr = errors.Join(identityErr, r.identities.revoke(ctx, host))
	}
	now := r.now()
	alive, again := connected(r.sightings.note(request.NamespacedName, renewed, now), host.Generation, now)
	wanted := hostConditions(host, machine, alive)
	if err := r.report(ctx, host, wanted); err != nil {
		return ctrl.Result{}, unlessStale(err)
	}
	return ctrl.Result{RequeueAfter: again}, unlessStale(identityErr)
}

// The conditions of a host that the controller owns.
var hostOwned = []string{core.Ready, core.AgentConnected, core.NodeDrained, core.Paused}

// paused is Cluster API's word for an object that is to be left alone.
func paused(host *v1beta1.ElementalHost) bool {
	_, annotated := host.Annotations[v1beta1.AnnotationPaused]
	return annotated
}

// hostConditions is what the controller has to say of a host.
func hostConditions(host *v1beta1.ElementalHost, machine *v1beta1.ElementalMachine, alive core.Condition) []core.Condition {
	wanted := []core.Condition{alive, core.SumPaused(paused(host), host.Generation)}
	if drained, present := core.SumDrained(updateOf(host, machine)); present {
		wanted = append(wanted, drained)
	}
	all := append(except(fromConditions(host.Status.Conditions), hostOwned...), wanted...)
	return append(wanted, core.SumReady(host.Generation, all))
}

// machineOf finds the machine that a host serves; nil when it serves none. Where two machines claim one
// host, the one that it serves already keeps it, or else the oldest gets it.
func (r *hosts) machineOf(ctx context.Context, host *v1beta1.ElementalHost) (*v1beta1.ElementalMachine, error) {
	if ref := host.Spec.MachineRef; ref != nil {
		machine := &v1beta1.ElementalMachine{}
		err := r.client.Get(ctx, types.NamespacedName{Namespace: host.Namespace, Name: ref.Name}, machine)
		if apierrors.IsNotFound(err) || err == nil && !names(ref, machine) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading ElementalMachine %s/%s, which ElementalHost %s serves: %w", host.Namespace, ref.Name, host.Name, err)
		}
		return machine, nil
	}
	claims := &v1beta1.ElementalMachineList{}
	if err := r.client.List(ctx, claims, client.InNamespace(host.Namespace), client.MatchingFields{indexHostRef: host.Name}); err != nil {
		return nil, fmt.Errorf("finding the ElementalMachine of ElementalHost %s/%s: %w", host.Namespace, host.Name, err)
	}
	return chooseClaim(host, claims.Items), nil
}

func chooseClaim(host *v1beta1.ElementalHost, claims []v1beta1.ElementalMachine) *v1beta1.ElementalMachine {
	claims = slices.DeleteFunc(claims, func(m v1beta1.ElementalMachine) bool { return !names(m.Spec.HostRef, host) })
	if len(claims) == 0 {
		return nil
	}
	first := slices.MinFunc(claims, func(a, b v1beta1.ElementalMachine) int {
		return cmp.Or(
			cmp.Compare(stranger(host, &a), stranger(host, &b)),
			a.CreationTimestamp.Compare(b.CreationTimestamp.Time),
			cmp.Compare(a.Name, b.Name),
		)
	})
	return &first
}

// stranger is 0 for the machine that a host serves already, and 1 for any other.
func stranger(host *v1beta1.ElementalHost, machine *v1beta1.ElementalMachine) int {
	if uid, _, _ := forwarded(host); uid != "" && uid == machine.UID {
		return 0
	}
	return 1
}

// fulfil writes the wish to the host, and takes over into host what the API server made of it.
func (r *hosts) fulfil(ctx context.Context, host *v1beta1.ElementalHost, w wish) error {
	patch, err := w.patch(host)
	if err != nil || patch == nil {
		return err
	}
	if err := r.client.Patch(ctx, host, client.RawPatch(types.JSONPatchType, patch), client.FieldOwner(FieldManager)); err != nil {
		return fmt.Errorf("patching ElementalHost %s/%s: %w", host.Namespace, host.Name, err)
	}
	return nil
}

// report writes the controller's conditions of a host, if they differ from those that it has.
func (r *hosts) report(ctx context.Context, host *v1beta1.ElementalHost, wanted []core.Condition) error {
	if says(host.Status.Conditions, wanted, hostOwned...) {
		return nil
	}
	return applyStatus(ctx, r.client, host, map[string]any{
		"conditions": toConditions(host.Status.Conditions, wanted, r.now()),
	})
}

// unlessStale hides an error that only says that what was read is old, or gone, or that the process ends: what
// changed meanwhile has woken the reconciler again, or is about to.
func unlessStale(err error) error {
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
