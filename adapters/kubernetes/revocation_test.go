package kubernetes

import (
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemental/adapters/kubernetes/api/v1beta1"
	"elemental/adapters/kubernetes/identity"
	"elemental/core"
)

// approve approves a request as kubectl does, with a time that says nothing.
func (w *world) approve(asked *v1beta1.ElementalHostRequest) {
	w.t.Helper()
	_, err := w.kubectl("patch", "elementalhostrequest", asked.Name, "--subresource=status", "--type=merge", "-p",
		`{"status":{"conditions":[{"type":"Approved","status":"True","reason":"Trusted","message":"by hand","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}`)
	w.NoErr(err)
}

// stands waits until the answer to a request has this reason.
func (w *world) stands(asked *v1beta1.ElementalHostRequest, status metav1.ConditionStatus, reason string) {
	w.t.Helper()
	w.eventually(func() error {
		if err := w.admin.Get(w.t.Context(), client.ObjectKeyFromObject(asked), asked); err != nil {
			return err
		}
		answer := meta.FindStatusCondition(asked.Status.Conditions, v1beta1.ConditionAdmitted)
		if answer == nil || answer.Status != status || answer.Reason != reason {
			return fmt.Errorf("the answer is %+v", asked.Status)
		}
		return nil
	})
}

// TestAnApprovalFromBeforeTheRevocationCountsNoMore marks a host by hand, while the request by which it came in, and the
// approval of that, still stand.
func TestAnApprovalFromBeforeTheRevocationCountsNoMore(t *testing.T) {
	w := newWorld(t)
	w.let()
	w.controller()
	bundle := w.open("field", v1beta1.ElementalRegistrationSpec{Approval: string(core.ApprovalManual)})
	key, err := identity.NewKey()
	w.NoErr(err)
	asked, err := w.ask(w.as(string(bundle.Data[BundleToken])), key, v1beta1.ElementalHostRequestSpec{Registration: "field", Hostname: "edge-1"})
	w.NoErr(err)
	w.stands(asked, metav1.ConditionFalse, core.ReasonWaitingForApproval)
	w.approve(asked)
	w.stands(asked, metav1.ConditionTrue, core.ReasonApproved)
	for range 2 { // What the first round leaves behind must not let the host in by the second.
		_, err = w.kubectl("annotate", "elementalhost", "edge-1", v1beta1.AnnotationRevoked+"=")
		w.NoErr(err)
		w.stands(asked, metav1.ConditionFalse, core.ReasonRevoked)
		w.True(meta.FindStatusCondition(asked.Status.Conditions, v1beta1.ConditionApproved) == nil)
		w.True(asked.Status.Credentials == nil)
		w.True(revoked(w.host("edge-1")))

		w.approve(asked)
		w.stands(asked, metav1.ConditionTrue, core.ReasonKnown)
		w.True(asked.Status.Credentials != nil)
		w.True(!revoked(w.host("edge-1")))
		w.True(meta.FindStatusCondition(asked.Status.Conditions, v1beta1.ConditionApproved) != nil)
	}
	events, err := w.kubectl("get", "events", "-o", "jsonpath={.items[*].message}")
	w.NoErr(err)
	w.True(len(events) > 0)
}
