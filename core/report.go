package core

import (
	"fmt"
	"time"
)

// conditions are what the agent says of its host, whatever the row that decided: each is present only
// while it has something to say.
func conditions(want Desired, seen Observed, d Decision) []Condition {
	var all []Condition
	say := func(kind string, status ConditionStatus, reason, message string) {
		all = append(all, Condition{Type: kind, Status: status, Reason: reason, Message: message, Generation: want.Generation})
	}
	if !seen.Registered {
		say(RegistrationReady, False, ReasonRegistrationFailed, "the cluster does not know this host")
		return all
	}
	if trouble := seen.Journal.Trouble; !seen.Named && !seen.bootstrapped() && trouble.Verb == VerbSetHostname {
		say(RegistrationReady, False, ReasonNameNotSet, "the host does not bear its name: "+trouble.Error())
	} else {
		say(RegistrationReady, True, ReasonRegistered, "the host is known to this cluster")
	}
	sayInstalled(seen, say)
	sayBootstrapped(want, seen, say)
	sayReset(want, seen, say)
	status, reason, message := osVersion(want, seen, d)
	say(OSVersionReady, status, reason, message)
	return all
}

type sayFunc func(kind string, status ConditionStatus, reason, message string)

func sayInstalled(seen Observed, say sayFunc) {
	switch {
	case seen.Plugin.Silent.Class != "": // Nobody knows; what was said before stands.
	case seen.Installed && !seen.finished() && !seen.bootstrapped() && seen.Journal.Trouble.Verb == VerbInstallCloudConfig:
		say(InstallationReady, False, ReasonCloudConfigFailed, "the cloud config of the registration is not installed: "+seen.Journal.Trouble.Error())
	case seen.Installed && !seen.finished() && !seen.bootstrapped():
		say(InstallationReady, False, ReasonWaitingForInstallation, "the host is to bear its name and to have the cloud config of its registration")
	case seen.Installed:
		say(InstallationReady, True, ReasonInstalled, "the system is installed")
	case seen.Installs && seen.Plugin.NeedsRestart:
		say(InstallationReady, False, ReasonWaitingForInstallation, "the system is installed, and runs when the host starts next")
	case seen.Journal.Trouble.Verb == VerbInstall:
		say(InstallationReady, False, ReasonInstallationFailed, seen.Journal.Trouble.Error())
	case !seen.Installs:
		say(InstallationReady, False, ReasonNotInstalled, "the system is not installed: run elemental agent install on the host")
	default:
		say(InstallationReady, False, ReasonWaitingForInstallation, "the system is being installed")
	}
}

func sayBootstrapped(want Desired, seen Observed, say sayFunc) {
	trouble := seen.Journal.Trouble
	late := !seen.Journal.BootstrapAt.IsZero() && !seen.Now.Before(seen.Journal.BootstrapAt.Add(seen.Limits.BootstrapSucceeds))
	switch {
	case seen.bootstrapped():
		say(BootstrapReady, True, ReasonBootstrapped, "the host has joined its cluster")
	case seen.bootstrapping() && late:
		say(BootstrapReady, False, ReasonBootstrapFailed, fmt.Sprintf(
			"bootstrapping has not succeeded %s after its data was applied: see the log of cloud-init and of the kubelet on the host", seen.Limits.BootstrapSucceeds))
	case seen.bootstrapping() && trouble.Verb == VerbRestart && trouble.Class != "":
		say(BootstrapReady, False, ReasonBootstrapFailed, trouble.Error())
	case seen.bootstrapping():
		say(BootstrapReady, False, ReasonWaitingForBootstrap, "bootstrap data was applied; its success is awaited")
	case want.Bootstrap && trouble.Verb == VerbBootstrap:
		say(BootstrapReady, False, ReasonBootstrapFailed, trouble.Error())
	case want.Bootstrap && !seen.finished():
		say(BootstrapReady, False, ReasonWaitingForBootstrap, "bootstrap data waits until the host bears its name and has the cloud config of its registration")
	case want.Bootstrap:
		say(BootstrapReady, False, ReasonWaitingForBootstrap, "bootstrap data waits until the version asked for runs")
	}
}

func sayReset(want Desired, seen Observed, say sayFunc) {
	trouble := seen.Journal.Trouble
	switch {
	case seen.Reset == ResetDone && (!want.Reset || seen.Journal.ResetTaken):
		say(ResetReady, True, ReasonReset, "the host was reset")
	case !want.Reset && seen.Reset == ResetNone:
	case resetDone(want, seen):
		say(ResetReady, True, ReasonReset, "nothing is installed that could be reset")
	case unconfirmed(want, seen) && seen.Reset != ResetUnderWay && !want.Paused:
		say(ResetReady, False, ReasonWaitingForReset, "the host is reset once the version on trial is confirmed, or was given up")
	case want.Paused && seen.Reset != ResetUnderWay:
		say(ResetReady, False, ReasonWaitingForReset, "the cluster paused this host: it is reset once it is no longer paused")
	case resetInVain(want, seen):
		say(ResetReady, False, ReasonResetGivenUp, fmt.Sprintf(
			"the plugin began %d resets and ended none; the next is begun when the retry annotation has a new value", seen.Journal.Resets))
	case trouble.Reason == ReasonPolicyDenied && trouble.Verb == VerbTriggerReset:
		say(ResetReady, False, ReasonPolicyDenied, trouble.Error())
	case trouble.Verb == VerbTriggerReset || trouble.Verb == VerbReset || trouble.Verb == VerbRestart && trouble.Class != "":
		say(ResetReady, False, ReasonResetFailed, trouble.Error())
	default:
		say(ResetReady, False, ReasonWaitingForReset, "the host is being reset")
	}
}

