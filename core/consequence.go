package core

import (
	"fmt"
	"time"
)

// What follows from the rules that apply.

func register(Desired, Observed) Decision {
	return Decision{Phase: PhaseRegistering, Effects: []Effect{Register{}}}
}

func triggerReset(_ Desired, seen Observed) Decision {
	return attempt(Decision{Phase: PhaseTriggeringReset}, seen, VerbTriggerReset, Report{Required: true})
}

func reportReset(Desired, Observed) Decision {
	return Decision{Phase: PhaseTriggeringReset, Effects: []Effect{Report{}}}
}

func restartForReset(Desired, Observed) Decision {
	return Decision{
		Phase: PhaseTriggeringReset, Effects: []Effect{Report{Required: true}, Restart{Why: "Elemental: the host restarts to be reset"}},
	}
}

func awaitResetRestart(_ Desired, seen Observed) Decision {
	return Decision{Phase: PhaseTriggeringReset, Effects: []Effect{Report{}}, Again: untilRestart(seen)}
}

func awaitInstalledRestart(_ Desired, seen Observed) Decision {
	return Decision{Phase: PhaseInstalling, Effects: []Effect{Report{}}, Again: untilRestart(seen)}
}

// untilRestart is when a restart that was asked for should have begun, or can be asked for again.
func untilRestart(seen Observed) time.Duration {
	if seen.restarting() {
		return until(seen.Journal.RestartAt.Add(seen.Limits.RestartBegins), seen)
	}
	return until(seen.Journal.Trouble.NotBefore, seen)
}

// tellReset ends a reset. An ending that follows it is noted first: once the cluster knows of the reset, it may not know
// the host any more.
func tellReset(_ Desired, seen Observed) Decision {
	d := Decision{Phase: PhaseResetting, Effects: []Effect{Report{Required: true}}}
	switch {
	case seen.PostReset == EndingNone || seen.Reset != ResetDone:
	case seen.Journal.Ending == endingIsNone:
		owing := seen.Journal
		owing.Ending = endingIsOwed
		d.Effects = []Effect{Remember{owing}}
	case seen.Journal.Ending == endingIsOwed:
		d.Again = until(seen.Journal.Trouble.NotBefore, seen)
	}
	return d
}

// endReset ends the boot after a reset, of which the cluster is told first where it still knows the host.
func endReset(_ Desired, seen Observed) Decision {
	end := seen.PostReset.effect("Elemental: the host was reset")
	if !seen.Registered {
		return Decision{Phase: PhaseRegistering, Effects: []Effect{end}}
	}
	return Decision{Phase: PhaseResetting, Effects: []Effect{Report{Required: true}, end}}
}

// effect is what ends a boot in this way; the ending that is none restarts.
func (e Ending) effect(why string) Effect {
	if e == EndingPowerOff {
		return PowerOff{Why: why}
	}
	return Restart{Why: why}
}

func reset(_ Desired, seen Observed) Decision {
	return attempt(Decision{Phase: PhaseResetting}, seen, VerbReset, Report{})
}

func install(_ Desired, seen Observed) Decision {
	return attempt(Decision{Phase: PhaseInstalling}, seen, VerbInstall, Report{})
}

func reportUninstalled(Desired, Observed) Decision {
	return Decision{Phase: PhaseInstalling, Effects: []Effect{Report{}}}
}

func restartInstalled(_ Desired, seen Observed) Decision {
	return Decision{
		Phase:   PhaseInstalling,
		Effects: []Effect{Report{Required: true}, seen.PostInstall.effect("Elemental: the system was installed")},
	}
}

func setName(want Desired, seen Observed) Decision {
	d := reportWaiting(want, seen)
	d.Phase, d.Effects = PhaseFinalizingRegistration, []Effect{Report{}, Call{VerbSetHostname}}
	return d
}

func installCloudConfig(want Desired, seen Observed) Decision {
	d := reportWaiting(want, seen)
	d.Phase, d.Effects = PhaseFinalizingRegistration, []Effect{Report{}, Call{VerbInstallCloudConfig}}
	return d
}

func reportJoined(want Desired, seen Observed) Decision {
	d := reportWaiting(want, seen)
	d.Phase, d.Effects = PhaseBootstrapping, []Effect{Report{Required: true}}
	return d
}

func reportSilence(want Desired, seen Observed) Decision {
	d := Decision{
		Phase: PhaseRunning, Outcome: OutcomeFailed, Effects: []Effect{Report{}},
		Again: Backoff(seen.Plugin.Silences, 0),
	}
	if want.Reset {
		d.Phase = PhaseTriggeringReset
	}
	return d
}

func confirm(_ Desired, seen Observed) Decision {
	return attempt(Decision{Phase: PhaseReconcilingOSVersion, Outcome: OutcomeApplying}, seen, VerbConfirm, Report{})
}

func forget(Desired, Observed) Decision {
	return Decision{Phase: PhaseReconcilingOSVersion, Outcome: OutcomeApplying, Effects: []Effect{Call{VerbUnstage}}}
}

func reportRolledBack(Desired, Observed) Decision {
	return Decision{Phase: PhaseRunning, Outcome: OutcomeRolledBack, Effects: []Effect{Report{}}}
}

