package core

import "time"

// temper is how a plugin, its versions and the machine under it behave in one walk. A walk looks at each.
type temper string

const (
	temperGood          temper = "every version boots"
	temperNoRestart     temper = "versions come true without a restart"
	temperBroken        temper = "version A does not boot"
	temperUnhealthy     temper = "version A boots and is never healthy"
	temperFails         temper = "staging version A fails"
	temperRetries       temper = "staging version A is never possible for now"
	temperInvalid       temper = "version A is not understood"
	temperInvalidLate   temper = "version A turns out invalid while staging"
	temperLiar          temper = "version A is never seen to run"
	temperIdle          temper = "what is staged needs no restart and never comes true"
	temperKeepsStaged   temper = "unstaging changes nothing"
	temperCannotUnstage temper = "unstaging fails"
	temperStaysUp       temper = "a restart never begins"
	temperIgnoresStaged temper = "the boot loader ignores what is staged"
	temperForgetsReset  temper = "a reset that was begun is never seen again"
	temperNameless      temper = "the host can't be named"
)

func tempers() []temper {
	return []temper{
		temperGood, temperNoRestart, temperBroken, temperUnhealthy, temperFails, temperRetries, temperInvalid, temperInvalidLate,
		temperLiar, temperIdle, temperKeepsStaged, temperCannotUnstage, temperStaysUp, temperIgnoresStaged,
		temperForgetsReset, temperNameless,
	}
}

// Time has three moments here: long ago (the zero time), now, and later.
var (
	worldNow   = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	worldLater = worldNow.Add(time.Hour)
)

const (
	bootNow     = "now"
	bootEarlier = "earlier"
)

// world is the cluster's wish, the host's truth and the agent's memory: one state of a walk.
type world struct {
	// What the user wishes.
	version   string
	retry     string
	armed     bool
	drained   bool
	paused    bool
	bootstrap bool
	reset     bool

	// What is true of the host.
	installed  bool
	running    string
	previous   string
	staged     string
	trial      bool
	fellA      bool
	fellB      bool
	resetStage ResetStage
	swapped    bool // the restart in the middle of a reset was had
	named      bool
	dataReady  bool // bootstrap data lies on the disk
	sentinel   bool
	joined     bool // the host has joined a cluster, whoever knows it
	reported   bool

	// What the agent remembers.
	journal Journal

	// What the invariants count since the request was last new.
	stagings int
	restarts int  // since the last staging
	resets   int  // restarts for a reset since one was asked for
	endings  int  // restarts after it
	barred   bool // version A fell back under this request and must not be staged again
	barredB  bool
}

// firstWorlds are where walks begin: a host without a system, a free one, and a node of a cluster.
func firstWorlds() []world {
	free := world{installed: true, named: true, running: "0"}
	node := free
	node.bootstrap, node.dataReady, node.joined, node.reported = true, true, true, true
	node.journal = Journal{Bootstrapped: true, BootstrapBoot: bootEarlier}
	nameless := free
	nameless.named = false
	return []world{{running: "0"}, nameless, free, node}
}

func (w world) want() Desired {
	return Desired{
		Generation: 1, Version: w.version, Retry: w.retry, Reset: w.reset, Paused: w.paused,
		Armed: w.armed, Drained: w.drained, Bootstrap: w.bootstrap,
	}
}

func (w world) seen(t temper, silent bool) Observed {
	o := Observed{
		Now: worldNow, Boot: bootNow, Registered: true, Installed: w.installed, Installs: true, Named: w.named, CloudConfig: "c1", Reset: w.resetStage, PostReset: EndingReboot,
		Sentinel: w.sentinel, Reported: w.reported, Journal: w.journal, Limits: DefaultLimits(),
	}
	if silent {
		// An agent that just started knows nothing but what its plugin says.
		o.Plugin.Silent = Failure{Class: FailureFailed, Message: "it crashed"}
		o.Plugin.Silences, o.Installed, o.Reset = 1, true, ResetNone
		return o
	}
	o.Plugin = w.view(t)
	return o
}

