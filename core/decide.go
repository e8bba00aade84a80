package core

import (
	"fmt"
	"time"
)

// Decision is what a host should do next, and what it says of itself meanwhile.
type Decision struct {
	Phase      Phase
	Because    string // the same words reach the log and the conditions
	Outcome    Outcome
	Conditions []Condition
	Effects    []Effect      // carried out in this order; the first that fails ends the list
	Again      time.Duration // when to look again if nothing happens; 0: when something changes
}

// rule is one row of the table: when it applies, and what follows.
type rule struct {
	because string
	when    func(Desired, Observed) bool
	then    func(Desired, Observed) Decision
}

// rules are tried from the top; the first that applies wins. The last always applies.
var rules = []rule{
	{"the host is not registered", unregistered, register},
	{"the host was reset", resetDone, tellReset},
	{"resetting was tried as often as it may be", resetInVain, reportReset},
	{"a reset is asked for", resetAsked, triggerReset},
	{"a reset goes on after a restart", resetUnrestarted, restartForReset},
	{"a reset waits for a restart", resetRestarting, awaitResetRestart},
	{"a reset is under way", resetUnderWay, reset},
	{"the system was installed and runs after a restart", installedUnrestarted, restartInstalled},
	{"the system was installed and waits for a restart", installedRestarting, awaitInstalledRestart},
	{"the system is to be installed", installDue, install},
	{"the system is not installed", uninstalled, reportUninstalled},
	{"bootstrapping succeeded", joinedUnreported, reportJoined},
	{"the plugin gives no answer", pluginSilent, reportSilence},
	{"the host does not bear its name", nameDue, setName},
	{"the cloud config of the registration is not installed", cloudConfigDue, installCloudConfig},
	{"this boot runs a version that is not confirmed yet", unconfirmed, confirm},
	{"a version that fell back is asked for anew", fellBackRenewed, forget},
	{"the boot loader fell back from the version asked for", fellBack, reportRolledBack},
	{"the cluster paused this host", paused, reportWaiting},
	{"bootstrap data was applied and the host is to restart", bootstrapUnrestarted, restartForBootstrap},
	{"bootstrapping is under way", bootstrapAwaited, awaitBootstrap},
	{"the version asked for is not valid", invalid, reportInvalid},
	{"the host was told to restart", restartAwaited, awaitRestart},
	{"the version asked for is staged", stagedMayRestart, restart},
	{"the version asked for is staged and the restart is held up", stagedHeldUp, awaitLeave},
	{"the version asked for is staged and waits for the node to be drained", stagedUndrained, awaitDrain},
	{"something is staged that is not to run", stagedUnwanted, unstage},
	{"the version asked for is not the one that runs", stageDue, stage},
	{"the version asked for could not be applied", failedForGood, reportFailed},
	{"the host is a node and was not told to update in place", differsUnarmed, reportNotPending},
	{"the last attempt failed", failedForNow, reportRetry},
	{"bootstrap data waits", bootstrapDue, bootstrap},
	{"nothing is left to do", always, reportSettled},
}

// Decide returns what the host should do next. The same arguments always give the same decision.
func Decide(want Desired, seen Observed) Decision { return decideBy(rules, want, seen) }

func decideBy(rules []rule, want Desired, seen Observed) Decision {
	// No answer for this request may speak of what was remembered for the one before.
	next := remembered(want, seen)
	changed := next != seen.Journal
	seen.Journal = next
	for _, r := range rules {
		if !r.when(want, seen) {
			continue
		}
		d := r.then(want, seen)
		d.Because = r.because
		d.Conditions = conditions(want, seen, d)
		if changed {
			d.Effects = append([]Effect{Remember{next}}, d.Effects...)
		}
		return d
	}
	panic("core: the last rule applies always")
}

// remembered is the journal after this look. What fell back is taken up anew only after its spent trial is
// forgotten, and nothing is while the plugin is silent: else the next look would take the old fall for a new one.
func remembered(want Desired, seen Observed) Journal {
	j := seen.Journal
	if !seen.Registered {
		return j
	}
	if seen.bootstrapped() {
		j = j.Joined() // The sentinel is lost with /run.
	}
	if pluginSilent(want, seen) {
		return j
	}
	j = j.noteReset(want.Reset, seen.Reset)
	j = j.learn(want, seen.Plugin)
	if fellBack(want, seen) && j.Requested != "" && j.renewed(want) {
		return j
	}
	return j.Adopt(want)
}

// When the rows apply.

