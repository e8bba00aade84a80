package core

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// Kind is what can be asked for an OS version.
type Kind string

// The kinds.
const (
	KindHost    Kind = "host"
	KindMachine Kind = "machine" // which forwards what is asked to the host that serves it
)

// Standing is what the cluster shows of one host or machine to whoever waits for its version.
type Standing struct {
	Kind       Kind   // empty: a host
	Gone       bool   // the object does not exist any more, or is being deleted
	Generation int64  // of the object's spec
	Requested  string // HashRequest of osVersionManagement as the spec has it now
	Retry      string // Renewal of the retry annotation as it is now
	Retried    string // and as the agent last took it up
	Label      UpdateLabel
	Phase      Phase
	Conditions []Condition
	Outcome    Outcome
	Armed      bool // the agent has taken up the arming: the outcome speaks of an armed host
	Again      bool // the agent has named the time of its next attempt
}

// WaitEnd says whether waiting for a version is over.
type WaitEnd string

// The ends of waiting.
const (
	WaitGoesOn  WaitEnd = "goesOn"
	WaitApplied WaitEnd = "applied" // the version asked for runs, and the host is ready
	WaitFailed  WaitEnd = "failed"  // it will not come to run unless someone acts
)

// Waiting is what a host's standing means to whoever waits for a version, in the host's own words.
type Waiting struct {
	End     WaitEnd
	Reason  string
	Message string
}

// The reasons that no condition has.
const (
	ReasonDeleted    = "Deleted"
	ReasonSuperseded = "Superseded"
)

// voice is the condition by which an object says how it stands to the version asked for.
func (s Standing) voice() string {
	if s.Kind == KindMachine {
		return HostReady
	}
	return OSVersionReady
}

// Wait says whether the version that was asked for at a generation runs, and whether it still may. What a
// host said of an earlier generation, or before it took up that it was armed or asked anew, counts for nothing.
func Wait(asked int64, version string, seen Standing) Waiting {
	switch {
	case seen.Gone:
		return Waiting{WaitFailed, ReasonDeleted, fmt.Sprintf("the %s was deleted", cmp.Or(seen.Kind, KindHost))}
	case seen.Requested != version:
		return Waiting{WaitFailed, ReasonSuperseded, "someone asked for another version meanwhile"}
	}
	said, spoken := Find(seen.Conditions, seen.voice())
	if !spoken || said.Generation < asked {
		return unanswered(seen)
	}
	ready, summed := Find(seen.Conditions, Ready)
	current := summed && ready.Generation >= asked
	switch {
	case seen.Retry != seen.Retried:
		return Waiting{WaitGoesOn, ReasonWaitingForOSReconcile, "the agent has not yet seen that it is asked to try again"}
	case said.Status == True && current && ready.Status == True:
		return Waiting{WaitApplied, said.Reason, said.Message}
	case said.Status == True && current:
		return Waiting{WaitGoesOn, ready.Reason, ready.Message}
	case said.Status == True:
		return Waiting{WaitGoesOn, ReasonWaitingForOSReconcile, said.Message + "; the controller has not yet confirmed that it is ready"}
	case seen.Label == LabelPending && !seen.Armed:
		return Waiting{WaitGoesOn, ReasonWaitingForOSReconcile, "the agent has not yet seen that the host may be updated in place"}
	case final(said, seen):
		return Waiting{WaitFailed, said.Reason, said.Message}
	default:
		return Waiting{WaitGoesOn, said.Reason, said.Message}
	}
}

// final says that the agent will not try any more by itself.
func final(said Condition, seen Standing) bool {
	switch said.Reason {
	case ReasonRolledBack, ReasonInvalidOSVersion, ReasonPolicyDenied:
		return true
	case ReasonReconciliationFailed:
		return seen.Outcome == OutcomeFailed && !seen.Again
	}
	return false
}

// Renewal is the value of a retry annotation as agents report it back: itself, or its hash if it is long.
func Renewal(annotation string) string {
	const most = 64
	if len(annotation) <= most {
		return annotation
	}
	sum := sha256.Sum256([]byte(annotation))
	return hex.EncodeToString(sum[:])
}

// unanswered says why the agent may not have answered yet.
func unanswered(seen Standing) Waiting {
	w := Waiting{WaitGoesOn, ReasonWaitingForOSReconcile, "the agent has not yet answered for what was asked"}
	if c, ok := Find(seen.Conditions, AgentConnected); ok && c.Status != True {
		w.Reason, w.Message = c.Reason, fmt.Sprintf("%s: %s", w.Message, c.Message)
	}
	return w
}
