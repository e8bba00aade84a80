package core

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"
)

// The explorer walks every state that the wishes of a user, the faults of a world and the agent's own
// steps can reach, and holds each step against the invariants.

// explorer walks one temper.
type explorer struct {
	rules  []rule
	temper temper
	seen   map[world]bool
	queue  []world
	final  map[world]string // what a state comes to once faults stop
	steps  int
	limit  int // steps after which the walk ends
	broken []string
}

// mostBroken ends a walk that has seen enough.
const mostBroken = 1000

// explore walks until nothing new is found, or the limit of steps is reached.
func explore(rules []rule, t temper, limit int) *explorer {
	e := &explorer{rules: rules, temper: t, seen: map[world]bool{}, final: map[world]string{}, limit: limit}
	for _, w := range firstWorlds() {
		e.visit(w)
	}
	for len(e.queue) > 0 && e.steps < limit && len(e.broken) < mostBroken {
		w := e.queue[0]
		e.queue = e.queue[1:]
		for _, next := range append(w.wishes(), w.accidents(t)...) {
			e.step(next)
		}
		e.agent(w, false)
		e.agent(w, true)
		e.reachesAnEnd(w)
	}
	return e
}

// step counts a step that changes something, and visits where it leads.
func (e *explorer) step(next world) {
	e.steps++
	e.visit(next)
}

func (e *explorer) visit(w world) {
	w = w.settle()
	if !e.seen[w] {
		e.seen[w] = true
		e.queue = append(e.queue, w)
	}
}

func (e *explorer) breaks(invariant int, w world, d Decision, format string, args ...any) {
	e.broken = append(e.broken, fmt.Sprintf("invariant %d is broken where %s: %s\n  world: %+v\n  decision: %s %v",
		invariant, e.temper, fmt.Sprintf(format, args...), w, d.Because, d.Effects))
}

// agent takes one look and carries out what was decided, with a crash before, within and after every effect,
// and with the cluster away.
func (e *explorer) agent(w world, silent bool) {
	want, seen := w.want(), w.seen(e.temper, silent)
	d := decideBy(e.rules, want, seen)
	e.holds(w, want, d)
	for _, away := range []bool{false, true} {
		n := w
		for _, effect := range d.Effects {
			e.crash(n)
			if report, ok := effect.(Report); ok && away {
				if report.Required {
					break
				}
				continue
			}
			e.effect(&n, d, effect)
			if n.ended(effect) {
				break
			}
		}
		e.step(n)
	}
}

// ended says whether an effect ends the list: what failed, or ended the boot.
func (w world) ended(effect Effect) bool {
	switch effect.(type) {
	case Call, Restart, PowerOff:
		return true
	case Register, Remember, Report:
	}
	return false
}

// crash visits what a killed agent and a cut of the power leave of a world.
func (e *explorer) crash(w world) {
	w.agentStarts()
	e.step(w)
	w.boot(e.temper)
	e.step(w)
}

// effect carries out one effect on the world, visiting every state in which it can be cut short.
func (e *explorer) effect(w *world, d Decision, effect Effect) {
	e.allowed(*w, d, effect)
	switch f := effect.(type) {
	case Register:
	case Remember:
		w.journal = f.Journal
	case Report:
		if c, ok := Find(d.Conditions, BootstrapReady); ok && c.Status == True {
			w.reported = true
		}
		if c, ok := Find(d.Conditions, ResetReady); ok && c.Status == True {
			w.reported = false
		}
	case Call:
		w.journal = w.journal.Begin(f.Verb, bootNow, worldNow, 0)
		e.crash(*w)
		failure := w.plugin(e.temper, f.Verb)
		e.crash(*w)
		if failure != nil {
			w.journal = w.journal.Fail(f.Verb, *failure, worldNow, 0)
		} else {
			w.journal = w.journal.Succeed(f.Verb)
			if f.Verb == VerbInstallCloudConfig {
				w.journal = w.journal.Installed("c1")
			}
		}
		if f.Verb == VerbStage {
			if failure == nil || failure.Class == FailureFailed {
				w.stagings++
			}
		}
	case Restart:
		w.journal = w.journal.Restart(bootNow, worldNow)
		e.crash(*w)
		held := *w
		held.journal = held.journal.Fail(VerbRestart, Failure{Class: FailureRetryable, Message: "someone holds a lock"}, worldNow, 0)
		e.step(held)
		if e.temper != temperStaysUp {
			*w.restartsOf(d)++
			w.boot(e.temper)
			w.agentStarts()
		}
	case PowerOff: // No walk has it; to the core it is a restart.
	}
}

