package core

import "time"

// Journal is the small memory of an agent, kept on the host's disk so that a crash or a restart changes
// only how long something takes. A host that lost it starts afresh.
type Journal struct {
	Requested string // the version that the rest speaks of
	Retry     string // the value of the retry annotation when it was taken up
	Armed     bool   // the host was armed when it was last looked at
	Judged    string // the outcome by which the controller last disarmed the host
	Renewing  bool   // the same version was asked for again, and was not staged since

	Begun       bool      // staging has begun, and whether it succeeded is not known
	Attempts    int       // stagings of this version that count against the limit
	LastAttempt time.Time // when staging last began
	Unstages    int       // how often something else was to be unstaged

	RestartBoot string    // the boot in which a restart was last asked for since the last staging
	RestartAt   time.Time // and when

	ResetSeen  bool // a reset was seen under way, and is since
	ResetTaken bool // the reset that is asked for was seen under way
	Resets     int  // how often it was
	Ending     endingStage

	CloudConfig string // the hash of the cloud config that was installed last

	BootstrapBoot string // the boot in which applying bootstrap data was last begun
	BootstrapAt   time.Time
	Bootstrapped  bool // bootstrapping has succeeded

	Trouble Trouble
}

// endingStage is how far the ending of a boot has come that follows a reset.
type endingStage string

const (
	endingIsNone endingStage = ""
	endingIsOwed endingStage = "owed"
	endingIsHad  endingStage = "had" // it was asked for
)

// Trouble is the last failure of an effect, and when that effect may be tried again.
type Trouble struct {
	Failure
	Verb      Verb
	Failures  int // in a row
	NotBefore time.Time
}

// renewed says whether the cluster asks for something that this journal has not taken up: another
// version, the same one renewed, or the host armed anew. A host that was disarmed and armed again while nobody
// here looked is known by the judgement in between.
func (j Journal) renewed(want Desired) bool {
	return j.Requested != want.Version || j.Retry != want.Retry ||
		want.Armed && (!j.Armed || j.Judged != want.Judged)
}

// learn notes what the plugin's view tells of a staging of which nothing was heard: the version runs, so it was
// an attempt that succeeded.
func (j Journal) learn(want Desired, seen View) Journal {
	if j.Begun && !j.Renewing && !j.renewed(want) && want.Version != "" && seen.Verdict == VerdictSatisfied {
		return j.Succeed(VerbStage)
	}
	return j
}

// noteReset notes how far the plugin sees the reset that is asked for. What it says is done counts as this reset only
// if it was seen under way: it may speak of one long ago. Whatever the host was, it is not from then on.
func (j Journal) noteReset(asked bool, stage ResetStage) Journal {
	if stage == ResetUnderWay && !j.ResetSeen { // Whoever triggered it, the restart that it may need was not had before.
		j.RestartBoot, j.RestartAt = "", time.Time{}
	}
	j.ResetSeen = stage == ResetUnderWay
	switch {
	case stage == ResetUnderWay && asked && !j.ResetTaken:
		j.ResetTaken, j.Resets = true, j.Resets+1
	case stage == ResetNone && j.ResetTaken:
		j.ResetTaken = false
	case !asked && stage != ResetUnderWay:
		j.ResetTaken, j.Resets, j.Ending = false, 0, endingIsNone
	}
	switch stage {
	case ResetUnderWay:
		j.CloudConfig, j.Ending = "", endingIsNone
	case ResetDone:
		j.Bootstrapped, j.BootstrapBoot, j.BootstrapAt = false, "", time.Time{}
	case ResetNone:
	}
	return j
}

// Installed notes which cloud config was installed.
func (j Journal) Installed(cloudConfig string) Journal {
	j.CloudConfig = cloudConfig
	return j
}

// Adopt takes up what is asked. A renewed request forgets every failure of the one before; disarming
// forgets nothing, so that the reason of a failure outlives the label. That a restart was asked for is
// forgotten only by the next staging: what is staged may have had its restart, whoever asks for it now.
func (j Journal) Adopt(want Desired) Journal {
	if !j.renewed(want) {
		j.Armed, j.Judged = want.Armed, want.Judged
		return j
	}
	resets := j.Resets
	if j.Retry != want.Retry { // It is by this annotation that a person asks for another try.
		resets = 0
		if j.ResetTaken { // The one that is under way goes on.
			resets = 1
		}
	}
	return Journal{
		Requested: want.Version, Retry: want.Retry, Armed: want.Armed, Judged: want.Judged,
		Renewing:    j.Requested == want.Version && j.Retry != want.Retry || j.Renewing && j.Requested == want.Version,
		RestartBoot: j.RestartBoot, RestartAt: j.RestartAt,
		ResetSeen: j.ResetSeen, ResetTaken: j.ResetTaken, Resets: resets, Ending: j.Ending, CloudConfig: j.CloudConfig,
		BootstrapBoot: j.BootstrapBoot, BootstrapAt: j.BootstrapAt, Bootstrapped: j.Bootstrapped,
	}
}