func (w world) view(t temper) View {
	v := View{
		Current: Version{Version: w.running}, NeedsRestart: t != temperIdle && t != temperNoRestart,
		Restarts: t != temperNoRestart, Primed: w.dataReady,
	}
	switch {
	case w.resetStage == ResetUnderWay:
		v.NeedsRestart = !w.swapped
	case !w.installed:
		v.NeedsRestart = false
	}
	if w.staged != "" {
		v.Staged = Version{Version: w.staged}
	}
	asked := w.version
	if t == temperInvalid && asked == "A" {
		v.Invalid, asked = Failure{Class: FailureInvalid, Message: "unknown field"}, ""
	}
	switch {
	case w.trial:
		v.Verdict = VerdictUnconfirmed
	case asked == "" || w.running == asked && !(t == temperLiar && asked == "A"):
		v.Verdict = VerdictSatisfied
	case w.staged == asked:
		v.Verdict = VerdictStaged
	case w.fell(asked):
		v.Verdict, v.Fallen = VerdictRolledBack, Version{Version: asked}
	default:
		v.Verdict = VerdictOutdated
	}
	return v
}

func (w world) fell(version string) bool {
	return version == "A" && w.fellA || version == "B" && w.fellB
}

func (w *world) setFell(version string, fell bool) {
	switch version {
	case "A":
		w.fellA = fell
	case "B":
		w.fellB = fell
	}
}

func (w *world) bar(version string) {
	switch version {
	case "A":
		w.barred = true
	case "B":
		w.barredB = true
	}
}

// requestIsNew resets what the invariants count: the user asked for something new.
func (w *world) requestIsNew() {
	w.stagings, w.barred, w.barredB = 0, false, false
}

// plugin carries out a verb, and says how that went.
func (w *world) plugin(t temper, verb Verb) *Failure {
	switch verb {
	case VerbStage:
		return w.stage(t)
	case VerbUnstage:
		switch t {
		case temperCannotUnstage:
			return &Failure{Class: FailureFailed, Message: "cannot unstage"}
		case temperKeepsStaged:
		default:
			w.staged = ""
			w.setFell(w.version, false)
		}
	case VerbConfirm:
		if t == temperUnhealthy && w.running == "A" {
			return &Failure{Class: FailureRetryable, Message: "not healthy"}
		}
		w.trial = false
	case VerbBootstrap:
		w.dataReady = true
		if w.resetStage == ResetDone {
			w.resetStage = ResetNone
		}
	case VerbInstall:
		w.installed, w.named = true, true
	case VerbSetHostname:
		if t == temperNameless {
			return &Failure{Class: FailureFailed, Message: "cannot be named"}
		}
		w.named = true
	case VerbTriggerReset:
		w.resetStage, w.swapped = ResetUnderWay, t == temperNoRestart
	case VerbReset:
		if !w.swapped {
			return &Failure{Class: FailureFailed, Message: "the host must restart first"}
		}
		w.resetStage, w.named, w.staged, w.dataReady, w.sentinel, w.joined = ResetDone, false, "", false, false, false
	case VerbDescribe, VerbObserve, VerbRollback, VerbInstallCloudConfig, VerbRestart:
	}
	return nil
}

func (w *world) stage(t temper) *Failure {
	v := w.version
	if v == "A" {
		switch t {
		case temperFails:
			return &Failure{Class: FailureFailed, Message: "broken image"}
		case temperRetries:
			return &Failure{Class: FailureRetryable, Message: "registry is away"}
		case temperInvalidLate:
			return &Failure{Class: FailureInvalid, Message: "wrong architecture"}
		}
	}
	w.setFell(v, false)
	w.restarts = 0
	switch {
	case t == temperNoRestart:
		w.previous, w.running, w.staged = w.running, v, ""
	case v == w.running && t != temperLiar:
	default:
		w.staged = v
	}
	return nil
}

