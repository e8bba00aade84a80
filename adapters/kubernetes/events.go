package kubernetes

import (
	"context"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"elemental/adapters/kubernetes/api/v1beta1"
	"elemental/core"
)

// The API server takes no note that is longer, in bytes.
const longestNote = 1024

// tellOutcomes makes an event of each outcome that a host comes to. It wakes no reconciler.
func tellOutcomes(recorder events.EventRecorder) handler.EventHandler {
	return handler.Funcs{
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, _ workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			before, after := e.ObjectOld.(*v1beta1.ElementalHost), e.ObjectNew.(*v1beta1.ElementalHost)
			if kind, reason, note := outcomeEvent(before, after); reason != "" {
				recorder.Eventf(after, nil, kind, reason, "ReconcileOSVersion", "%s", note)
			}
		},
	}
}

// outcomeEvent is what there is to tell of a change of a host; the reason is empty when there is nothing.
func outcomeEvent(before, after *v1beta1.ElementalHost) (kind, reason, note string) {
	was, is := before.Status.OSVersion, after.Status.OSVersion
	if is == nil || was != nil && was.Outcome == is.Outcome && was.Requested == is.Requested {
		return "", "", ""
	}
	switch core.Outcome(is.Outcome) {
	case core.OutcomeApplied:
		if is.Requested == "" {
			return "", "", ""
		}
		kind = corev1.EventTypeNormal
	case core.OutcomeFailed, core.OutcomeRolledBack:
		kind = corev1.EventTypeWarning
	case core.OutcomeApplying, core.OutcomeStaged:
		return "", "", ""
	default:
		return "", "", ""
	}
	note = "the outcome of the OS version that was asked for is " + is.Outcome
	if c := meta.FindStatusCondition(after.Status.Conditions, core.OSVersionReady); c != nil && c.Message != "" {
		note = c.Message
	}
	return kind, is.Outcome, clipped(note)
}

// clipped is as much of a note as the API server takes.
func clipped(note string) string {
	return strings.ToValidUTF8(note[:min(len(note), longestNote)], "")
}
