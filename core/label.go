package core

import "fmt"

// What a person puts on a host to ask something of it, with kubectl or by the command line.
const (
	LabelInPlaceUpdate    = "elementalhost.infrastructure.cluster.x-k8s.io/in-place-update"
	AnnotationRetry       = "elementalhost.infrastructure.cluster.x-k8s.io/retry"
	AnnotationForceDelete = "elementalhost.infrastructure.cluster.x-k8s.io/force-delete"
)

// UpdateLabel is the value of the label by which a user arms a host for one in-place update.
type UpdateLabel string

// The values of the label. Admission lets no other in.
const (
	LabelUnset   UpdateLabel = ""
	LabelPending UpdateLabel = "pending" // the user armed the host
	LabelDone    UpdateLabel = "done"    // the update that it was armed for succeeded
	LabelFailed  UpdateLabel = "failed"  // the update failed, and nothing more happens until the label is pending again
)

// DrainMode says who drains a node before its host restarts.
type DrainMode string

// The modes of draining. A host that serves no machine has nothing to drain.
const (
	DrainNothing DrainMode = "Nothing"
	DrainManual  DrainMode = "Manual"
	DrainAuto    DrainMode = "Auto"
)

// Update is what the cluster knows of an in-place update of one host.
type Update struct {
	Label        UpdateLabel
	Bootstrapped bool
	Generation   int64     // of the host's spec
	Version      Condition // OSVersionReady; empty while the agent has not spoken
	Armed        bool      // the agent has taken up the arming: outcome and attempts speak of an armed host
	Outcome      Outcome
	Attempts     int  // stagings under the request as it was armed
	Again        bool // the agent has named the time of its next attempt
	Judged       bool // it was by this very outcome that an earlier arming ended
	Drain        DrainMode
}

// NextLabel is what the label should say now. Only pending ever changes by itself, and only on the word of
// an agent that answers for the current spec and has taken up the arming. A fresh pending is never judged by
// what happened before it, not even where the agent has not yet seen that the arming before it has ended.
func NextLabel(u Update) UpdateLabel {
	if u.Label != LabelPending || !u.Armed || u.Judged || !u.current() {
		return u.Label
	}
	switch u.Outcome {
	case OutcomeApplied:
		if u.Attempts > 0 {
			return LabelDone
		}
	case OutcomeRolledBack:
		return LabelFailed
	case OutcomeFailed:
		if u.Attempts > 0 && !u.Again {
			return LabelFailed
		}
	case OutcomeApplying, OutcomeStaged:
	}
	return u.Label
}

// SumDrained says whether the node of a host may be taken away from under its pods. It has something to say
// only while an in-place update is under way; the second result is false otherwise.
func SumDrained(u Update) (Condition, bool) {
	if !u.Bootstrapped || u.Label != LabelPending || !u.current() || !u.underWay() {
		return Condition{}, false
	}
	c := Condition{Type: NodeDrained, Status: True, Generation: u.Generation}
	switch u.Drain {
	case DrainAuto:
		c.Status, c.Reason = False, ReasonDrainFailed
		c.Message = "this controller cannot drain nodes yet: drain the node by hand, then set spec.inPlaceUpdate.drain of its ElementalMachine to Manual"
	case DrainManual:
		c.Reason, c.Message = ReasonDrainedByHand, "whoever armed the host has drained its node"
	case DrainNothing:
		c.Reason, c.Message = ReasonNothingToDrain, "the host serves no machine"
	default:
		c.Status, c.Reason = False, ReasonDrainFailed
		c.Message = fmt.Sprintf("there is no drain mode %q: set spec.inPlaceUpdate.drain of the ElementalMachine to Manual or Auto", u.Drain)
	}
	return c, true
}

// current says that the agent has answered for the spec as it is now.
func (u Update) current() bool {
	return u.Version.Type != "" && u.Version.Generation >= u.Generation
}

// underWay says that the agent works on a version, or will go on to.
func (u Update) underWay() bool {
	if u.Version.Status != False {
		return false
	}
	switch u.Version.Reason {
	case ReasonWaitingForOSReconcile, ReasonWaitingForDrain, ReasonWaitingForReboot, ReasonReconciliationFailed:
		return true
	}
	return false
}

// IsInstalled says whether a host counts as installed, from what it counted as before and what its agent
// says now. An agent that says nothing of it changes nothing.
func IsInstalled(before bool, conditions []Condition) bool {
	c, spoken := Find(conditions, InstallationReady)
	if !spoken {
		return before
	}
	return c.Status == True
}

// IsBootstrapped says whether a host counts as a node of a cluster. Nothing but a reset that was carried
// out ends that: a host that forgot it, or fell silent, is still a node.
func IsBootstrapped(before bool, conditions []Condition) bool {
	if c, spoken := Find(conditions, ResetReady); spoken && c.Status == True {
		return false
	}
	c, spoken := Find(conditions, BootstrapReady)
	return before || spoken && c.Status == True
}
