package core

import (
	"slices"
	"time"
)

// Case is a host of which a person asks how it stands and what to do.
type Case struct {
	Standing
	Namespace    string
	Name         string
	Machine      string // the ElementalMachine that the host serves; empty: it serves none
	Bootstrapped bool
	Plugin       string
	Path         string    // the field at fault that the last failure names; empty: none
	Next         time.Time // when the agent tries again; zero: it named no time
}

// Health is how a host stands, in the one or two words that a list of many has room for.
type Health string

// How hosts stand.
const (
	HealthReady      Health = "ready"
	HealthUpdating   Health = "updating"      // it goes on by itself
	HealthRetrying   Health = "trying again"  // so it does, and the last attempt failed
	HealthWaiting    Health = "waiting"       // for someone to act
	HealthPaused     Health = "paused"        // by someone
	HealthRolledBack Health = "rolled back"   // by the boot loader
	HealthFailed     Health = "failed"        // for good, or not in its version
	HealthUnseen     Health = "not seen"      // nobody knows
	HealthLeaving    Health = "being deleted" // or reset
	HealthUnclear    Health = "unclear"       // it says what is not known here
)

// Healths lists them all, in the order in which they are told.
func Healths() []Health {
	return []Health{
		HealthReady, HealthUpdating, HealthRetrying, HealthWaiting, HealthPaused, HealthRolledBack, HealthFailed,
		HealthUnseen, HealthLeaving, HealthUnclear,
	}
}

// Advice is what a person should know and do about a host.
type Advice struct {
	Health  Health
	Because string
	Steps   []Step // in this order; none: there is nothing to do
	Retry   bool   // asking anew for the same helps, and nothing must be done before
}

// Step is one thing to do.
type Step struct {
	Text    string
	Command string // what to type for it; empty: nothing
}

// counsel is one row of the table: when it applies, and what follows.
type counsel struct {
	because string
	shows   []string        // the host has a condition for one of these reasons; empty: whatever it shows
	when    func(Case) bool // and this is so; nil: always
	health  Health
	retry   func(Case) bool // whether asking anew helps; nil: it never does
	steps   func(Case) []Step
}

// counsels are tried from the top; the first that applies wins. The last always applies. A host that is not seen says
// what was once, and one that has not answered for what is asked now says what was asked before: both stand above
// whatever else it shows.
var counsels = []counsel{
	{"what is asked for runs, and the host is ready", wellReasons, isWell, HealthReady, nil, nothingToDo},
	{"it is being deleted, and its agent is not seen", []string{ReasonNotSeen}, isLeaving, HealthUnseen, nil, giveUpOrLook},
	{"its agent is not seen, and what is asked for does not run", []string{ReasonNotSeen}, isUnsettled, HealthUnseen, isStaying, lookForAgent},
	{"its agent is not seen", []string{ReasonNotSeen}, nil, HealthUnseen, nil, lookForAgent},
	{"its own policy denies the reset", []string{ReasonPolicyDenied}, isLeaving, HealthFailed, isAny, allowReset},
	{"it was not reset, however often that was begun", []string{ReasonResetGivenUp}, nil, HealthFailed, isAny, resetAnew},
	{"it is paused, and is to be reset", []string{ReasonPaused}, isToLeave, HealthPaused, nil, unpause},
	{"resetting it failed", []string{ReasonResetFailed}, nil, HealthFailed, isAny, mendReset},
	{"it is being reset", []string{ReasonWaitingForReset}, nil, HealthLeaving, nil, letItGoOn},
	{"it is being deleted", nil, isLeaving, HealthLeaving, nil, letItGoOn},
	{"the cluster does not know it under its name", []string{ReasonRegistrationFailed}, nil, HealthFailed, nil, checkIdentity},
	{"it does not bear its name", []string{ReasonNameNotSet}, nil, HealthFailed, isAny, readAgentLog},
	{"nothing is installed on it", []string{ReasonNotInstalled}, nil, HealthWaiting, nil, installIt},
	{"its cloud config could not be installed", []string{ReasonCloudConfigFailed}, nil, HealthFailed, isAny, mendCloudConfig},
	{"installing it failed", []string{ReasonInstallationFailed}, nil, HealthFailed, isAny, readAgentLog},
	{"it is being installed", []string{ReasonWaitingForInstallation}, nil, HealthUpdating, nil, letItGoOn},
	{"it is paused", []string{ReasonPaused}, nil, HealthPaused, nil, unpause},
	{"no controller has looked at it yet", nil, isUntold, HealthUnclear, nil, lookForController},
	{"its agent has not yet seen that it is asked to try again", nil, isUnretried, HealthUpdating, nil, letItGoOn},
	{"its agent has not yet answered for what is asked", nil, isUnanswered, HealthUpdating, nil, letItGoOn},
	{"its agent has not yet seen that it may be updated in place", nil, isUnarmedYet, HealthUpdating, nil, letItGoOn},
	{"the boot loader fell back from the version asked for", []string{ReasonRolledBack}, nil, HealthRolledBack, mayUpdate, learnFromBoot},
	{"the version asked for is not valid", []string{ReasonInvalidOSVersion}, nil, HealthFailed, nil, correctRequest},
	{"its own policy denies what is asked", []string{ReasonPolicyDenied}, nil, HealthFailed, mayUpdate, changePolicy},
	{"the version asked for could not be applied", []string{ReasonReconciliationFailed}, isFinal, HealthFailed, mayUpdate, mendAndRetry},
	{"the last attempt failed, and another follows", []string{ReasonReconciliationFailed}, nil, HealthRetrying, mayUpdate, awaitNext},
	{"it is a node and was not told to update in place", []string{ReasonNotPending}, nil, HealthWaiting, nil, arm},
	{"its node could not be drained", []string{ReasonDrainFailed}, nil, HealthWaiting, nil, drainByHand},
	{"a version is staged and waits for the node to be drained", []string{ReasonWaitingForDrain}, nil, HealthWaiting, nil, drain},
	{"it restarts into the version asked for", []string{ReasonWaitingForReboot}, nil, HealthUpdating, mayUpdate, awaitReboot},
	{"it could not join its cluster", []string{ReasonBootstrapFailed}, nil, HealthFailed, isAny, readBootstrapLog},
	{"it is to join its cluster", []string{ReasonWaitingForBootstrap}, nil, HealthUpdating, nil, letItGoOn},
	{"its agent is at work", []string{ReasonWaitingForOSReconcile}, isUnsettled, HealthUpdating, nil, letItGoOn},
	{"what is asked for runs, and the controller has not yet confirmed it", nil, isUnconfirmed, HealthUpdating, nil, lookForController},
	{"it says what is not known here", nil, nil, HealthUnclear, nil, readConditions},
}