func unregistered(_ Desired, seen Observed) bool { return !seen.Registered }
func resetDone(want Desired, seen Observed) bool {
	return want.Reset && seen.Reset == ResetDone && seen.Journal.ResetTaken
}
func resetAsked(want Desired, seen Observed) bool {
	return want.Reset && !want.Paused && seen.Reset != ResetUnderWay && !pluginSilent(want, seen)
}
func resetInVain(want Desired, seen Observed) bool {
	return resetAsked(want, seen) && seen.Journal.Resets >= seen.Limits.Attempts
}
func resetUnrestarted(want Desired, seen Observed) bool {
	return resetRestarting(want, seen) && !seen.restarting() && seen.due(VerbRestart)
}
func resetRestarting(want Desired, seen Observed) bool {
	restarted := seen.Journal.RestartBoot != "" && seen.Journal.RestartBoot != seen.Boot
	return resetUnderWay(want, seen) && seen.Plugin.NeedsRestart && !restarted && !pluginSilent(want, seen)
}
func resetUnderWay(_ Desired, seen Observed) bool { return seen.Reset == ResetUnderWay }
func installDue(want Desired, seen Observed) bool { return uninstalled(want, seen) && seen.Installs }
func uninstalled(_ Desired, seen Observed) bool {
	return !seen.Installed && !pluginSilent(Desired{}, seen)
}
func installedUnrestarted(want Desired, seen Observed) bool {
	return installedRestarting(want, seen) && !seen.restarting() && seen.due(VerbRestart) && seen.Journal.RestartBoot == ""
}
func installedRestarting(want Desired, seen Observed) bool {
	return installDue(want, seen) && seen.Plugin.NeedsRestart
}
func joinedUnreported(_ Desired, seen Observed) bool {
	return seen.bootstrapped() && !seen.Reported
}
func pluginSilent(_ Desired, seen Observed) bool { return seen.Plugin.Silent.Class != "" }
func nameDue(want Desired, seen Observed) bool {
	return !seen.Named && seen.unjoined(want) && seen.due(VerbSetHostname)
}
func cloudConfigDue(want Desired, seen Observed) bool {
	return seen.CloudConfig != seen.Journal.CloudConfig && seen.unjoined(want) && seen.due(VerbInstallCloudConfig)
}
func unconfirmed(_ Desired, seen Observed) bool {
	return seen.Plugin.Verdict == VerdictUnconfirmed
}
func fellBack(_ Desired, seen Observed) bool { return seen.Plugin.Verdict == VerdictRolledBack }
func fellBackRenewed(want Desired, seen Observed) bool {
	return fellBack(want, seen) && seen.Journal.Requested != "" && seen.Journal.renewed(want) &&
		seen.mayUpdate(want) && !want.Paused && !seen.bootstrapping() &&
		seen.due(VerbUnstage) && seen.Journal.Unstages < seen.Limits.Attempts
}
func paused(want Desired, _ Observed) bool { return want.Paused }
func bootstrapUnrestarted(_ Desired, seen Observed) bool {
	return seen.bootstrapping() && seen.Journal.BootstrapBoot == seen.Boot && !seen.restarting() && seen.due(VerbRestart)
}
func bootstrapAwaited(_ Desired, seen Observed) bool { return seen.bootstrapping() }
func invalid(_ Desired, seen Observed) bool          { return seen.Plugin.Invalid.Class != "" }
func restartAwaited(_ Desired, seen Observed) bool {
	return seen.Plugin.Verdict == VerdictStaged && seen.restarting()
}
func stagedMayRestart(want Desired, seen Observed) bool {
	return stagedHeldUp(want, seen) && seen.due(VerbRestart)
}
func stagedHeldUp(want Desired, seen Observed) bool {
	return seen.Plugin.Verdict == VerdictStaged && !seen.spent() && seen.mayRestart(want)
}
func stagedUndrained(want Desired, seen Observed) bool {
	return seen.Plugin.Verdict == VerdictStaged && !seen.spent() && seen.mayUpdate(want)
}
func stagedUnwanted(want Desired, seen Observed) bool {
	unwanted := seen.Plugin.stagedOther() || seen.Plugin.Verdict == VerdictStaged && !seen.mayUpdate(want)
	return unwanted && seen.due(VerbUnstage) && seen.Journal.Unstages < seen.Limits.Attempts
}
func stageDue(want Desired, seen Observed) bool {
	return seen.differs(want) && seen.mayUpdate(want) && !seen.exhausted() && seen.due(VerbStage)
}
func failedForGood(want Desired, seen Observed) bool { return seen.differs(want) && seen.exhausted() }
func differsUnarmed(want Desired, seen Observed) bool {
	return !seen.settled(want) && !seen.mayUpdate(want)
}
func failedForNow(want Desired, seen Observed) bool { return seen.differs(want) }
func bootstrapDue(want Desired, seen Observed) bool {
	return want.Bootstrap && !seen.bootstrapped() && seen.settled(want) && seen.finished() && seen.due(VerbBootstrap)
}
func always(Desired, Observed) bool { return true }

// What follows from them.

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

// tellReset ends a reset. The boot ends once, too, if the configuration says so: a boot after that one finds that it had
// its ending already.
func tellReset(_ Desired, seen Observed) Decision {
	d := Decision{Phase: PhaseResetting, Effects: []Effect{Report{Required: true}}}
	switch {
	case seen.PostReset == EndingNone || seen.Journal.RestartBoot != "":
	case !seen.due(VerbRestart):
		d.Again = until(seen.Journal.Trouble.NotBefore, seen)
	default:
		d.Effects = append(d.Effects, seen.PostReset.effect("Elemental: the host was reset"))
	}
	return d
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
