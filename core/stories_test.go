package core

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
)

// The stories are testdata/stories/*.txt. A story says, step by step, what the cluster wishes and what is true of the
// host, and what the core decides then. These are its commands; an argument without a value is true,
// and what is set stays until it is set again:
//
//	wish     version=A armed drained paused bootstrap reset retry=1 judged=x generation=2
//	host     boot=b2 registered installed installs named cloud-config=c1 post-install=powerOff post-reset=reboot verdict=staged needs-restart restarts current=… staged=… fallen=…
//	         detail=… primed sentinel reported reset=underWay silent=… invalid=…
//	journal  adopt | cloud-config HASH | begin VERB | succeed VERB | fail VERB CLASS MESSAGE… | restart | joined | noted | owing | denied | interrupted | lost
//	time     a duration that passes
//	decide   prints the decision; its phase must be one that may follow the last
type story struct {
	want  Desired
	seen  Observed
	phase Phase
}

func newStory() *story {
	return &story{
		want: Desired{Generation: 1},
		seen: Observed{
			Now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Boot: "b1", Registered: true, Installed: true, Named: true, Limits: DefaultLimits(),
			Plugin: View{Verdict: VerdictSatisfied, Current: Version{Version: "OS 1"}, NeedsRestart: true, Restarts: true},
		},
	}
}

func TestStories(t *testing.T) {
	told := map[string]bool{}
	datadriven.Walk(t, "testdata/stories", func(t *testing.T, path string) {
		s := newStory()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			return s.run(t, d, told)
		})
	})
	for _, r := range rules {
		if !told[r.because] {
			t.Errorf("no story tells of the rule %q", r.because)
		}
	}
}

func (s *story) run(t *testing.T, d *datadriven.TestData, told map[string]bool) string {
	t.Helper()
	switch d.Cmd {
	case "wish":
		for _, a := range d.CmdArgs {
			s.wish(t, a.Key, argument(a))
		}
	case "host":
		for _, a := range d.CmdArgs {
			s.host(t, a.Key, argument(a))
		}
	case "journal":
		words := make([]string, len(d.CmdArgs))
		for i, a := range d.CmdArgs {
			words[i] = a.Key
		}
		s.journal(t, words)
	case "time":
		passed, err := time.ParseDuration(d.CmdArgs[0].Key)
		if err != nil {
			t.Fatal(err)
		}
		s.seen.Now = s.seen.Now.Add(passed)
	case "decide":
		return s.decide(t, told)
	default:
		d.Fatalf(t, "there is no command %q", d.Cmd)
	}
	return ""
}

// argument is a value with the underscores that stand for spaces, and true where there is none.
func argument(a datadriven.CmdArg) string {
	if len(a.Vals) == 0 {
		return "true"
	}
	return strings.ReplaceAll(strings.Join(a.Vals, ","), "_", " ")
}

func (s *story) wish(t *testing.T, key, value string) {
	t.Helper()
	w := &s.want
	switch key {
	case "version":
		w.Version = strings.Trim(value, "-")
	case "retry":
		w.Retry = value
	case "judged":
		w.Judged = value
	case "generation":
		generation, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		w.Generation = generation
	default:
		flags := map[string]*bool{
			"armed": &w.Armed, "drained": &w.Drained, "paused": &w.Paused, "bootstrap": &w.Bootstrap, "reset": &w.Reset,
		}
		setFlag(t, flags, key, value)
	}
}