// restartsOf is the count of the restarts that a decision's belongs to.
func (w *world) restartsOf(d Decision) *int {
	switch d.Phase {
	case PhaseTriggeringReset:
		return &w.resets
	case PhaseResetting:
		return &w.endings
	default:
		return &w.restarts
	}
}

// holds asks the invariants that speak of a decision as a whole.
func (e *explorer) holds(w world, want Desired, d Decision) {
	for _, c := range d.Conditions {
		if c.Generation != want.Generation {
			e.breaks(3, w, d, "condition %s speaks of another generation", c.Type)
		}
		if c.Type == OSVersionReady && c.Status == True && want.Version != "" && (w.running != want.Version || w.trial) {
			e.breaks(3, w, d, "OSVersionReady is true while %q runs and %q is asked for", w.running, want.Version)
		}
	}
	if d.Again != 0 && d.Again < time.Second {
		e.breaks(1, w, d, "the host is kept busy: it looks again in %s", d.Again)
	}
	if want.Reset && !want.Paused && w.resetStage == ResetNone && !w.trial {
		for _, effect := range d.Effects {
			if call, ok := effect.(Call); ok && call.Verb != VerbTriggerReset {
				e.breaks(5, w, d, "%s comes before the reset", call.Verb)
			}
			if _, ok := effect.(Restart); ok {
				e.breaks(5, w, d, "a restart comes before the reset")
			}
		}
	}
}

// allowed asks the invariants that speak of one effect, in the state in which it begins.
func (e *explorer) allowed(w world, d Decision, effect Effect) {
	want, limit := w.want(), DefaultLimits().Attempts
	switch f := effect.(type) {
	case Call:
		switch {
		case f.Verb == VerbStage && w.journal.RestartBoot == bootNow && !w.journal.RestartAt.IsZero() && w.staged == want.Version && !w.journal.Renewing && want.Version != "":
			e.breaks(2, w, d, "version %q is staged again while its restart may still begin", want.Version)
		case f.Verb == VerbStage && w.stagings >= limit:
			e.breaks(2, w, d, "version %q is staged for the %dth time", want.Version, w.stagings+1)
		case f.Verb == VerbStage && (want.Version == "A" && w.barred || want.Version == "B" && w.barredB):
			e.breaks(7, w, d, "version %q fell back and is staged again", want.Version)
		case f.Verb == VerbStage && w.joined && !want.Armed:
			e.breaks(4, w, d, "a node that is not armed is given another version")
		case f.Verb == VerbBootstrap && w.joined:
			e.breaks(5, w, d, "a bootstrapped host is bootstrapped again")
		}
	case Restart:
		bootstrap := w.journal.BootstrapBoot == bootNow && w.dataReady && !w.joined
		switch {
		case d.Phase == PhaseTriggeringReset && w.resets >= limit:
			e.breaks(2, w, d, "the host restarts to be reset for the %dth time", w.resets+1)
		case d.Phase == PhaseResetting && w.endings >= 1:
			e.breaks(2, w, d, "a host that was reset restarts more than once")
		case bootstrap, d.Phase == PhaseTriggeringReset, d.Phase == PhaseResetting:
		case w.restarts >= 1:
			e.breaks(2, w, d, "one staging causes a second restart")
		case w.joined && !(want.Armed && want.Drained):
			e.breaks(4, w, d, "a node restarts that is not armed and drained")
		case !w.joined && (w.dataReady && w.journal.BootstrapBoot == bootEarlier):
			e.breaks(4, w, d, "a host restarts while it is being bootstrapped")
		}
	case Register, Remember, Report, PowerOff:
	}
}

