package core

import (
	"fmt"
	"slices"
	"strings"
)

// Approval is how a registration lets hosts in.
type Approval string

// The ways to be let in.
const (
	ApprovalAuto      Approval = "Auto"      // whoever holds the registration's token
	ApprovalManual    Approval = "Manual"    // whom an administrator approves, one by one
	ApprovalAllowList Approval = "AllowList" // whose serial number or key stands on the list
)

// Ruling is what an administrator said of a request to join.
type Ruling string

// The rulings.
const (
	RulingNone     Ruling = ""
	RulingApproved Ruling = "approved"
	RulingDenied   Ruling = "denied"
)

// Applicant is a host that asks to join, and what the cluster knows of it.
type Applicant struct {
	Request string // the name of its request
	KeyHash string // KeyHash of its public key; empty: the key can't be read
	Serial  string // of its hardware, as it says itself

	Registration string // the name of the registration that it came through
	Registered   bool   // that registration exists, and is not being deleted
	Approval     Approval
	AllowList    []string // serial numbers and key hashes
	MaxHosts     int      // how many hosts the registration may have; 0: any number
	Hosts        int      // how many it has

	Known   string // the host that has this very key; empty: none
	Leaving bool   // that host is being deleted
	Revoked bool   // that host's identity was revoked, and it was not let in again since
	// Told says that this request was answered with ReasonRevoked since then. Only so is a ruling known to be newer
	// than the revocation, by no clock: an older one was taken back with that answer.
	Told bool

	Ruling   Ruling
	Replaces string // the host whose place this key is to take, as the administrator says; empty: none
	Found    bool   // that host exists
}

// Joining says whether an applicant is let in.
type Joining string

// The answers to an applicant.
const (
	JoiningAdmitted Joining = "Admitted"
	JoiningWaits    Joining = "Waiting" // until someone acts
	JoiningRefused  Joining = "Refused" // for ever: the same request gets no other answer
)

// Admission is what becomes of an applicant, in words for its owner.
type Admission struct {
	Joining Joining
	Host    string // the host that it is, where that is known already; empty: a new one
	Reason  string
	Message string
	// Withdraw says that the approval is to be taken back, in one write with this answer. Another one that is given
	// after that counts.
	Withdraw bool
}

// The reasons of admissions.
const (
	ReasonKeyMismatch         = "KeyMismatch"
	ReasonNoRegistration      = "RegistrationNotFound"
	ReasonDenied              = "Denied"
	ReasonHostLeaving         = "HostIsBeingDeleted"
	ReasonRevoked             = "Revoked"
	ReasonReplacedNotFound    = "ReplacedHostNotFound"
	ReasonReplaces            = "Replaces"
	ReasonKnown               = "KnownHost"
	ReasonTooManyHosts        = "TooManyHosts"
	ReasonWaitingForApproval  = "WaitingForApproval"
	ReasonNotOnAllowList      = "NotOnAllowList"
	ReasonApproved            = "Approved"
	ReasonAutomaticallyLetIn  = "AutomaticallyApproved"
	ReasonOnAllowList         = "OnAllowList"
	ReasonRegistrationUnclear = "UnknownApproval"
)