// Begin notes, before an effect is tried, what must be known of it if nothing is heard of it again. Whatever but
// staging and unstaging is waited with before it is asked for again, even if it is said to have succeeded: only
// what is observed counts, and a plugin that does nothing must not be asked without end. Jitter is in [0, 1).
func (j Journal) Begin(verb Verb, boot string, now time.Time, jitter float64) Journal {
	switch verb {
	case VerbStage:
		j.Begun, j.LastAttempt = true, now
		return j
	case VerbUnstage:
		return j
	case VerbBootstrap:
		j.BootstrapBoot, j.BootstrapAt = boot, now
	case VerbTriggerReset: // It may have its own restart.
		j.RestartBoot, j.RestartAt = "", time.Time{}
	default: // Of the others no more need be known.
	}
	return j.fail(verb, Failure{
		Class: FailureRetryable, Reason: reasonNotObserved, Message: "the plugin was asked to " + string(verb) + ", and does not see it done yet",
	}, 1, now, jitter)
}

// reasonNotObserved marks the trouble of a verb that was begun, until more is known of it.
const reasonNotObserved = "NotObserved"

// reasonInterrupted marks the trouble of a staging that nothing was heard of.
const reasonInterrupted = "Interrupted"

// Interrupted notes, at start, a staging that was begun and never ended. It waits like any failure, so
// that a staging which kills its own host does not do so at the speed of booting. It counts against no
// limit, since it may be the agent that was killed, unless a restart follows from it.
//
// A restart that was asked for in this very boot may not have reached the system. It is asked for again: a boot ends
// only once.
func (j Journal) Interrupted(boot string, now time.Time, jitter float64) Journal {
	if j.RestartBoot == boot {
		j = j.unended()
	}
	if !j.Begun || j.Trouble.Reason == reasonInterrupted && j.Trouble.NotBefore.After(now) {
		return j
	}
	j = j.Fail(VerbStage, Failure{Class: FailureRetryable, Reason: reasonInterrupted, Message: "the attempt was interrupted"}, now, jitter)
	j.Begun = true
	return j
}

// Succeed notes that an effect was carried out.
func (j Journal) Succeed(verb Verb) Journal {
	switch verb {
	case VerbStage:
		j.Trouble = Trouble{}
		j.Begun, j.Renewing, j.Unstages = false, false, 0
		j.RestartBoot, j.RestartAt = "", time.Time{}
		j.Attempts++
	case VerbUnstage:
		if j.Trouble.Verb == VerbUnstage { // The failure of a staging outlives what was staged.
			j.Trouble = Trouble{}
		}
		j.Unstages++
	default: // What the others changed is observed.
	}
	return j
}

// Fail notes that an effect was tried in vain, and when it may be tried again; jitter is in [0, 1).
func (j Journal) Fail(verb Verb, f Failure, now time.Time, jitter float64) Journal {
	more := 1
	if j.Trouble.Verb == verb && j.Trouble.Reason == reasonNotObserved { // It was counted when it began.
		more = 0
	}
	return j.fail(verb, f, more, now, jitter)
}

func (j Journal) fail(verb Verb, f Failure, failures int, now time.Time, jitter float64) Journal {
	if j.Trouble.Verb == verb {
		failures += j.Trouble.Failures
	}
	switch verb {
	case VerbStage:
		j.Begun = false
		if f.Class == FailureFailed {
			j.Attempts++
		}
	case VerbUnstage:
		j.Unstages++
	case VerbRestart: // It was not had: what is staged still waits for it.
		j = j.unended()
	default: // The trouble says it all.
	}
	j.Trouble = Trouble{Failure: f, Verb: verb, Failures: failures, NotBefore: now.Add(Backoff(failures, jitter))}
	return j
}

// unended forgets that the end of a boot was asked for.
func (j Journal) unended() Journal {
	j.RestartBoot, j.RestartAt = "", time.Time{}
	if j.Ending == endingIsHad {
		j.Ending = endingIsOwed
	}
	return j
}

// Restart notes, before it is asked for, that this boot is to end. Restarting into a staging of which
// nothing was heard makes it an attempt.
func (j Journal) Restart(boot string, now time.Time) Journal {
	if j.Begun {
		j.Begun, j.Attempts = false, j.Attempts+1
	}
	if j.Trouble.Verb == VerbRestart { // It is asked for anew; only how often it could not be had counts on.
		j.Trouble = Trouble{Verb: VerbRestart, Failures: j.Trouble.Failures}
	}
	j.RestartBoot, j.RestartAt = boot, now
	if j.Ending == endingIsOwed {
		j.Ending = endingIsHad
	}
	return j
}

// Joined notes that bootstrapping has succeeded.
func (j Journal) Joined() Journal {
	j.Bootstrapped = true
	return j
}