// wellReasons are those of conditions that have no objection.
var wellReasons = []string{
	ReasonHostReady, ReasonApplied, ReasonNothingRequested, ReasonRegistered, ReasonInstalled, ReasonBootstrapped, ReasonReset,
	ReasonSeen, ReasonNotPaused, ReasonNothingToDrain, ReasonDrainedByHand,
}

// Advise says how a host stands and what a person should do about it. The same case always gets the same advice.
func Advise(c Case) Advice {
	for _, row := range counsels {
		if row.applies(c) {
			return Advice{
				Health: row.health, Because: row.because, Steps: row.steps(c), Retry: row.retry != nil && row.retry(c),
			}
		}
	}
	panic("core: the last counsel applies always")
}

func (row counsel) applies(c Case) bool {
	shown := len(row.shows) == 0 || slices.ContainsFunc(c.Conditions, func(said Condition) bool {
		// Ready repeats the others, and may lag behind them.
		return said.Type != Ready && slices.Contains(row.shows, said.Reason)
	})
	return shown && (row.when == nil || row.when(c))
}

// When the rows apply.

func isWell(c Case) bool {
	return !c.Gone && Wait(c.Generation, c.Requested, c.Standing).End == WaitApplied
}
func isLeaving(c Case) bool { return c.Gone }
func isToLeave(c Case) bool {
	_, told := Find(c.Conditions, ResetReady)
	return c.Gone || told
}
func isUntold(c Case) bool    { return len(c.Conditions) == 0 }
func isUnretried(c Case) bool { return c.Retry != c.Retried }
func isAny(Case) bool         { return true }
func isStaying(c Case) bool   { return !c.Gone }

// isUnsettled says that, for all that is known, something else runs than what is asked for.
func isUnsettled(c Case) bool {
	said, _ := Find(c.Conditions, OSVersionReady)
	return said.Status != True || isUnanswered(c)
}

func isUnanswered(c Case) bool {
	said, spoken := Find(c.Conditions, OSVersionReady)
	return !spoken || said.Generation < c.Generation
}

func isUnarmedYet(c Case) bool {
	return c.Label == LabelPending && !c.Armed && isUnsettled(c)
}

func isFinal(c Case) bool {
	said, _ := Find(c.Conditions, OSVersionReady)
	return final(said, c.Standing)
}

func isUnconfirmed(c Case) bool {
	return !slices.ContainsFunc(readyOrder, func(kind string) bool {
		said, spoken := Find(c.Conditions, kind)
		return spoken && said.Status != True
	})
}

// mayUpdate says whether the agent would act on being asked anew.
func mayUpdate(c Case) bool { return !c.Bootstrapped || c.Label == LabelPending }