// joinRules are tried from the top; the first that applies wins.
var joinRules = []struct {
	because string
	applies func(Applicant) bool
	answer  func(Applicant) Admission
}{
	{
		"the request does not bear its key's hash as its name", func(a Applicant) bool { return a.KeyHash == "" || a.Request != a.KeyHash },
		refuse(ReasonKeyMismatch, func(Applicant) string {
			return "a request must bear the sha256 of its public key as its name, and this one does not; the host must ask anew"
		}),
	},
	{
		"an administrator denied it, and the host with this key was revoked",
		func(a Applicant) bool { return a.Ruling == RulingDenied && a.Known != "" && a.Revoked },
		func(a Applicant) Admission {
			return Admission{
				Joining: JoiningRefused, Host: a.Known, Reason: ReasonRevoked,
				Message: fmt.Sprintf("the identity of ElementalHost %s was revoked, and an administrator denied this request", a.Known),
			}
		},
	},
	{
		"an administrator denied it", func(a Applicant) bool { return a.Ruling == RulingDenied },
		refuse(ReasonDenied, func(Applicant) string { return "an administrator denied this request" }),
	},
	{
		"its registration is gone", func(a Applicant) bool { return !a.Registered },
		wait(ReasonNoRegistration, func(a Applicant) string {
			return fmt.Sprintf("there is no ElementalRegistration %q in this namespace any more; make it again, or delete this request", a.Registration)
		}),
	},
	{
		"the host with this key is being deleted", func(a Applicant) bool { return a.Known != "" && a.Leaving },
		wait(ReasonHostLeaving, func(a Applicant) string {
			return fmt.Sprintf("ElementalHost %s has this key and is being deleted; the host can join again once it is gone", a.Known)
		}),
	},
	{
		"the host with this key was revoked, and nobody let it in again",
		func(a Applicant) bool { return a.Known != "" && a.Revoked && !(a.Ruling == RulingApproved && a.Told) },
		func(a Applicant) Admission {
			return Admission{
				Joining: JoiningWaits, Host: a.Known, Reason: ReasonRevoked, Withdraw: a.Ruling == RulingApproved,
				Message: fmt.Sprintf("the identity of ElementalHost %s was revoked, and an approval from before that counts no more; an administrator may approve this request now", a.Known),
			}
		},
	},
	{
		"it is a host that is known", func(a Applicant) bool { return a.Known != "" },
		admit(ReasonKnown, func(a Applicant) (string, string) {
			return a.Known, fmt.Sprintf("ElementalHost %s has this key", a.Known)
		}),
	},
	{
		"it is to replace a host that there is not", func(a Applicant) bool { return a.Replaces != "" && !a.Found },
		wait(ReasonReplacedNotFound, func(a Applicant) string {
			return fmt.Sprintf("it is to take the place of ElementalHost %q, which does not exist; approve it anew", a.Replaces)
		}),
	},
	{
		"it is to replace a host", func(a Applicant) bool { return a.Replaces != "" && a.Ruling == RulingApproved },
		admit(ReasonReplaces, func(a Applicant) (string, string) {
			return a.Replaces, fmt.Sprintf("an administrator gave it the place of ElementalHost %s", a.Replaces)
		}),
	},
	{
		"the registration has as many hosts as it may", func(a Applicant) bool { return a.MaxHosts > 0 && a.Hosts >= a.MaxHosts },
		wait(ReasonTooManyHosts, func(a Applicant) string {
			return fmt.Sprintf("ElementalRegistration %s has %d hosts and may have %d; raise spec.maxHosts, or delete hosts", a.Registration, a.Hosts, a.MaxHosts)
		}),
	},
	{
		"an administrator approved it", func(a Applicant) bool { return a.Ruling == RulingApproved },
		admit(ReasonApproved, func(Applicant) (string, string) { return "", "an administrator approved this request" }),
	},
	{
		"it must be approved", func(a Applicant) bool { return a.Approval == ApprovalManual },
		wait(ReasonWaitingForApproval, func(a Applicant) string {
			return "an administrator must approve it: kubectl elemental approve " + a.Request
		}),
	},
	{
		"it is not on the list", func(a Applicant) bool { return a.Approval == ApprovalAllowList && !a.listed() },
		wait(ReasonNotOnAllowList, func(a Applicant) string {
			return fmt.Sprintf("neither its serial number %q nor its key stands in spec.allowList of ElementalRegistration %s; add one, or approve it: kubectl elemental approve %s",
				a.Serial, a.Registration, a.Request)
		}),
	},
	{
		"it is on the list", func(a Applicant) bool { return a.Approval == ApprovalAllowList },
		admit(ReasonOnAllowList, func(a Applicant) (string, string) {
			return "", fmt.Sprintf("it stands in spec.allowList of ElementalRegistration %s", a.Registration)
		}),
	},
	{
		"the registration lets in whoever holds its token", func(a Applicant) bool { return a.Approval == ApprovalAuto || a.Approval == "" },
		admit(ReasonAutomaticallyLetIn, func(a Applicant) (string, string) {
			return "", fmt.Sprintf("ElementalRegistration %s lets in whoever holds its token", a.Registration)
		}),
	},
	{
		"the registration's approval is not known", func(Applicant) bool { return true },
		wait(ReasonRegistrationUnclear, func(a Applicant) string {
			return fmt.Sprintf("spec.approval of ElementalRegistration %s is %q: it must be Auto, Manual or AllowList", a.Registration, a.Approval)
		}),
	},
}