// osVersion is the truth about the version asked for. It is true only where the plugin observed that this
// version is what runs, or where none was asked for.
func osVersion(want Desired, seen Observed, d Decision) (ConditionStatus, string, string) {
	plugin, trouble := seen.Plugin, seen.Journal.Trouble
	switch {
	case pluginSilent(want, seen):
		return False, ReasonReconciliationFailed, "the plugin gives no answer: " + plugin.Silent.Error()
	case unconfirmed(want, seen):
		message := plugin.Current.String() + " runs on trial until its health checks hold"
		if trouble.Verb == VerbConfirm {
			message = plugin.Current.String() + " runs on trial and is not healthy: " + trouble.Error()
		}
		return False, ReasonWaitingForOSReconcile, message
	case fellBack(want, seen) && d.Outcome == OutcomeRolledBack:
		return False, ReasonRolledBack, withDetail(fmt.Sprintf("the boot loader fell back from %s to %s", plugin.Fallen, plugin.Current), plugin.Detail)
	case invalid(want, seen):
		return False, ReasonInvalidOSVersion, plugin.Invalid.Error()
	case want.Version == "":
		return True, ReasonNothingRequested, "no OS version is requested; the host runs " + plugin.Current.String()
	case seen.settled(want):
		return True, ReasonApplied, withDetail("the host runs "+plugin.Current.String(), plugin.Detail)
	case want.Reset && !want.Paused:
		return False, ReasonWaitingForOSReconcile, "the host is being reset; it runs " + plugin.Current.String()
	case seen.bootstrapping():
		return False, ReasonWaitingForOSReconcile, "the version asked for waits for the end of bootstrapping; the host runs " + plugin.Current.String()
	case want.Paused:
		return False, ReasonWaitingForOSReconcile, "the cluster paused this host; it runs " + plugin.Current.String()
	case restartAwaited(want, seen):
		return False, ReasonWaitingForReboot, "the host restarts into " + plugin.Staged.String()
	case stagedHeldUp(want, seen) && trouble.Verb == VerbRestart && trouble.Class != "":
		return False, ReasonWaitingForReboot, plugin.Staged.String() + " is staged and the restart is held up: " + trouble.Error()
	case stagedHeldUp(want, seen):
		return False, ReasonWaitingForReboot, withDetail("the host will restart into "+plugin.Staged.String(), plugin.Detail)
	case stagedUndrained(want, seen):
		return False, ReasonWaitingForDrain, withDetail(plugin.Staged.String()+" is staged; the host restarts into it once its node is drained", plugin.Detail)
	case seen.exhausted():
		return failure(seen, "it is not tried again until osVersionManagement changes or the retry annotation has a new value")
	case !seen.mayUpdate(want):
		return False, ReasonNotPending, withDetail(fmt.Sprintf(
			"the host is a node and runs %s; drain the node and set its in-place-update label to pending to update it", plugin.Current), plugin.Detail)
	case trouble.Verb == VerbStage && !seen.due(VerbStage):
		return failure(seen, "it is tried again at "+trouble.NotBefore.UTC().Format(time.RFC3339))
	default:
		return False, ReasonWaitingForOSReconcile, "the version asked for is being staged; the host runs " + plugin.Current.String()
	}
}

// failure words a staging that failed, and what comes next.
func failure(seen Observed, next string) (ConditionStatus, string, string) {
	trouble := seen.Journal.Trouble
	reason, message := ReasonReconciliationFailed, trouble.Error()
	switch {
	case trouble.Class == FailureInvalid && trouble.Reason == ReasonPolicyDenied:
		reason = ReasonPolicyDenied
	case trouble.Class == FailureInvalid:
		reason = ReasonInvalidOSVersion
	case seen.spent():
		message = withDetail(seen.Plugin.Staged.String()+" was staged and did not come to run", message)
	case trouble.Verb != VerbStage:
		message = "it was staged and the plugin still does not see it run"
	}
	count := fmt.Sprintf("attempt %d of %d; ", seen.Journal.Attempts, seen.Limits.Attempts)
	switch {
	case seen.Journal.Attempts >= seen.Limits.Attempts:
	case trouble.Class == FailureInvalid:
		count = ""
	case trouble.Class == FailureRetryable:
		count = fmt.Sprintf("failure %d in a row; ", trouble.Failures)
	}
	return False, reason, fmt.Sprintf("%s (%s%s); the host runs %s", message, count, next, seen.Plugin.Current)
}