func (s *story) host(t *testing.T, key, value string) {
	t.Helper()
	o, p := &s.seen, &s.seen.Plugin
	plain := strings.Trim(value, "-")
	switch key {
	case "boot":
		o.Boot = value
	case "reset":
		o.Reset = ResetStage(plain)
	case "cloud-config":
		o.CloudConfig = plain
	case "post-install":
		o.PostInstall = Ending(plain)
	case "post-reset":
		o.PostReset = Ending(plain)
	case "verdict":
		p.Verdict = Verdict(value)
	case "current":
		p.Current = Version{Version: plain}
	case "staged":
		p.Staged = Version{Version: plain}
	case "fallen":
		p.Fallen = Version{Version: plain}
	case "detail":
		p.Detail = plain
	case "silent":
		p.Silent, p.Silences = failureSaying(FailureFailed, plain), len(plain)
	case "invalid":
		p.Invalid = failureSaying(FailureInvalid, plain)
	default:
		flags := map[string]*bool{
			"registered": &o.Registered, "installed": &o.Installed, "installs": &o.Installs, "named": &o.Named, "sentinel": &o.Sentinel, "reported": &o.Reported,
			"needs-restart": &p.NeedsRestart, "restarts": &p.Restarts, "primed": &p.Primed,
		}
		setFlag(t, flags, key, value)
	}
}

func failureSaying(class FailureClass, message string) Failure {
	if message == "" {
		return Failure{}
	}
	return Failure{Class: class, Message: message}
}

func setFlag(t *testing.T, flags map[string]*bool, key, value string) {
	t.Helper()
	flag, known := flags[key]
	if !known {
		t.Fatalf("there is nothing named %q", key)
	}
	*flag = value == "true"
}

func (s *story) journal(t *testing.T, words []string) {
	t.Helper()
	j, now := s.seen.Journal, s.seen.Now
	switch words[0] {
	case "adopt":
		j = j.Adopt(s.want)
	case "cloud-config":
		j = j.Installed(words[1])
	case "begin":
		j = j.Begin(Verb(words[1]), s.seen.Boot, now, 0)
	case "succeed":
		j = j.Succeed(Verb(words[1]))
	case "fail":
		j = j.Fail(Verb(words[1]), Failure{Class: FailureClass(words[2]), Message: strings.Join(words[3:], " ")}, now, 0)
	case "restart":
		j = j.Restart(s.seen.Boot, now)
	case "joined":
		j = j.Joined()
	case "interrupted":
		j = j.Interrupted(s.seen.Boot, now, 0)
	case "noted":
		j = j.noteReset(s.want.Reset, s.seen.Reset)
	case "owing":
		j.Ending = endingIsOwed
	case "denied":
		j = j.Fail(VerbTriggerReset, Failure{Class: FailureInvalid, Reason: ReasonPolicyDenied, Message: "the rule reset.allow does not allow it"}, now, 0)
	case "lost":
		j = Journal{}
	default:
		t.Fatalf("nothing is done to a journal by %q", words[0])
	}
	s.seen.Journal = j
}

func (s *story) decide(t *testing.T, told map[string]bool) string {
	t.Helper()
	d := Decide(s.want, s.seen)
	if !MayFollow(s.phase, d.Phase) {
		t.Errorf("the phase %q may not follow %q", d.Phase, s.phase)
	}
	s.phase, told[d.Because] = d.Phase, true
	var b strings.Builder
	fmt.Fprintf(&b, "%s, because %s\n", d.Phase, d.Because)
	var effects []string
	for _, e := range d.Effects {
		effects = append(effects, effectName(e))
	}
	fmt.Fprintf(&b, "do: %s\n", strings.Join(effects, ", "))
	if d.Outcome != "" {
		fmt.Fprintf(&b, "outcome: %s\n", d.Outcome)
	}
	if d.Again > 0 {
		fmt.Fprintf(&b, "again: %s\n", d.Again)
	}
	for _, c := range d.Conditions {
		expected := []string{ReasonRegistered, ReasonInstalled, ReasonBootstrapped}
		if c.Status != True || !slices.Contains(expected, c.Reason) {
			fmt.Fprintf(&b, "%s: %s %s %q\n", c.Type, c.Status, c.Reason, c.Message)
		}
	}
	return b.String()
}

func effectName(e Effect) string {
	switch e := e.(type) {
	case Register:
		return "register"
	case Report:
		if e.Required {
			return "report and wait"
		}
		return "report"
	case Remember:
		return "remember"
	case Call:
		return string(e.Verb)
	case Restart:
		return "restart"
	case PowerOff:
		return "power off"
	}
	return "?"
}
