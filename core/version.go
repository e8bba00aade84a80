package core

import "time"

// Version names one operating system as a plugin reports it. Every part may be empty.
type Version struct {
	Reference string // as it was asked for, such as oci://registry/repo:tag
	Digest    string // what the reference resolved to
	Version   string // as the system calls itself
}

// String is the shortest name that tells two versions apart.
func (v Version) String() string {
	switch {
	case v.Reference != "" && v.Digest != "":
		return v.Reference + " (" + shortDigest(v.Digest) + ")"
	case v.Reference != "":
		return v.Reference
	case v.Digest != "":
		return shortDigest(v.Digest)
	case v.Version != "":
		return v.Version
	default:
		return "an unknown version"
	}
}

// shortDigest keeps the algorithm and twelve digits, as container tools print it.
func shortDigest(d string) string {
	const keep = len("sha256:") + 12
	return d[:min(len(d), keep)]
}

// Verdict is a plugin's answer to "is the version asked for what runs?".
type Verdict string

// The verdicts. Unconfirmed stands above the others: it speaks of the running boot, whatever is asked.
const (
	VerdictSatisfied   Verdict = "satisfied"   // it runs
	VerdictOutdated    Verdict = "outdated"    // something else runs
	VerdictStaged      Verdict = "staged"      // it is written and waits
	VerdictUnconfirmed Verdict = "unconfirmed" // this boot is a trial that was not confirmed yet
	VerdictRolledBack  Verdict = "rolledBack"  // it was tried, and the boot loader fell back from it
)

// Verb is one thing that a plugin can be asked for.
type Verb string

// The verbs of the plugin protocol.
const (
	VerbDescribe           Verb = "describe"
	VerbObserve            Verb = "observe"
	VerbStage              Verb = "stage"
	VerbUnstage            Verb = "unstage"
	VerbConfirm            Verb = "confirm"
	VerbRollback           Verb = "rollback"
	VerbInstall            Verb = "install"
	VerbBootstrap          Verb = "bootstrap"
	VerbTriggerReset       Verb = "triggerReset"
	VerbReset              Verb = "reset"
	VerbSetHostname        Verb = "setHostname"
	VerbInstallCloudConfig Verb = "installCloudConfig"
)

// VerbRestart is not a plugin's: it names the end of a boot where a failure says what failed.
const VerbRestart Verb = "restart"

// FailureClass says what a failure means for the next attempt.
type FailureClass string

// The classes of failure.
const (
	FailureInvalid   FailureClass = "invalid"   // not to be tried again until the request changes
	FailureRetryable FailureClass = "retryable" // the world's fault: tried again for ever, ever more slowly
	FailureFailed    FailureClass = "failed"    // counts against the limit of attempts
)

// Failure is what went wrong, for the person who must act on it. It is an error.
type Failure struct {
	Class   FailureClass
	Reason  string // one CamelCase word for scripts, such as ImageNotFound; may be empty
	Message string
	Path    string // the field at fault, such as osVersion.imageUri; may be empty
}

// Error returns the message, with the field at fault before it.
func (f Failure) Error() string {
	if f.Path != "" {
		return f.Path + ": " + f.Message
	}
	return f.Message
}

// Outcome is what became of the version asked for.
type Outcome string

// The outcomes.
const (
	OutcomeApplied    Outcome = "Applied"
	OutcomeApplying   Outcome = "Applying"
	OutcomeStaged     Outcome = "Staged"
	OutcomeFailed     Outcome = "Failed"
	OutcomeRolledBack Outcome = "RolledBack"
)

// Limits are what a host's own configuration allows.
type Limits struct {
	Attempts          int           // how often one version may be staged
	RestartBegins     time.Duration // a restart that has not begun by then has failed
	BootstrapSucceeds time.Duration // a bootstrap whose sentinel is not there by then has failed
}

// DefaultLimits hold where the configuration says nothing.
func DefaultLimits() Limits {
	return Limits{Attempts: 3, RestartBegins: 5 * time.Minute, BootstrapSucceeds: 30 * time.Minute}
}

const (
	backoffFirst = 10 * time.Second
	backoffMost  = 10 * time.Minute
)

// Backoff is how long to wait after so many failures in a row: 10 s, doubling to 10 min, and up to a
// quarter more by jitter, which is in [0, 1).
func Backoff(failures int, jitter float64) time.Duration {
	wait := backoffMost
	if failures < 7 { // 10 s << 6 is more than 10 min.
		wait = min(backoffMost, backoffFirst<<max(0, failures-1))
	}
	return wait + time.Duration(jitter*float64(wait)/4)
}