// reachesAnEnd lets the faults stop and the world help, and asks that the host reaches what is asked, or
// a failure with a name, in bounded steps; and that an agent killed here would have reached the same.
func (e *explorer) reachesAnEnd(w world) {
	end, ok := e.end(w)
	if !ok {
		e.breaks(1, w, decideBy(e.rules, w.want(), w.seen(e.temper, false)), "the host comes to no end: %s", end)
		return
	}
	killed := w
	killed.agentStarts()
	if other, _ := e.end(killed.settle()); other != end {
		e.breaks(6, w, Decision{}, "killing the agent changes the end from %q to %q", end, other)
	}
}

const boundedSteps = 80

// end follows a world without faults to where nothing changes, and says what it is then.
func (e *explorer) end(w world) (string, bool) {
	var path []world
	var trace []string
	for range boundedSteps {
		if end, known := e.final[w]; known {
			for _, p := range path {
				e.final[p] = end
			}
			return end, true
		}
		path = append(path, w)
		d := decideBy(e.rules, w.want(), w.seen(e.temper, false))
		trace = append(trace, d.Because)
		end, named := e.triesForEver(w, d)
		if n := e.calm(w, d); !named && n != w {
			w = n
			continue
		}
		if !named {
			end, named = e.named(w, d)
		}
		if !named {
			return end, false
		}
		for _, p := range path {
			e.final[p] = end
		}
		return end, true
	}
	return "it does not rest: " + strings.Join(trace[len(trace)-8:], "; "), false
}

// calm carries out a decision where nothing goes wrong and the world does its part.
func (e *explorer) calm(w world, d Decision) world {
	n := w
	quiet := explorer{rules: e.rules, temper: e.temper, seen: map[world]bool{}}
	for _, effect := range d.Effects {
		quiet.effect(&n, d, effect)
		if n.ended(effect) {
			break
		}
	}
	e.broken = append(e.broken, quiet.broken...)
	n = n.settle()
	if n.counted(w) != w {
		return n
	}
	n = w
	n.timePasses()
	switch {
	case n.trial && e.temper == temperUnhealthy && n.running == "A":
		n.fallBack("A")
		n.boot(e.temper)
		n.agentStarts()
	case n.dataReady && !n.sentinel && !n.joined && n.journal.BootstrapBoot == bootEarlier:
		n.sentinel, n.joined = true, true
	case n.joined && n.armed && !n.drained:
		n.drained = true
	}
	return n.settle()
}

// counted takes over what only the invariants count.
func (w world) counted(from world) world {
	w.stagings, w.restarts, w.barred, w.barredB = from.stagings, from.restarts, from.barred, from.barredB
	w.resets, w.endings = from.resets, from.endings
	return w
}

// triesForEver names the two ends that never rest: what is retryable is retried, and a restart that a
// bootstrap needs is asked for until it begins.
func (e *explorer) triesForEver(w world, d Decision) (string, bool) {
	if c, ok := Find(d.Conditions, BootstrapReady); ok && c.Reason == ReasonBootstrapFailed {
		return "bootstrap failed", true
	}
	if c, ok := Find(d.Conditions, RegistrationReady); ok && c.Status != True {
		return "nameless", true
	}
	if e.temper == temperStaysUp && d.Because == "a reset waits for a restart" {
		return "waiting for a restart", true
	}
	if e.temper == temperRetries && w.version == "A" && d.Because == "the last attempt failed" {
		return "retrying", true
	}
	return "", false
}