// boot is what a restart of the host does, whoever asked for it.
func (w *world) boot(t temper) {
	w.sentinel = false
	if w.resetStage == ResetUnderWay {
		w.swapped = true
		if t == temperForgetsReset {
			w.resetStage = ResetNone
		}
	}
	for _, b := range []*string{&w.journal.RestartBoot, &w.journal.BootstrapBoot} {
		if *b != "" {
			*b = bootEarlier
		}
	}
	switch {
	case w.trial || w.staged == "" || t == temperIgnoresStaged || t == temperIdle:
	case t == temperBroken && w.staged == "A":
		w.fallBack("A")
	default:
		w.previous, w.running, w.staged, w.trial = w.running, w.staged, "", true
	}
}

// fallBack is the boot loader giving up a trial.
func (w *world) fallBack(version string) {
	if w.trial {
		w.running, w.trial = w.previous, false
	}
	w.staged = ""
	w.setFell(version, true)
	if !w.journal.renewed(w.want()) { // A request that the agent has yet to take up may be tried once more.
		w.bar(version)
	}
}

// timePasses lets every moment that was awaited come.
func (w *world) timePasses() {
	w.journal.Trouble.NotBefore = time.Time{}
	w.journal.RestartAt = time.Time{}
	if !w.journal.BootstrapAt.IsZero() {
		w.journal.BootstrapAt = time.Time{}.Add(time.Second)
	}
}

// settle makes two worlds equal that only differ in how long ago something was, or how often it failed.
func (w world) settle() world {
	w.journal.LastAttempt = time.Time{}
	if w.journal.Trouble.NotBefore.After(worldNow) {
		w.journal.Trouble.NotBefore = worldLater
	} else {
		w.journal.Trouble.NotBefore = time.Time{}
	}
	w.journal.Trouble.Failures = min(w.journal.Trouble.Failures, 1)
	w.journal.Unstages = min(w.journal.Unstages, DefaultLimits().Attempts)
	return w
}

// agentStarts is what an agent does first, after it or the host was killed.
func (w *world) agentStarts() { w.journal = w.journal.Interrupted(bootNow, worldNow, 0) }

// changed is a copy of a world with something changed.
func (w world) changed(change func(*world)) world {
	change(&w)
	return w
}

// wishes are the worlds in which a user changed one thing.
func (w world) wishes() []world {
	var next []world
	for _, version := range []string{"", "A", "B"} {
		if version != w.version {
			next = append(next, w.changed(func(n *world) {
				n.version, n.drained = version, false // A drain counts for one generation.
				n.requestIsNew()
			}))
		}
	}
	next = append(next,
		w.changed(func(n *world) { n.retry, n.resets = "1", 0; n.requestIsNew() }),
		w.changed(func(n *world) { n.armed = false }),
		w.changed(func(n *world) { n.drained = !n.drained }),
		w.changed(func(n *world) { n.paused = !n.paused }),
		w.changed(func(n *world) { n.bootstrap = true }),
		w.changed(func(n *world) { n.reset, n.resets, n.endings = !n.reset, 0, 0 }),
	)
	if !w.armed {
		next = append(next, w.changed(func(n *world) { n.armed = true; n.requestIsNew() }))
	}
	return next
}

// accidents are the worlds in which one thing just happened.
func (w world) accidents(t temper) []world {
	next := []world{
		w.changed((*world).timePasses),
		w.changed(func(n *world) { n.boot(t); n.agentStarts() }),
		w.changed((*world).agentStarts),
	}
	if w.trial {
		next = append(next, w.changed(func(n *world) { n.fallBack(n.running); n.boot(t); n.agentStarts() }))
	}
	if w.dataReady && !w.sentinel && (w.journal.BootstrapBoot != bootNow || w.joined) {
		next = append(next, w.changed(func(n *world) { n.sentinel, n.joined = true, true }))
	}
	return next
}