func reportWaiting(want Desired, seen Observed) Decision {
	d := Decision{Phase: PhaseRunning, Outcome: OutcomeApplying, Effects: []Effect{Report{}}}
	if seen.settled(want) {
		d.Outcome = OutcomeApplied
	}
	return d
}

func restartForBootstrap(want Desired, seen Observed) Decision {
	d := reportWaiting(want, seen)
	d.Phase = PhaseBootstrapping
	d.Effects = []Effect{Report{Required: true}, Restart{Why: "Elemental: the host joins its cluster"}}
	return d
}

func awaitBootstrap(want Desired, seen Observed) Decision {
	d := reportWaiting(want, seen)
	d.Phase = PhaseBootstrapping
	switch late := seen.Journal.BootstrapAt.Add(seen.Limits.BootstrapSucceeds); {
	case seen.restarting():
		d.Again = until(seen.Journal.RestartAt.Add(seen.Limits.RestartBegins), seen)
	case !seen.due(VerbRestart):
		d.Again = until(seen.Journal.Trouble.NotBefore, seen)
	case seen.Now.Before(late):
		d.Again = until(late, seen)
	}
	return d
}

func reportInvalid(Desired, Observed) Decision {
	return Decision{Phase: PhaseRunning, Outcome: OutcomeFailed, Effects: []Effect{Report{}}}
}

func awaitRestart(_ Desired, seen Observed) Decision {
	return Decision{
		Phase: PhaseReconcilingOSVersion, Outcome: OutcomeStaged, Effects: []Effect{Report{}},
		Again: until(seen.Journal.RestartAt.Add(seen.Limits.RestartBegins), seen),
	}
}

func restart(_ Desired, seen Observed) Decision {
	return Decision{
		Phase: PhaseReconcilingOSVersion, Outcome: OutcomeStaged,
		Effects: []Effect{Report{Required: true}, Restart{Why: "Elemental: the host restarts into " + seen.Plugin.Staged.String()}},
	}
}

func awaitLeave(_ Desired, seen Observed) Decision {
	return Decision{
		Phase: PhaseReconcilingOSVersion, Outcome: OutcomeStaged, Effects: []Effect{Report{}},
		Again: until(seen.Journal.Trouble.NotBefore, seen),
	}
}

func awaitDrain(Desired, Observed) Decision {
	return Decision{Phase: PhaseReconcilingOSVersion, Outcome: OutcomeStaged, Effects: []Effect{Report{}}}
}

func unstage(want Desired, seen Observed) Decision {
	d := Decision{Phase: PhaseReconcilingOSVersion, Outcome: OutcomeApplying, Effects: []Effect{Report{}, Call{VerbUnstage}}}
	if seen.settled(want) {
		d.Outcome = OutcomeApplied
	}
	return d
}

// stage shows its own phase only where the plugin says beforehand that a restart will come: a version
// that comes true without one never leaves Running.
func stage(_ Desired, seen Observed) Decision {
	d := Decision{Phase: PhaseRunning, Outcome: OutcomeApplying, Effects: []Effect{Report{}, Call{VerbStage}}}
	if seen.Plugin.Restarts {
		d.Phase = PhaseReconcilingOSVersion
	}
	return d
}

func reportFailed(Desired, Observed) Decision {
	return Decision{Phase: PhaseRunning, Outcome: OutcomeFailed, Effects: []Effect{Report{}}}
}

func reportNotPending(Desired, Observed) Decision {
	return Decision{Phase: PhaseRunning, Outcome: OutcomeApplying, Effects: []Effect{Report{}}}
}

func reportRetry(_ Desired, seen Observed) Decision {
	return Decision{
		Phase: PhaseRunning, Outcome: OutcomeFailed, Effects: []Effect{Report{}},
		Again: until(seen.Journal.Trouble.NotBefore, seen),
	}
}

func bootstrap(want Desired, seen Observed) Decision {
	return Decision{Phase: PhaseBootstrapping, Outcome: reportWaiting(want, seen).Outcome, Effects: []Effect{Report{}, Call{VerbBootstrap}}}
}

func reportSettled(want Desired, seen Observed) Decision {
	d := reportWaiting(want, seen)
	if t := seen.Journal.Trouble; t.Verb != "" && !seen.due(t.Verb) {
		d.Again = until(t.NotBefore, seen)
	}
	return d
}

// attempt adds a verb to a decision when it is due, and otherwise the time at which it will be.
func attempt(d Decision, seen Observed, verb Verb, report Report) Decision {
	d.Effects = []Effect{report}
	if seen.due(verb) {
		d.Effects = append(d.Effects, Call{verb})
	} else {
		d.Again = until(seen.Journal.Trouble.NotBefore, seen)
	}
	return d
}

// until is the time left to a moment. It is never zero, which would mean for ever, and never so short that a host
// is kept busy by looking.
func until(moment time.Time, seen Observed) time.Duration {
	return max(time.Second, moment.Sub(seen.Now))
}

// withDetail adds what a person should know to the words of a rule.
func withDetail(because, detail string) string {
	if detail == "" {
		return because
	}
	return fmt.Sprintf("%s: %s", because, detail)
}
