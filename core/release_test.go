package core

import (
	"strings"
	"testing"

	"github.com/matryer/is"
)

func TestPart(t *testing.T) {
	says := func(status ConditionStatus, reason string, generation int64) func(*Departure) {
		return func(d *Departure) {
			d.Phase = PhaseResetting
			d.Conditions = []Condition{{Type: ResetReady, Status: status, Reason: reason, Message: "as the agent says", Generation: generation}}
		}
	}
	wasReset := says(True, ReasonReset, 7)
	deleted := func(d *Departure) { d.Deleted = true }
	asked := func(d *Departure) { d.Asked = true }
	running := func(d *Departure) { d.Phase = PhaseRunning }
	taken := func(d *Departure) { d.Taken = true }
	revoked := func(d *Departure) { d.Revoked = true }
	forced := func(d *Departure) { d.Forced = true }
	unheard := func(d *Departure) { d.Spoken, d.Phase = false, "" }
	unseen := func(d *Departure) {
		d.Alive = Condition{Status: Unknown, Reason: ReasonNotSeen, Message: "the agent was last seen at noon"}
	}
	stranded := func(d *Departure) { d.Stranded = true }
	const hint = `force-delete: "true"`

	reached := map[string]bool{}
	for name, row := range map[string]struct {
		facts   []func(*Departure)
		parting Parting
		reason  string
		words   []string // of the message, in this order
		unsaid  string   // what the message must not say
	}{
		"nothing is asked":                         {nil, PartingNone, "", nil, ""},
		"nothing is asked of one that says it was": {[]func(*Departure){wasReset}, PartingNone, "", nil, ""},
		"force-delete alone asks for nothing":      {[]func(*Departure){forced}, PartingNone, "", nil, ""},
		"revoking alone asks for nothing":          {[]func(*Departure){revoked}, PartingNone, "", nil, ""},

		"asked, and not answered":              {[]func(*Departure){asked}, PartingWaits, ReasonWaitingForReset, []string{"has not answered yet"}, hint},
		"asked, and under way":                 {[]func(*Departure){asked, says(False, ReasonWaitingForReset, 7)}, PartingWaits, ReasonWaitingForReset, []string{"as the agent says"}, hint},
		"asked, and it was reset":              {[]func(*Departure){asked, wasReset}, PartingFresh, ReasonReset, []string{"was reset"}, ""},
		"asked, of one of a former life":       {[]func(*Departure){asked, wasReset, running}, PartingWaits, ReasonWaitingForReset, []string{"has not answered yet"}, ""},
		"asked, and told of an older spec":     {[]func(*Departure){asked, says(True, ReasonReset, 6)}, PartingWaits, ReasonWaitingForReset, nil, ""},
		"asked again, and the old report":      {[]func(*Departure){asked, wasReset, taken}, PartingWaits, ReasonWaitingForReset, []string{"has not answered yet"}, ""},
		"asked, and no agent ever was":         {[]func(*Departure){asked, unheard, unseen}, PartingWaits, ReasonWaitingForReset, []string{"not answered", "last seen"}, hint},
		"asked, with force-delete":             {[]func(*Departure){asked, forced}, PartingWaits, ReasonWaitingForReset, nil, ""},
		"asked, of one that is revoked":        {[]func(*Departure){asked, revoked}, PartingWaits, ReasonWaitingForReset, nil, ""},
		"asked, and it failed":                 {[]func(*Departure){asked, says(False, ReasonResetFailed, 7)}, PartingWaits, ReasonResetFailed, []string{"as the agent says"}, hint},
		"deleted, and not answered":            {[]func(*Departure){deleted}, PartingWaits, ReasonWaitingForReset, []string{"has not answered yet"}, hint},
		"deleted, and under way":               {[]func(*Departure){deleted, says(False, ReasonWaitingForReset, 7)}, PartingWaits, ReasonWaitingForReset, []string{"as the agent says"}, hint},
		"deleted, and its policy denies it":    {[]func(*Departure){deleted, says(False, ReasonPolicyDenied, 7)}, PartingWaits, ReasonPolicyDenied, []string{"as the agent says", hint}, ""},
		"deleted, and not seen":                {[]func(*Departure){deleted, unseen}, PartingWaits, ReasonWaitingForReset, []string{"not answered", "last seen at noon", hint}, ""},
		"deleted, of one of a former life":     {[]func(*Departure){deleted, wasReset, running}, PartingWaits, ReasonWaitingForReset, nil, ""},
		"deleted, and told of what was before": {[]func(*Departure){deleted, says(True, ReasonReset, 6)}, PartingWaits, ReasonWaitingForReset, nil, ""},
		"deleted, and it was reset":            {[]func(*Departure){deleted, wasReset}, PartingGoes, ReasonReset, []string{"was reset"}, ""},
		"deleted, reset, and not seen since":   {[]func(*Departure){deleted, wasReset, unseen}, PartingGoes, ReasonReset, nil, ""},
		"deleted after it was reset":           {[]func(*Departure){deleted, says(True, ReasonReset, 6), taken, unseen}, PartingGoes, ReasonReset, []string{"before it was deleted"}, ""},
		"deleted, forced":                      {[]func(*Departure){deleted, forced, unseen}, PartingGoes, ReasonForced, []string{"stays there"}, ""},
		"deleted, and never heard of":          {[]func(*Departure){deleted, unheard, unseen}, PartingGoes, ReasonUnused, []string{"nothing to reset"}, ""},
		"deleted, and revoked":                 {[]func(*Departure){deleted, revoked}, PartingGoes, ReasonRevoked, []string{"stays there"}, ""},
		"deleted with its namespace":           {[]func(*Departure){deleted, stranded}, PartingGoes, ReasonStranded, []string{"is not known"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			d := Departure{Spoken: true, Generation: 7, Phase: PhaseRunning, Alive: Condition{Status: True, Reason: ReasonSeen, Message: "it is seen"}}
			for _, change := range row.facts {
				change(&d)
			}
			got := Part(d)
			reached[got.Because] = true
			is.Equal(got.Parting, row.parting)
			is.Equal(got.Reason, row.reason)
			at := 0
			for _, words := range row.words {
				found := strings.Index(got.Message[at:], words)
				if found < 0 {
					t.Fatalf("%q does not follow in %q", words, got.Message)
				}
				at += found
			}
			if row.unsaid != "" && strings.Contains(got.Message, row.unsaid) {
				t.Errorf("%q says %q", got.Message, row.unsaid)
			}
			is.Equal(got.Message == "", row.parting == PartingNone)
		})
	}
	for _, row := range departures {
		if !reached[row.because] {
			t.Errorf("no case reaches the row %q", row.because)
		}
	}
}

func TestAHostThatIsToBeResetIsNotReady(t *testing.T) {
	is := is.New(t)
	sum := Condition{Type: Ready, Status: True, Reason: ReasonHostReady, Generation: 3}
	is.Equal(SumParting(sum, Release{}, 4), sum)
	is.Equal(SumParting(sum, Release{Parting: PartingFresh, Reason: ReasonReset}, 4), sum)
	is.Equal(SumParting(sum, Release{Parting: PartingWaits, Reason: ReasonResetFailed, Message: "why"}, 4),
		Condition{Type: Ready, Status: False, Reason: ReasonResetFailed, Message: "why", Generation: 4})
}
