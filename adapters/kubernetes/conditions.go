package kubernetes

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"elemental/core"
)

// fromConditions puts an object's conditions into the core's words.
func fromConditions(conditions []metav1.Condition) []core.Condition {
	all := make([]core.Condition, 0, len(conditions))
	for _, c := range conditions {
		all = append(all, core.Condition{
			Type: c.Type, Status: core.ConditionStatus(c.Status),
			Reason: c.Reason, Message: c.Message, Generation: c.ObservedGeneration,
		})
	}
	return all
}

// toConditions is what the object should say. A condition keeps the time at which its status last changed.
func toConditions(before []metav1.Condition, wanted []core.Condition, now time.Time) []metav1.Condition {
	all := make([]metav1.Condition, 0, len(wanted))
	for _, c := range wanted {
		next := metav1.Condition{
			Type: c.Type, Status: metav1.ConditionStatus(c.Status),
			Reason: c.Reason, Message: c.Message, ObservedGeneration: c.Generation,
			LastTransitionTime: metav1.NewTime(now),
		}
		if old := meta.FindStatusCondition(before, c.Type); old != nil && old.Status == next.Status {
			next.LastTransitionTime = old.LastTransitionTime
		}
		all = append(all, next)
	}
	return all
}

// says tells whether the object says already what is wanted: each condition of the owned types as it is in
// wanted, and none that is not there.
func says(existing []metav1.Condition, wanted []core.Condition, owned ...string) bool {
	for _, kind := range owned {
		want, wish := core.Find(wanted, kind)
		have, is := core.Find(fromConditions(existing), kind)
		if wish != is || have != want {
			return false
		}
	}
	return true
}

// except leaves out the conditions of some types.
func except(conditions []core.Condition, kinds ...string) []core.Condition {
	return slices.DeleteFunc(slices.Clone(conditions), func(c core.Condition) bool {
		return slices.Contains(kinds, c.Type)
	})
}
