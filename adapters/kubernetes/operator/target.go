package operator

import (
	"encoding/json"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"elemental/adapters/kubernetes/api/v1beta1"
	"elemental/core"
	"elemental/ports"
)

// object is an object of the cluster with its name and labels.
type object interface {
	metav1.Object
	runtime.Object
}

// list is a list of them.
type list interface {
	metav1.ListInterface
	runtime.Object
}

// kind is how the cluster knows a core.Kind.
type kind struct {
	name     string
	resource string
	object   func() object
	list     func() list
	items    func(list) []object
	target   func(o object) ports.Target
}

func kindOf(k core.Kind) kind {
	if k == core.KindMachine {
		return kind{
			name: "ElementalMachine", resource: "elementalmachines",
			object: func() object { return &v1beta1.ElementalMachine{} },
			list:   func() list { return &v1beta1.ElementalMachineList{} },
			items: func(l list) (all []object) {
				items := l.(*v1beta1.ElementalMachineList).Items
				for i := range items {
					all = append(all, &items[i])
				}
				return all
			},
			target: machineOf,
		}
	}
	return kind{
		name: "ElementalHost", resource: "elementalhosts",
		object: func() object { return &v1beta1.ElementalHost{} },
		list:   func() list { return &v1beta1.ElementalHostList{} },
		items: func(l list) (all []object) {
			items := l.(*v1beta1.ElementalHostList).Items
			for i := range items {
				all = append(all, &items[i])
			}
			return all
		},
		target: hostOf,
	}
}

// whole is a kind whose objects are kept as the API server sent them, with what is not known here, but without the
// bookkeeping of their fields' managers, as kubectl shows them.
func whole(k kind) kind {
	typed, target := k.object, k.target
	k.object = func() object { return &unstructured.Unstructured{} }
	k.list = func() list { return &unstructured.UnstructuredList{} }
	k.items = func(l list) (all []object) {
		items := l.(*unstructured.UnstructuredList).Items
		for i := range items {
			all = append(all, &items[i])
		}
		return all
	}
	k.target = func(o object) ports.Target {
		sent := o.(*unstructured.Unstructured)
		sent.SetManagedFields(nil)
		known := typed()
		text, err := json.Marshal(sent)
		if err == nil {
			err = json.Unmarshal(text, known)
		}
		if err != nil { // It is no object of this kind, and is shown all the same.
			known.SetNamespace(sent.GetNamespace())
			known.SetName(sent.GetName())
		}
		t := target(known)
		t.Object = text
		return t
	}
	return k
}

// hostOf says in our own words what a host's object shows.
func hostOf(o object) ports.Target {
	host := o.(*v1beta1.ElementalHost)
	t := targetOf(o, core.KindHost, host.Spec.OSVersionManagement, host.Status.OSVersion, host.Status.Conditions)
	t.Machine = host.Labels[v1beta1.LabelElementalMachineName]
	if ref := host.Spec.MachineRef; ref != nil {
		t.Machine = ref.Name
	}
	t.Bootstrapped = host.Labels[v1beta1.LabelBootstrapped] == v1beta1.LabelValueTrue
	t.Label, t.Phase = core.UpdateLabel(host.Labels[v1beta1.LabelInPlaceUpdate]), core.Phase(host.Status.Phase)
	t.Retry = core.Renewal(host.Annotations[v1beta1.AnnotationRetry])
	t.Retried = t.OSVersion.Retry
	if s := host.Status.System; s != nil {
		t.System = ports.Facts{
			BootID: s.BootID, MachineID: s.MachineID, OSImage: s.OSImage, KernelVersion: s.KernelVersion,
			Architecture: s.Architecture, AgentVersion: s.AgentVersion,
		}
		t.Plugin = s.Plugin
		if s.PluginSchema != "" {
			t.Schema = []byte(s.PluginSchema)
		}
	}
	return t
}

// machineOf says in our own words what a machine's object shows.
func machineOf(o object) ports.Target {
	machine := o.(*v1beta1.ElementalMachine)
	t := targetOf(o, core.KindMachine, machine.Spec.OSVersionManagement, machine.Status.OSVersion, machine.Status.Conditions)
	if ref := machine.Spec.HostRef; ref != nil {
		t.Host = ref.Name
	}
	return t
}

// targetOf is what hosts and machines have in common.
func targetOf(o object, kind core.Kind, asked *runtime.RawExtension, status *v1beta1.OSVersionStatus, conditions []metav1.Condition) ports.Target {
	t := ports.Target{
		Namespace: o.GetNamespace(), Name: o.GetName(), Created: o.GetCreationTimestamp().Time,
		Standing: core.Standing{Kind: kind, Gone: o.GetDeletionTimestamp() != nil, Generation: o.GetGeneration()},
	}
	if asked != nil {
		hash, err := core.HashRequest(asked.Raw)
		if err != nil {
			hash = "unreadable" // It differs from every hash, and the agent says why.
		}
		t.Asked, t.Requested = asked.Raw, hash
	}
	for _, c := range conditions {
		t.Conditions = append(t.Conditions, conditionOf(c))
	}
	if status != nil {
		t.OSVersion = osVersionOf(status)
		t.Outcome, t.Armed, t.Again = t.OSVersion.Outcome, t.OSVersion.Armed, !t.OSVersion.Next.IsZero()
	}
	return t
}

func conditionOf(c metav1.Condition) core.Condition {
	return core.Condition{
		Type: c.Type, Status: core.ConditionStatus(c.Status), Reason: c.Reason, Message: c.Message, Generation: c.ObservedGeneration,
	}
}

func osVersionOf(status *v1beta1.OSVersionStatus) ports.OSVersionStatus {
	s := ports.OSVersionStatus{
		Requested: status.Requested, Applied: status.Applied, Outcome: core.Outcome(status.Outcome),
		Booted: versionOf(status.Booted), Staged: versionOf(status.Staged), Previous: versionOf(status.Previous),
		Attempts: int(status.Attempts), Armed: status.Armed, Retry: status.Retry,
	}
	if at := status.LastAttemptTime; at != nil {
		s.Last = at.Time
	}
	if at := status.NextAttemptTime; at != nil {
		s.Next = at.Time
	}
	if f := status.Failure; f != nil {
		s.Failure = core.Failure{Class: core.FailureClass(f.Class), Reason: f.Reason, Message: f.Message, Path: f.Path}
	}
	if p := status.Progress; p != nil {
		s.Progress = ports.Progress{Step: p.Step, Percent: -1, Message: p.Message}
		if p.Percent != nil {
			s.Progress.Percent = int(*p.Percent)
		}
	}
	return s
}

func versionOf(v *v1beta1.Version) core.Version {
	if v == nil {
		return core.Version{}
	}
	return core.Version{Reference: v.Reference, Digest: v.Digest, Version: v.Version}
}
