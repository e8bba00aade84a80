package core_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/matryer/is"

	"elemental/core"
)

func TestAdmit(t *testing.T) {
	const key = "5d41402abc4b2a76b9719d911017c592"
	applicant := func(change func(*core.Applicant)) core.Applicant {
		a := core.Applicant{Request: key, KeyHash: key, Serial: "S1", Registration: "field", Registered: true, Approval: core.ApprovalAuto}
		change(&a)
		return a
	}
	for _, c := range []struct {
		name    string
		change  func(*core.Applicant)
		joining core.Joining
		host    string
		reason  string
	}{
		{"it holds the token", func(*core.Applicant) {}, core.JoiningAdmitted, "", core.ReasonAutomaticallyLetIn},
		{"the registration says nothing of approval", func(a *core.Applicant) { a.Approval = "" }, core.JoiningAdmitted, "", core.ReasonAutomaticallyLetIn},
		{"its name is another", func(a *core.Applicant) { a.Request = "mine" }, core.JoiningRefused, "", core.ReasonKeyMismatch},
		{"its key can't be read", func(a *core.Applicant) { a.Request, a.KeyHash = "", "" }, core.JoiningRefused, "", core.ReasonKeyMismatch},
		{"it was denied", func(a *core.Applicant) { a.Ruling = core.RulingDenied }, core.JoiningRefused, "", core.ReasonDenied},
		{"it is known and was denied", func(a *core.Applicant) { a.Ruling, a.Known = core.RulingDenied, "a" }, core.JoiningRefused, "", core.ReasonDenied},
		{"the registration is gone", func(a *core.Applicant) { a.Registered = false }, core.JoiningWaits, "", core.ReasonNoRegistration},
		{"it is known, whatever the registration's limits", func(a *core.Applicant) {
			a.Known, a.Approval, a.MaxHosts, a.Hosts = "a", core.ApprovalManual, 1, 1
		}, core.JoiningAdmitted, "a", core.ReasonKnown},
		{"it is known and being deleted", func(a *core.Applicant) { a.Known, a.Leaving = "a", true }, core.JoiningWaits, "", core.ReasonHostLeaving},
		{"it was revoked", func(a *core.Applicant) { a.Known, a.Revoked = "a", true }, core.JoiningWaits, "a", core.ReasonRevoked},
		{"it was revoked and denied", func(a *core.Applicant) { a.Known, a.Revoked, a.Ruling = "a", true, core.RulingDenied }, core.JoiningRefused, "a", core.ReasonRevoked},
		{"it was approved and then revoked", func(a *core.Applicant) { a.Known, a.Revoked, a.Ruling = "a", true, core.RulingApproved }, core.JoiningWaits, "a", core.ReasonRevoked},
		{"it was revoked and then approved", func(a *core.Applicant) {
			a.Known, a.Revoked, a.Told, a.Ruling = "a", true, true, core.RulingApproved
		}, core.JoiningAdmitted, "a", core.ReasonKnown},
		{"there are too many", func(a *core.Applicant) { a.MaxHosts, a.Hosts = 2, 2 }, core.JoiningWaits, "", core.ReasonTooManyHosts},
		{"there is room for one", func(a *core.Applicant) { a.MaxHosts, a.Hosts = 2, 1 }, core.JoiningAdmitted, "", core.ReasonAutomaticallyLetIn},
		{"an approval does not lift the limit", func(a *core.Applicant) { a.MaxHosts, a.Hosts, a.Ruling = 2, 2, core.RulingApproved }, core.JoiningWaits, "", core.ReasonTooManyHosts},
		{"it waits for approval", func(a *core.Applicant) { a.Approval = core.ApprovalManual }, core.JoiningWaits, "", core.ReasonWaitingForApproval},
		{"it was approved", func(a *core.Applicant) { a.Approval, a.Ruling = core.ApprovalManual, core.RulingApproved }, core.JoiningAdmitted, "", core.ReasonApproved},
		{"it is not on the list", func(a *core.Applicant) { a.Approval = core.ApprovalAllowList }, core.JoiningWaits, "", core.ReasonNotOnAllowList},
		{"its serial number is on the list", func(a *core.Applicant) { a.Approval, a.AllowList = core.ApprovalAllowList, []string{"S0", "S1"} }, core.JoiningAdmitted, "", core.ReasonOnAllowList},
		{"its key is on the list", func(a *core.Applicant) { a.Approval, a.AllowList = core.ApprovalAllowList, []string{key} }, core.JoiningAdmitted, "", core.ReasonOnAllowList},
		{"no serial number is on no list", func(a *core.Applicant) { a.Approval, a.AllowList, a.Serial = core.ApprovalAllowList, []string{""}, "" }, core.JoiningWaits, "", core.ReasonNotOnAllowList},
		{"it replaces a host", func(a *core.Applicant) {
			a.Replaces, a.Found, a.Ruling, a.MaxHosts, a.Hosts = "old", true, core.RulingApproved, 1, 1
		}, core.JoiningAdmitted, "old", core.ReasonReplaces},
		{"it replaces a host that there is not", func(a *core.Applicant) { a.Replaces, a.Ruling = "old", core.RulingApproved }, core.JoiningWaits, "", core.ReasonReplacedNotFound},
		{"it wishes to replace a host and nobody approved that", func(a *core.Applicant) {
			a.Replaces, a.Found, a.Approval = "old", true, core.ApprovalManual
		}, core.JoiningWaits, "", core.ReasonWaitingForApproval},
		{"the approval is unknown", func(a *core.Applicant) { a.Approval = "Sometimes" }, core.JoiningWaits, "", core.ReasonRegistrationUnclear},
	} {
		t.Run(c.name, func(t *testing.T) {
			is := is.New(t)
			got := core.Admit(applicant(c.change))
			is.Equal(got.Joining, c.joining)
			is.Equal(got.Host, c.host)
			is.Equal(got.Reason, c.reason)
			is.True(got.Message != "")
		})
	}
}

