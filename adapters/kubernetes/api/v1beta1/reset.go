package v1beta1

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"elemental/core"
)

// ResetReport tells one report that a host was reset as it was told from all others of that host. It is empty where the
// host does not say so now. One that was reset in a former life says so, too, and is in another phase.
func (h *ElementalHost) ResetReport() string {
	c := meta.FindStatusCondition(h.Status.Conditions, core.ResetReady)
	if c == nil || c.Status != metav1.ConditionTrue || h.Status.Phase != string(core.PhaseResetting) {
		return ""
	}
	return c.LastTransitionTime.UTC().Format(time.RFC3339)
}

// ResetTaken says whether the report that stands was taken for an answer already.
func (h *ElementalHost) ResetTaken() bool {
	report := h.ResetReport()
	return report != "" && report == h.Annotations[AnnotationResetTaken]
}

// ResetAsked says whether the host is to be reset. A label that was set anew while its last report still stands asks
// only once the host has told of something else: neither side takes the old answer for the new one.
func (h *ElementalHost) ResetAsked() bool {
	return !h.DeletionTimestamp.IsZero() || h.Labels[LabelNeedsReset] == LabelValueTrue && !h.ResetTaken()
}

// BootstrapSecretName names the Secret by which bootstrap data reaches a host.
func BootstrapSecretName(host string) string { return "elemental-bootstrap-" + host }

// BootstrapWaits says whether bootstrap data waits for the host, where it reads it. Another Secret that its spec names is
// only where the controller is to take it from.
func (h *ElementalHost) BootstrapWaits() bool {
	return h.Spec.BootstrapSecret != nil && h.Spec.BootstrapSecret.Name == BootstrapSecretName(h.Name)
}
