package operator

import (
	"elemental/adapters/kubernetes/api/v1beta1"
	"elemental/core"
	"elemental/ports"
)

// hostOf says in our own words what a host's object shows.
func hostOf(object *v1beta1.ElementalHost) ports.Host {
	host := ports.Host{
		Namespace: object.Namespace, Name: object.Name, Created: object.CreationTimestamp.Time,
		Machine:      object.Labels[v1beta1.LabelElementalMachineName],
		Bootstrapped: object.Labels[v1beta1.LabelBootstrapped] == v1beta1.LabelValueTrue,
		Standing: core.Standing{
			Gone: !object.DeletionTimestamp.IsZero(), Generation: object.Generation,
			Label: core.UpdateLabel(object.Labels[v1beta1.LabelInPlaceUpdate]), Phase: core.Phase(object.Status.Phase),
		},
	}
	if ref := object.Spec.MachineRef; ref != nil {
		host.Machine = ref.Name
	}
	if asked := object.Spec.OSVersionManagement; asked != nil {
		hash, err := core.HashRequest(asked.Raw)
		if err != nil {
			hash = "unreadable" // It differs from every hash, and the agent says why.
		}
		host.Requested = hash
	}
	for _, c := range object.Status.Conditions {
		host.Conditions = append(host.Conditions, core.Condition{
			Type: c.Type, Status: core.ConditionStatus(c.Status), Reason: c.Reason, Message: c.Message, Generation: c.ObservedGeneration,
		})
	}
	if status := object.Status.OSVersion; status != nil {
		host.Outcome, host.Armed, host.Again = core.Outcome(status.Outcome), status.Armed, status.NextAttemptTime != nil
		if v := status.Booted; v != nil {
			host.Booted = core.Version{Reference: v.Reference, Digest: v.Digest, Version: v.Version}
		}
		if p := status.Progress; p != nil {
			host.Progress = ports.Progress{Step: p.Step, Percent: -1, Message: p.Message}
			if p.Percent != nil {
				host.Progress.Percent = int(*p.Percent)
			}
		}
	}
	return host
}