// TestAnApprovalCountsOnlyIfItIsNewerThanTheRevocation tells what befalls one request, as whoever keeps it carries out
// the answers.
func TestAnApprovalCountsOnlyIfItIsNewerThanTheRevocation(t *testing.T) {
	const key = "5d41402abc4b2a76b9719d911017c592"
	a := core.Applicant{Request: key, KeyHash: key, Registration: "field", Registered: true, Approval: core.ApprovalManual}
	for _, step := range []struct {
		what    string
		happens func()
		joining core.Joining
		reason  string
		ruling  core.Ruling // that stands afterwards
	}{
		{"it asks", func() {}, core.JoiningWaits, core.ReasonWaitingForApproval, core.RulingNone},
		{"it is approved", func() { a.Ruling = core.RulingApproved }, core.JoiningAdmitted, core.ReasonApproved, core.RulingApproved},
		{"its host is revoked", func() { a.Known, a.Revoked = "a", true }, core.JoiningWaits, core.ReasonRevoked, core.RulingNone},
		{"it is looked at again", func() {}, core.JoiningWaits, core.ReasonRevoked, core.RulingNone},
		{"it is approved again", func() { a.Ruling = core.RulingApproved }, core.JoiningAdmitted, core.ReasonKnown, core.RulingApproved},
		{"its host is revoked again", func() { a.Revoked = true }, core.JoiningWaits, core.ReasonRevoked, core.RulingNone},
		{"it is denied", func() { a.Ruling = core.RulingDenied }, core.JoiningRefused, core.ReasonRevoked, core.RulingDenied},
		{"it is approved after all", func() { a.Ruling = core.RulingApproved }, core.JoiningAdmitted, core.ReasonKnown, core.RulingApproved},
		{"it is denied, its host is revoked, and nobody looks before it is approved", func() { a.Revoked, a.Told = true, false }, core.JoiningWaits, core.ReasonRevoked, core.RulingNone},
	} {
		t.Run(step.what, func(t *testing.T) {
			is := is.New(t)
			step.happens()
			answer := core.Admit(a)
			is.Equal(answer.Joining, step.joining)
			is.Equal(answer.Reason, step.reason)
			a.Told = answer.Reason == core.ReasonRevoked
			if answer.Withdraw {
				a.Ruling = core.RulingNone
			}
			if answer.Joining == core.JoiningAdmitted {
				a.Revoked = false
			}
			is.Equal(a.Ruling, step.ruling)
		})
	}
}

var label = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

func TestHostNames(t *testing.T) {
	is := is.New(t)
	key := strings.Repeat("0123456789", 7)[:64]
	for _, wish := range []string{"edge-1", "", "---", "Ä", "a.b.example.com", strings.Repeat("x", 300), strings.Repeat("-x", 200), "s\x00\x1b[31m\n1"} {
		names := core.HostNames(wish, key)
		is.Equal(len(names), 4)
		for _, name := range names {
			is.True(label.MatchString(name)) // every name is one that a node can have
		}
	}
	is.Equal(core.HostNames("edge-1", key)[:2], []string{"edge-1", "edge-1-01234"})
	is.True(core.HostNames("edge-1", key)[3] != core.HostNames("edge-1", "9"+key[1:])[3])
}

func TestWishedName(t *testing.T) {
	is := is.New(t)
	key := strings.Repeat("ab", 32)
	for i, c := range []struct {
		rule                     core.NamingRule
		hostname, serial, wished string
	}{
		{core.NamingRule{UseExisting: true}, "Edge-1.example.com", "S1", "edge-1-example-com"},
		{core.NamingRule{UseExisting: true}, "localhost", "S 1/2", "m-s-1-2"},
		{core.NamingRule{UseExisting: true}, "", "", "m-abababababab"},
		{core.NamingRule{}, "edge-1", "S1", "m-s1"},
		{core.NamingRule{Prefix: "site-a-"}, "edge-1", "", "site-a-abababababab"},
		{core.NamingRule{Prefix: "x"}, "", "\x00\n", "xabababababab"},
	} {
		is.Equal(fmt.Sprint(i, core.WishedName(c.rule, c.hostname, c.serial, key)), fmt.Sprint(i, c.wished))
	}
}
