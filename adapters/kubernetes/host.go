package kubernetes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
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
	bootstraps bootstraps
	sightings  *sightings
	events     events.EventRecorder
	now        func() time.Time
}

func newHosts(c client.Client, live client.Reader, recorder events.EventRecorder) *hosts {
	return &hosts{
		client: c, identities: identities{client: c, live: live}, bootstraps: bootstraps{client: c, live: live},
		sightings: newSightings(), events: recorder, now: time.Now,
	}
}

// look is one look at a host, and what follows from it.
type look struct {
	host    *v1beta1.ElementalHost
	machine *v1beta1.ElementalMachine // that the host serves; nil: none
	seen    bool                      // its agent has renewed its Lease, at some time
	alive   core.Condition
	release core.Release
	again   time.Duration // when to look again if nothing happens; 0: when something does
}

// Reconcile makes a host's identity, forwards what its machine asks for, lets bootstrap data wait for it, sums up what
// its agent says, and holds it until it was reset once it is deleted.
func (r *hosts) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	host := &v1beta1.ElementalHost{}
	if err := r.client.Get(ctx, request.NamespacedName, host); err != nil {
		if apierrors.IsNotFound(err) {
			r.sightings.forget(request.NamespacedName)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	l, err := r.look(ctx, host)
	if err != nil {
		return ctrl.Result{}, err
	}
	if l.release.Parting == core.PartingGoes {
		return ctrl.Result{}, unlessStale(r.letGo(ctx, l))
	}
	kept := r.keep(ctx, l)
	if stranded(kept) {
		if l.release = core.Part(l.departure(true)); l.release.Parting == core.PartingGoes {
			return ctrl.Result{}, unlessStale(r.letGo(ctx, l))
		}
	}
	if apierrors.IsConflict(kept) { // What changed meanwhile is looked at next.
		return ctrl.Result{}, nil
	}
	if err := r.report(ctx, l); err != nil {
		return ctrl.Result{}, unlessStale(err)
	}
	return ctrl.Result{RequeueAfter: l.again}, unlessStale(kept)
}

// look reads what there is to know of a host.
func (r *hosts) look(ctx context.Context, host *v1beta1.ElementalHost) (*look, error) {
	machine, err := r.machineOf(ctx, host)
	if err != nil {
		return nil, err
	}
	renewed, err := r.identities.renewed(ctx, host)
	if err != nil {
		return nil, err
	}
	now := r.now()
	l := &look{host: host, machine: machine, seen: !renewed.IsZero()}
	l.alive, l.again = connected(r.sightings.note(client.ObjectKeyFromObject(host), renewed, now), host.Generation, now)
	l.release = core.Part(l.departure(false))
	return l, nil
}

// keep writes what a host should be, and keeps what was made for it. Of a host that is paused nothing else is changed.
// What is wrong with its identity comes first in the error.
func (r *hosts) keep(ctx context.Context, l *look) error {
	host := l.host
	if host.IsPaused() {
		return r.keepIdentity(ctx, host, host.BootstrapWaits())
	}
	data, err := r.bootstraps.find(ctx, l)
	if err != nil {
		return err
	}
	w := wishFor(host, l.machine, l.release.Parting)
	w.note(data)
	if err := r.fulfil(ctx, host, w); err != nil {
		return err
	}
	left := r.clear(ctx, host, data)
	if l.release.Parting == core.PartingFresh {
		r.events.Eventf(host, nil, corev1.EventTypeNormal, l.release.Reason, "Reset", "%s", l.release.Message)
		return left // What was written wakes the reconciler.
	}
	waits, missing := r.bootstraps.copy(ctx, host, data)
	switch {
	case errors.Is(missing, errNoSource):
		r.events.Eventf(host, nil, corev1.EventTypeWarning, "BootstrapDataRefused", "Bootstrap", "%s", clipped(missing.Error()))
		missing = nil // It is for people to mend, and the source is looked at again.
	case missing != nil && !apierrors.IsConflict(missing):
		r.events.Eventf(host, nil, corev1.EventTypeWarning, "BootstrapDataMissing", "Bootstrap", "%s", clipped(missing.Error()))
	}
	kept := r.keepIdentity(ctx, host, waits)
	if kept == nil {
		offer := unchanged(host)
		offer.offer(host, data, waits)
		kept = r.fulfil(ctx, host, offer)
	}
	if kept == nil && !waits { // The host knows by now.
		left = errors.Join(left, r.bootstraps.withdraw(ctx, host))
	}
	if data.expected {
		l.again = soonest(l.again, sourceLook)
	}
	return errors.Join(kept, left, missing)
}

// clear takes back bootstrap data that is not to wait any more, which the host is no longer told of, and then the note
// of it: a copy that nothing tells of would stay for ever.
func (r *hosts) clear(ctx context.Context, host *v1beta1.ElementalHost, data supply) error {
	if data.secret != "" {
		return nil
	}
	if err := r.bootstraps.withdraw(ctx, host); err != nil {
		return err
	}
	w := unchanged(host)
	delete(w.annotations, v1beta1.AnnotationBootstrapFrom)
	return r.fulfil(ctx, host, w)
}

// keepIdentity keeps what lets the host be someone. One that the controller does not hold gets nothing of the kind: it
// could go, and leave it behind.
func (r *hosts) keepIdentity(ctx context.Context, host *v1beta1.ElementalHost, waits bool) error {
	if !held(host) {
		return nil
	}
	err := r.identities.ensure(ctx, host, waits)
	if revoked(host) {
		err = errors.Join(err, r.identities.revoke(ctx, host))
	}
	return err
}

// soonest is the shorter of two times to wait, of which 0 is for ever.
func soonest(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// The conditions of a host that the controller owns.
var hostOwned = []string{core.Ready, core.AgentConnected, core.NodeDrained, core.Paused}

// hostConditions is what the controller has to say of a host.
func hostConditions(l *look) []core.Condition {
	host, alive := l.host, l.alive
	alive.Generation = host.Generation
	wanted := []core.Condition{alive, core.SumPaused(host.IsPaused(), host.Generation)}
	if drained, present := core.SumDrained(updateOf(host, l.machine)); present {
		wanted = append(wanted, drained)
	}
	all := append(except(fromConditions(host.Status.Conditions), hostOwned...), wanted...)
	return append(wanted, core.SumParting(core.SumReady(host.Generation, all), l.release, host.Generation))
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
	claims = slices.DeleteFunc(claims, func(m v1beta1.ElementalMachine) bool {
		going := !m.DeletionTimestamp.IsZero() && stranger(host, &m) > 0 // It takes no host any more.
		return going || !names(m.Spec.HostRef, host)
	})
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
func (r *hosts) report(ctx context.Context, l *look) error {
	host, wanted := l.host, hostConditions(l)
	if says(host.Status.Conditions, wanted, hostOwned...) {
		return nil
	}
	before, _ := core.Find(fromConditions(host.Status.Conditions), core.Ready)
	err := applyStatus(ctx, r.client, host, map[string]any{
		"conditions": toConditions(host.Status.Conditions, wanted, r.now()),
	})
	if err == nil && l.release.Parting == core.PartingWaits && before.Message != l.release.Message {
		r.events.Eventf(host, nil, corev1.EventTypeNormal, l.release.Reason, "Reset", "%s", clipped(l.release.Message))
	}
	return err
}

// unlessStale hides an error that only says that what was read is old, or gone, or that the process ends: what
// changed meanwhile has woken the reconciler again, or is about to.
func unlessStale(err error) error {
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
