package kubernetes

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemental/adapters/kubernetes/api/v1beta1"
	"elemental/core"
)

func rulingOf(asked *v1beta1.ElementalHostRequest) core.Ruling {
	switch c := meta.FindStatusCondition(asked.Status.Conditions, v1beta1.ConditionApproved); {
	case c == nil:
		return core.RulingNone
	case c.Status == metav1.ConditionTrue:
		return core.RulingApproved
	default:
		return core.RulingDenied
	}
}

func revoked(host *v1beta1.ElementalHost) bool {
	_, annotated := host.Annotations[v1beta1.AnnotationRevoked]
	return annotated
}

// told says whether a request was answered since its host was revoked: that answer alone names a host and gives nothing.
// It is no condition by which this is known, since who approves by hand may replace them all.
func told(asked *v1beta1.ElementalHostRequest, known *v1beta1.ElementalHost) bool {
	return known != nil && asked.Status.HostName == known.Name && asked.Status.Credentials == nil
}

// withdraw answers a request and takes back its approval, in one write: an approval that stands afterwards was given
// afterwards. An approval that was given since the request was read makes the write a conflict.
func (r *applicants) withdraw(ctx context.Context, asked *v1beta1.ElementalHostRequest, answer core.Admission) error {
	words := ""
	if ruled := meta.FindStatusCondition(asked.Status.Conditions, v1beta1.ConditionApproved); ruled != nil {
		words = ruled.Message
	}
	admitted := core.Condition{Type: v1beta1.ConditionAdmitted, Status: core.False, Reason: answer.Reason, Message: answer.Message, Generation: asked.Generation}
	after := asked.DeepCopy()
	after.Status.Conditions = append(
		slices.DeleteFunc(after.Status.Conditions, func(c metav1.Condition) bool {
			return c.Type == v1beta1.ConditionApproved || c.Type == v1beta1.ConditionAdmitted
		}),
		toConditions(asked.Status.Conditions, []core.Condition{admitted}, r.now())...)
	after.Status.Replaces, after.Status.HostName, after.Status.Credentials = "", answer.Host, nil
	patch := client.MergeFromWithOptions(asked, client.MergeFromWithOptimisticLock{})
	if err := r.client.Status().Patch(ctx, after, patch, client.FieldOwner(FieldManager)); err != nil {
		return fmt.Errorf("taking back the approval of ElementalHostRequest %s/%s: %w", asked.Namespace, asked.Name, err)
	}
	r.tell(asked, answer)
	r.events.Eventf(asked, nil, corev1.EventTypeNormal, "ApprovalWithdrawn", "Join", "it was from before the revocation of its host: %s", words)
	return nil
}
