package core

import "time"

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
	{"the host was reset, and this boot is to end", endingOwed, endReset},
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
func endingOwed(want Desired, seen Observed) bool {
	return seen.Journal.Ending == endingIsOwed && seen.PostReset != EndingNone && seen.due(VerbRestart) &&
		(!seen.Registered || resetDone(want, seen))
}
func resetDone(want Desired, seen Observed) bool {
	nothing := !want.Paused && seen.Reset == ResetNone && uninstalled(want, seen)
	return want.Reset && (seen.Reset == ResetDone && seen.Journal.ResetTaken || nothing)
}
func resetAsked(want Desired, seen Observed) bool {
	return want.Reset && !want.Paused && seen.Reset != ResetUnderWay && !pluginSilent(want, seen) && !unconfirmed(want, seen)
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
