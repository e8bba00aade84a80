package kubernetes

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemental/adapters/kubernetes/api/v1beta1"
	"elemental/core"
)

// +kubebuilder:rbac:groups=infrastructure.cluster.x-k8s.io,resources=elementalmachines/status,verbs=patch

// machines reconciles ElementalMachines: each shows what became of its wishes on the host that serves it.
type machines struct {
	client client.Client
	now    func() time.Time
}

var machineOwned = []string{core.Ready, core.HostReady}

// Reconcile shows on a machine how its host is.
func (r *machines) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	machine := &v1beta1.ElementalMachine{}
	if err := r.client.Get(ctx, request.NamespacedName, machine); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !machine.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	host, err := r.hostOf(ctx, machine)
	if err != nil {
		return ctrl.Result{}, err
	}
	ready := hostReady(machine, host)
	var version *v1beta1.OSVersionStatus
	if host != nil {
		version = host.Status.OSVersion
	}
	wanted := []core.Condition{ready, ready}
	wanted[1].Type = core.Ready
	if says(machine.Status.Conditions, wanted, machineOwned...) &&
		machine.Status.ObservedGeneration == machine.Generation &&
		equality.Semantic.DeepEqual(machine.Status.OSVersion, version) {
		return ctrl.Result{}, nil
	}
	status := map[string]any{
		"observedGeneration": machine.Generation,
		"conditions":         toConditions(machine.Status.Conditions, wanted, r.now()),
	}
	if version != nil {
		status["osVersion"] = version
	}
	return ctrl.Result{}, unlessStale(applyStatus(ctx, r.client, machine, status))
}

// hostOf finds the host that serves a machine; nil when there is none.
func (r *machines) hostOf(ctx context.Context, machine *v1beta1.ElementalMachine) (*v1beta1.ElementalHost, error) {
	if ref := machine.Spec.HostRef; ref != nil {
		host := &v1beta1.ElementalHost{}
		err := r.client.Get(ctx, types.NamespacedName{Namespace: machine.Namespace, Name: ref.Name}, host)
		if apierrors.IsNotFound(err) || err == nil && !names(ref, host) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading ElementalHost %s/%s of ElementalMachine %s: %w", machine.Namespace, ref.Name, machine.Name, err)
		}
		return host, nil
	}
	all := &v1beta1.ElementalHostList{}
	if err := r.client.List(ctx, all, client.InNamespace(machine.Namespace), client.MatchingFields{indexMachineRef: machine.Name}); err != nil {
		return nil, fmt.Errorf("finding the ElementalHost of ElementalMachine %s/%s: %w", machine.Namespace, machine.Name, err)
	}
	for i := range all.Items {
		if names(all.Items[i].Spec.MachineRef, machine) {
			return &all.Items[i], nil
		}
	}
	return nil, nil
}

// hostReady puts a machine and its host (nil: there is none) into the core's words, and lets it say how they stand.
func hostReady(machine *v1beta1.ElementalMachine, host *v1beta1.ElementalHost) core.Condition {
	s := core.Service{Generation: machine.Generation, Spoken: lastSpokenOf(machine)}
	if machine.Spec.HostRef != nil {
		s.Named = machine.Spec.HostRef.Name
	}
	if host == nil {
		return core.SumHostReady(s)
	}
	uid, generation, known := forwarded(host)
	s.Host, s.HostGeneration = host.Name, host.Generation
	s.ServesElse, s.Other = known && uid != machine.UID, host.Labels[v1beta1.LabelElementalMachineName]
	s.Forwarded = known && generation == machine.Generation && sameVersion(host.Spec.OSVersionManagement, machine.Spec.OSVersionManagement)
	s.Joining = host.Spec.BootstrapSecret != nil && !marked(host, v1beta1.LabelBootstrapped)
	s.Ready, _ = core.Find(fromConditions(host.Status.Conditions), core.Ready)
	return core.SumHostReady(s)
}

// lastSpokenOf is the generation of a machine that its Ready speaks of, before the one that it has now.
func lastSpokenOf(machine *v1beta1.ElementalMachine) int64 {
	if c := meta.FindStatusCondition(machine.Status.Conditions, core.Ready); c != nil {
		return min(c.ObservedGeneration, machine.Generation-1)
	}
	return 0
}

// forwarded says whose wishes a host's spec holds, and of which generation.
func forwarded(host *v1beta1.ElementalHost) (machine types.UID, generation int64, ok bool) {
	uid, number, found := strings.Cut(host.Annotations[v1beta1.AnnotationForwardedFrom], "/")
	generation, err := strconv.ParseInt(number, 10, 64)
	return types.UID(uid), generation, found && err == nil
}
