package core

import "fmt"

// Departure is what the cluster knows of a host that may have been told to go, or to begin anew.
type Departure struct {
	Deleted  bool // its object was deleted, and is held until the host was reset
	Asked    bool // a label asks for a reset
	Forced   bool // an annotation lets it go whatever it says
	Revoked  bool // its identity was revoked
	Stranded bool // its identity went with its namespace, and can't be made anew
	Spoken   bool // an agent was heard of it, at some time

	Generation int64 // of the host's spec; deleting the object raises it
	Phase      Phase // as the agent reports it
	Conditions []Condition
	// Taken says that the report of a reset which stands now was taken for an answer before.
	Taken bool
	Alive Condition // AgentConnected, as it is now
}

// Parting is what becomes of a host that was told to go, or to begin anew.
type Parting string

// The partings.
const (
	PartingNone  Parting = ""      // nothing of the kind was asked
	PartingWaits Parting = "Waits" // for the host to be reset
	PartingFresh Parting = "Fresh" // it was reset as the label asks, and stays as a host that is free
	PartingGoes  Parting = "Goes"  // nothing holds its object any more
)

// Release says what becomes of a host, with a reason and words for its owner.
type Release struct {
	Parting Parting
	Because string // the row of the table
	Reason  string
	Message string
}

// The reasons to let a host go that are not also those of conditions.
const (
	ReasonForced   = "ForceDeleted"
	ReasonUnused   = "NeverSeen"
	ReasonStranded = "NamespaceDeleted"
)

// departures are tried from the top; the first that applies wins.
var departures = []struct {
	because string
	applies func(Departure) bool
	answer  func(Departure) Release
}{
	{"nothing of the kind was asked", func(d Departure) bool { return !d.Deleted && !d.Asked }, remain},
	{"it was reset as it was asked", func(d Departure) bool { return !d.Deleted && d.wasReset() && !d.Taken }, becomes(
		PartingFresh, ReasonReset, "the host was reset, and serves no machine any more")},
	{"it is to be reset", func(d Departure) bool { return !d.Deleted }, awaits},
	{"its owner lets it go whatever it says", func(d Departure) bool { return d.Forced }, becomes(
		PartingGoes, ReasonForced, "the annotation force-delete lets it go: whatever is on the host stays there")},
	{"no agent was ever heard of it", func(d Departure) bool { return !d.Spoken }, becomes(
		PartingGoes, ReasonUnused, "no agent was ever heard of it, so that there is nothing to reset")},
	{"it was reset", Departure.wasReset, becomes(
		PartingGoes, ReasonReset, "the host was reset")},
	{"it was reset before, and did nothing since", func(d Departure) bool { return d.Taken && d.saysReset() }, becomes(
		PartingGoes, ReasonReset, "the host was reset before it was deleted, and was not heard of since")},
	{"its identity was revoked", func(d Departure) bool { return d.Revoked }, becomes(
		PartingGoes, ReasonRevoked, "its identity was revoked, so that it can't be told to reset itself: whatever is on the host stays there")},
	{"its identity went with its namespace", func(d Departure) bool { return d.Stranded }, becomes(
		PartingGoes, ReasonStranded, "its identity went with its namespace, so that it can't report any more: whether it was reset is not known")},
	{"its reset is awaited", func(Departure) bool { return true }, awaits},
}

// Part says what becomes of a host that may have been deleted, or asked to be reset. The same facts always get the same
// answer, so that a controller that died in between gives it again.
func Part(d Departure) Release {
	for _, row := range departures {
		if row.applies(d) {
			r := row.answer(d)
			r.Because = row.because
			return r
		}
	}
	panic("core: the last row applies always")
}

// saysReset says whether the host's last words are that it was reset as it was told. One that was reset in a former life
// says so, too, and is in another phase.
func (d Departure) saysReset() bool {
	c, spoken := Find(d.Conditions, ResetReady)
	return spoken && c.Status == True && d.Phase == PhaseResetting
}

// wasReset says whether the host was reset as it is told now: a deletion raises the generation, and the agent speaks of
// the one that it has seen.
func (d Departure) wasReset() bool {
	c, _ := Find(d.Conditions, ResetReady)
	return d.saysReset() && c.Generation == d.Generation
}

func remain(Departure) Release { return Release{} }

func becomes(parting Parting, reason, message string) func(Departure) Release {
	return func(Departure) Release { return Release{Parting: parting, Reason: reason, Message: message} }
}

// awaits says what a reset is awaited for, in the host's own words where it has some.
func awaits(d Departure) Release {
	r := Release{Parting: PartingWaits, Reason: ReasonWaitingForReset, Message: "the host is to be reset, and its agent has not answered yet"}
	if c, spoken := Find(d.Conditions, ResetReady); spoken && c.Status != True {
		r.Reason, r.Message = c.Reason, c.Message
	}
	if d.Alive.Status != True {
		r.Message = fmt.Sprintf("%s; %s", r.Message, d.Alive.Message)
	}
	if d.Deleted && (d.Alive.Status != True || r.Reason != ReasonWaitingForReset) {
		r.Message += "; a host that is gone for good is let go by the annotation " + AnnotationForceDelete + `: "true"`
	}
	return r
}

// SumParting is what Ready says of a host, given what it would say otherwise: one that is to be reset is not ready.
func SumParting(sum Condition, r Release, generation int64) Condition {
	if r.Parting != PartingWaits {
		return sum
	}
	return Condition{Type: Ready, Status: False, Reason: r.Reason, Message: r.Message, Generation: generation}
}
