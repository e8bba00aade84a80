package core

import (
	"slices"
	"time"
)

// ConditionStatus is true, false or unknown, in the words of Kubernetes.
type ConditionStatus string

// The three values of a condition.
const (
	True    ConditionStatus = "True"
	False   ConditionStatus = "False"
	Unknown ConditionStatus = "Unknown"
)

// Condition is one statement about a host, and the generation of the host's spec that it speaks of.
type Condition struct {
	Type       string
	Status     ConditionStatus
	Reason     string
	Message    string
	Generation int64
}

// The condition types of a host. The agent owns the first five; the controller owns the rest.
const (
	RegistrationReady = "RegistrationReady"
	InstallationReady = "InstallationReady"
	BootstrapReady    = "BootstrapReady"
	ResetReady        = "ResetReady"
	OSVersionReady    = "OSVersionReady"

	NodeDrained    = "NodeDrained"
	AgentConnected = "AgentConnected"
	Paused         = "Paused"
	Ready          = "Ready"
)

// The reasons of a host's conditions.
const (
	ReasonRegistered         = "Registered"
	ReasonRegistrationFailed = "RegistrationFailed"
	ReasonNameNotSet         = "HostnameNotSet"

	ReasonInstalled              = "Installed"
	ReasonWaitingForInstallation = "WaitingForInstallation"
	ReasonNotInstalled           = "NotInstalled"
	ReasonInstallationFailed     = "InstallationFailed"
	ReasonCloudConfigFailed      = "CloudConfigInstallationFailed"

	ReasonBootstrapped        = "Bootstrapped"
	ReasonWaitingForBootstrap = "WaitingForBootstrap"
	ReasonBootstrapFailed     = "BootstrapFailed"

	ReasonReset           = "Reset"
	ReasonWaitingForReset = "WaitingForReset"
	ReasonResetFailed     = "ResetFailed"
	ReasonResetGivenUp    = "ResetGivenUp"

	ReasonApplied               = "Applied"
	ReasonNothingRequested      = "NothingRequested"
	ReasonWaitingForOSReconcile = "WaitingForOSReconcile"
	ReasonNotPending            = "InPlaceUpdateNotPending"
	ReasonReconciliationFailed  = "OSVersionReconciliationFailed"
	ReasonWaitingForReboot      = "WaitingForPostReconcileReboot"
	ReasonInvalidOSVersion      = "InvalidOSVersion"
	ReasonRolledBack            = "RolledBack"
	ReasonWaitingForDrain       = "WaitingForDrain"
	ReasonPolicyDenied          = "PolicyDenied"
	ReasonNothingToDrain        = "NothingToDrain"
	ReasonDrainedByHand         = "DrainedByHand"
	ReasonDrainFailed           = "DrainFailed"
	ReasonSeen                  = "Seen"
	ReasonNotSeen               = "NotSeen"
	ReasonPaused                = "Paused"
	ReasonNotPaused             = "NotPaused"
	ReasonHostReady             = "Ready"
)

// Find returns the condition of a type, and whether there is one.
func Find(conditions []Condition, kind string) (Condition, bool) {
	i := slices.IndexFunc(conditions, func(c Condition) bool { return c.Type == kind })
	if i < 0 {
		return Condition{}, false
	}
	return conditions[i], true
}

// readyOrder is the order in which a host's conditions are asked: the first that is not true is
// what Ready says. A condition that is absent has no objection, but for OSVersionReady.
var readyOrder = []string{
	RegistrationReady, InstallationReady, BootstrapReady, ResetReady, OSVersionReady, NodeDrained, AgentConnected,
}

// SumReady is what a host's conditions add up to.
//
// Ready never carries a generation of which OSVersionReady has not spoken, since kubectl wait trusts
// a true Ready whose generation is the object's. Until the agent has answered for this generation,
// Ready is false and waits for it.
func SumReady(generation int64, conditions []Condition) Condition {
	version, spoken := Find(conditions, OSVersionReady)
	if !spoken || version.Generation != generation {
		return Condition{
			Type: Ready, Status: False, Reason: ReasonWaitingForOSReconcile, Generation: version.Generation,
			Message: "the agent has not yet answered for the current spec of this host",
		}
	}
	for _, kind := range readyOrder {
		if c, ok := Find(conditions, kind); ok && c.Status != True {
			return Condition{Type: Ready, Status: c.Status, Reason: c.Reason, Message: c.Message, Generation: generation}
		}
	}
	return Condition{Type: Ready, Status: True, Reason: ReasonHostReady, Message: version.Message, Generation: generation}
}

// SumPaused says, in Cluster API's own terms, whether an object is paused. It is no objection to being ready: what
// runs is what runs.
func SumPaused(paused bool, generation int64) Condition {
	if paused {
		return Condition{Type: Paused, Status: True, Reason: ReasonPaused, Generation: generation, Message: "nothing is done to this host until it is no longer paused"}
	}
	return Condition{Type: Paused, Status: False, Reason: ReasonNotPaused, Generation: generation}
}

// LeaseInterval is how often an agent renews its Lease; the agent spreads it by a fifth either way.
const LeaseInterval = 5 * time.Minute

// SumConnected says whether an agent is alive, from the time at which it last renewed its Lease (zero:
// never), and how long that answer holds. Three renewals missed is not seen: a host that is merely
// slow, or behind a link that comes and goes, is not called lost.
func SumConnected(renewed, now time.Time) (Condition, time.Duration) {
	const patience = 3 * LeaseInterval
	c := Condition{Type: AgentConnected, Status: Unknown, Reason: ReasonNotSeen}
	if renewed.IsZero() {
		c.Message = "the agent of this host has never been seen: check that elemental-agent runs there and reaches this API server"
		return c, 0
	}
	left := renewed.Add(patience).Sub(now)
	if left <= 0 {
		c.Message = "the agent was last seen at " + renewed.UTC().Format(time.RFC3339) + ": check the host's power, its network and journalctl -u elemental-agent"
		return c, 0
	}
	c.Status, c.Reason, c.Message = True, ReasonSeen, "the agent renews its Lease"
	return c, left
}
