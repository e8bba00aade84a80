package kubernetes

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"

	"elemental/adapters/kubernetes/api/v1beta1"
	"elemental/core"
)

// departure puts into the core's words what is known of a host that may be on its way out.
func (l *look) departure(stranded bool) core.Departure {
	host := l.host
	return core.Departure{
		Deleted:    !host.DeletionTimestamp.IsZero(),
		Asked:      marked(host, v1beta1.LabelNeedsReset),
		Forced:     host.Annotations[v1beta1.AnnotationForceDelete] == v1beta1.LabelValueTrue,
		Revoked:    revoked(host),
		Stranded:   stranded,
		Spoken:     l.seen || spoken(host),
		Generation: host.Generation,
		Phase:      core.Phase(host.Status.Phase),
		Conditions: fromConditions(host.Status.Conditions),
		Taken:      host.ResetTaken(),
		Alive:      l.alive,
	}
}

// spoken says whether the status of a host has anything that its agent said.
func spoken(host *v1beta1.ElementalHost) bool {
	return host.Status.Phase != "" || slices.ContainsFunc(host.Status.Conditions, func(c metav1.Condition) bool {
		return !slices.Contains(hostOwned, c.Type)
	})
}

// stranded says that what is missing of a host's identity can't be made anew, since its namespace is being deleted. It is
// known by the API server's refusal alone, so that the controller needs no right to read namespaces.
func stranded(err error) bool {
	return apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)
}

// letGo takes away what holds a host's object. What was made for the host goes with it, as its owner references say.
func (r *hosts) letGo(ctx context.Context, l *look) error {
	host := l.host
	if !held(host) {
		return nil // Someone else holds it.
	}
	w := unchanged(host)
	w.finalizers = slices.DeleteFunc(w.finalizers, func(f string) bool { return f == v1beta1.Finalizer })
	if err := r.fulfil(ctx, host, w); err != nil {
		return err
	}
	// In a namespace that is being deleted no event can be made any more: the log says it, too.
	ctrl.LoggerFrom(ctx).Info("the host is let go", "because", l.release.Message)
	kind := corev1.EventTypeNormal
	if l.release.Reason != core.ReasonReset && l.release.Reason != core.ReasonUnused {
		kind = corev1.EventTypeWarning
	}
	r.events.Eventf(host, nil, kind, l.release.Reason, "Delete", "%s", l.release.Message)
	return nil
}