// named says how a world at rest would be described, and whether that is an end that a user can act on.
func (e *explorer) named(w world, d Decision) (string, bool) {
	if w.reset {
		c, _ := Find(d.Conditions, ResetReady)
		return "reset " + c.Reason, w.resetStage == ResetDone || w.paused || c.Status == True && !w.installed || c.Reason == ReasonResetGivenUp && e.temper == temperForgetsReset
	}
	c, _ := Find(d.Conditions, OSVersionReady)
	if c.Status == True {
		bootstrap, asked := Find(d.Conditions, BootstrapReady)
		return "applied", !asked || bootstrap.Status == True || bootstrap.Reason == ReasonBootstrapFailed || w.paused
	}
	failures := []string{ReasonRolledBack, ReasonReconciliationFailed, ReasonInvalidOSVersion, ReasonNotPending}
	return c.Reason, slices.Contains(failures, c.Reason) || w.paused
}

func TestExplorerProvesTheInvariants(t *testing.T) {
	is := is.New(t)
	const limit = 150_000
	start, steps, states := time.Now(), 0, 0
	for _, temper := range tempers() {
		e := explore(rules, temper, limit)
		for _, broken := range e.broken {
			t.Error(broken)
			break // One is enough to read.
		}
		steps, states = steps+e.steps, states+len(e.seen)
		t.Logf("%-55s %8d states %9d steps, %d left to visit", temper, len(e.seen), e.steps, len(e.queue))
	}
	fmt.Printf("explorer: %d states, %d steps, %s\n", states, steps, time.Since(start).Round(time.Millisecond))
	is.True(steps >= 100_000) // The walk must be wide enough to mean something.
}

// A fence that never barked guards nothing: each case breaks one rule on purpose, and the explorer must see it.
func TestExplorerBarks(t *testing.T) {
	without := func(because string) []rule {
		return slices.DeleteFunc(slices.Clone(rules), func(r rule) bool { return r.because == because })
	}
	with := func(because string, when func(Desired, Observed) bool) []rule {
		changed := slices.Clone(rules)
		i := slices.IndexFunc(changed, func(r rule) bool { return r.because == because })
		changed[i].when = when
		return changed
	}
	cases := map[string]struct {
		rules     []rule
		temper    temper
		invariant int
	}{
		"nobody confirms": {without("this boot runs a version that is not confirmed yet"), temperGood, 1},
		"the limit of attempts is dropped": {with("the version asked for is not the one that runs", func(want Desired, seen Observed) bool {
			return seen.differs(want) && seen.mayUpdate(want) && seen.due(VerbStage)
		}), temperFails, 2},
		"a staged version restarts the host as often as it likes": {with("the version asked for is staged", func(want Desired, seen Observed) bool {
			return seen.Plugin.Verdict == VerdictStaged && seen.mayRestart(want)
		}), temperIgnoresStaged, 2},
		"a node is not drained": {with("the version asked for is staged", func(want Desired, seen Observed) bool {
			return seen.Plugin.Verdict == VerdictStaged && !seen.spent() && seen.mayUpdate(want)
		}), temperGood, 4},
		"a reset waits for the version": {slices.Concat(
			[]rule{{"the version asked for is not the one that runs", stageDue, stage}}, rules), temperGood, 5},
		"a reset that is never seen is begun without end": {without("resetting was tried as often as it may be"), temperForgetsReset, 2},
		"what fell back is tried again": {slices.Concat(
			[]rule{{"it fell back", func(want Desired, seen Observed) bool {
				return fellBack(want, seen) && !want.Reset && seen.due(VerbStage)
			}, stage}}, rules),
			temperBroken, 7},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			e := explore(c.rules, c.temper, 200_000)
			want := fmt.Sprintf("invariant %d is broken", c.invariant)
			if !slices.ContainsFunc(e.broken, func(b string) bool { return strings.HasPrefix(b, want) }) {
				t.Fatalf("the explorer did not see that %s, among %d others", want, len(e.broken))
			}
		})
	}
}
