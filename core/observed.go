package core

import "time"

// Desired is what the management cluster wishes of one host.
type Desired struct {
	Generation int64  // of the host's spec, carried by every condition
	Version    string // HashRequest of osVersionManagement; empty: nothing is requested
	Retry      string // the value of the retry annotation; a new value renews the request
	Reset      bool   // the object was deleted, or a reset is asked
	Paused     bool
	Armed      bool   // the in-place-update label is pending
	Judged     string // the outcome by which the controller last disarmed this host; empty: it never did
	Drained    bool   // for this generation the node is drained, or needs no draining
	Bootstrap  bool   // bootstrap data waits for this host
}

// Observed is what is true of the host now.
type Observed struct {
	Now        time.Time
	Boot       string // the boot ID of the running kernel
	Registered bool
	Installed  bool
	Installs   bool // whoever runs the agent let it install the system
	Named      bool // the host bears the name of its object, or is not to
	// CloudConfig is the hash of the cloud config that the host's registration wants installed; empty: none.
	CloudConfig string
	Reset       ResetStage
	Sentinel    bool // Cluster API's sentinel file exists: this boot saw bootstrapping succeed
	Reported    bool // the cluster knows that the host is bootstrapped
	Plugin      View
	Journal     Journal
	Limits      Limits
	// What follows an installation and a reset.
	PostInstall, PostReset Ending
}

// Ending is how a boot ends that has done its work.
type Ending string

// The endings. Without one the host goes on, unless what was done comes true by a restart.
const (
	EndingNone     Ending = ""
	EndingReboot   Ending = "reboot"
	EndingPowerOff Ending = "powerOff"
)

// ResetStage is how far a reset has come.
type ResetStage string

// The stages of a reset.
const (
	ResetNone     ResetStage = ""
	ResetUnderWay ResetStage = "underWay" // from triggerReset on
	ResetDone     ResetStage = "done"     // from reset on, until the host is bootstrapped or reset again
)

// View is what the plugin says of the host, asked with the version that the cluster requests.
type View struct {
	Verdict      Verdict
	NeedsRestart bool // what is staged comes true by a restart; so does a reset that is under way, and an installation
	Restarts     bool // this plugin's versions come true by a restart, as it says of itself
	Primed       bool // bootstrap data was applied: it takes effect, or took effect, with a restart
	Current      Version
	Staged       Version
	Previous     Version
	Fallen       Version // what the boot loader fell back from
	Detail       string  // why it rolled back, or what else a person should know
	Silent       Failure // the plugin gave no answer; Class is empty when it did
	Invalid      Failure // the plugin does not understand the request; Class is empty when it does
	Silences     int     // how often in a row it gave no answer
}

// stagedOther says that something is staged that is not the version asked for.
func (v View) stagedOther() bool {
	return v.Verdict != VerdictStaged && v.Staged != Version{}
}

// bootstrapped says whether the host has joined a cluster. The sentinel is lost with /run and the
// cluster's memory with a restored backup, so any one of the three is enough. A host that was reset since is fresh,
// whatever is remembered of it.
func (o Observed) bootstrapped() bool {
	return o.Reset != ResetDone && (o.Sentinel || o.Reported || o.Journal.Bootstrapped)
}

// bootstrapping says whether bootstrap data was applied and its success is still awaited.
func (o Observed) bootstrapping() bool {
	return o.Plugin.Primed && o.Reset != ResetDone && !o.bootstrapped()
}

// mayUpdate says whether the host's version may change at all.
func (o Observed) mayUpdate(want Desired) bool { return !o.bootstrapped() || want.Armed }

// mayRestart says whether the host may restart for its version.
func (o Observed) mayRestart(want Desired) bool {
	return !o.bootstrapped() || want.Armed && want.Drained
}

// restarting says that a restart was asked for in this boot and may still begin.
func (o Observed) restarting() bool {
	j := o.Journal
	return j.RestartBoot == o.Boot && o.Now.Before(j.RestartAt.Add(o.Limits.RestartBegins))
}

// spent says that what is staged is to be staged again: it had its restart and did not come to run, can
// have none, or was asked for anew since.
func (o Observed) spent() bool {
	return o.Plugin.Verdict == VerdictStaged &&
		(!o.Plugin.NeedsRestart || o.Journal.Renewing || o.Journal.RestartBoot != "" && !o.restarting())
}

// differs says that the version asked for is not what runs, and that only staging it helps.
func (o Observed) differs(want Desired) bool {
	if want.Version == "" {
		return false
	}
	return o.Plugin.Verdict == VerdictOutdated || o.spent() ||
		o.Journal.Renewing && o.Plugin.Verdict == VerdictSatisfied && o.mayUpdate(want)
}

// settled says that the version asked for runs, or that none was.
func (o Observed) settled(want Desired) bool {
	return want.Version == "" && o.Plugin.Invalid.Class == "" || o.Plugin.Verdict == VerdictSatisfied && o.Plugin.Invalid.Class == "" && !o.differs(want)
}

// unjoined says that the host has not begun to join a cluster, and may be changed. The name of a node is not to.
func (o Observed) unjoined(want Desired) bool {
	return !o.bootstrapped() && !o.bootstrapping() && !want.Paused && !want.Reset
}

// finished says that the host is what its registration wants it to be, before it joins a cluster.
func (o Observed) finished() bool { return o.Named && o.CloudConfig == o.Journal.CloudConfig }

// due says whether a verb may be tried now: it did not fail last, or has waited long enough since.
func (o Observed) due(verb Verb) bool {
	t := o.Journal.Trouble
	return t.Verb != verb || !o.Now.Before(t.NotBefore)
}

// exhausted says that staging this version will not be tried again until the request is new.
func (o Observed) exhausted() bool {
	t := o.Journal.Trouble
	return o.Journal.Attempts >= o.Limits.Attempts || t.Verb == VerbStage && t.Class == FailureInvalid
}