func refuse(reason string, message func(Applicant) string) func(Applicant) Admission {
	return func(a Applicant) Admission {
		return Admission{Joining: JoiningRefused, Reason: reason, Message: message(a)}
	}
}

func wait(reason string, message func(Applicant) string) func(Applicant) Admission {
	return func(a Applicant) Admission {
		return Admission{Joining: JoiningWaits, Reason: reason, Message: message(a)}
	}
}

func admit(reason string, host func(Applicant) (name, message string)) func(Applicant) Admission {
	return func(a Applicant) Admission {
		name, message := host(a)
		return Admission{Joining: JoiningAdmitted, Host: name, Reason: reason, Message: message}
	}
}

// listed says whether the applicant stands on the registration's list. A host without a serial number is on it by
// its key alone.
func (a Applicant) listed() bool {
	return slices.Contains(a.AllowList, a.KeyHash) || a.Serial != "" && slices.Contains(a.AllowList, a.Serial)
}

// Admit says what becomes of an applicant. The same arguments always give the same answer, so that a controller
// that died in between says the same again.
func Admit(a Applicant) Admission {
	for _, rule := range joinRules {
		if rule.applies(a) {
			return rule.answer(a)
		}
	}
	panic("core: the last rule applies always")
}

// mostOfHostName is how long a host's name may be: it is a node's name, and part of other objects' names and labels.
const mostOfHostName = 63

// NamingRule says how a host that joins wishes to be called. Its fields are those of a registration.
type NamingRule struct {
	UseExisting bool   // as the system calls itself already
	Prefix      string // before the serial number or the key; empty: "m-"
}

// WishedName is the name that a host asks for. The same host asks for the same name again, whatever happened in
// between. Serial is empty where there is none or it is not to be used.
func WishedName(rule NamingRule, hostname, serial, keyHash string) string {
	if existing := hostName(hostname); rule.UseExisting && existing != "" && existing != "localhost" {
		return existing
	}
	prefix, own := rule.Prefix, hostName(serial)
	if prefix == "" {
		prefix = "m-"
	}
	if own == "" {
		own = beginning(keyHash, 12)
	}
	return hostName(prefix + own)
}

// HostNames are the names that a new host may get, the most wished one first: if one belongs to someone else, the
// next is tried, and none is ever taken over.
func HostNames(wish, keyHash string) []string {
	base := hostName(wish)
	if base == "" {
		base = "m"
	}
	names := []string{base}
	for _, length := range []int{5, 10, 40} {
		suffix := "-" + beginning(keyHash, length)
		names = append(names, strings.TrimRight(beginning(base, mostOfHostName-len(suffix)), "-")+suffix)
	}
	return names
}

// hostName makes a DNS label of a text, such as a serial number that someone typed into the firmware.
func hostName(text string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		default:
			return '-'
		}
	}, beginning(text, 4*mostOfHostName))
	for strings.Contains(name, "--") {
		name = strings.ReplaceAll(name, "--", "-")
	}
	return strings.Trim(beginning(strings.Trim(name, "-"), mostOfHostName), "-")
}

// beginning returns at most so many bytes of a text.
func beginning(text string, most int) string { return text[:min(len(text), most)] }
