package core

import "fmt"

// HostReady is the condition by which a machine says how the host that serves it stands.
const HostReady = "HostReady"

// The reasons of a machine's HostReady that are not also a host's.
const (
	ReasonNoHost                = "MissingAvailableHosts"
	ReasonHostNotFound          = "AssociatedHostNotFound"
	ReasonHostWaitsForInstall   = "HostWaitingForInstall"
	ReasonHostWaitsForBootstrap = "HostWaitingForBootstrap"
)

// Service is what the cluster knows of a machine and of the host that serves it.
type Service struct {
	Generation int64  // of the machine's spec
	Spoken     int64  // the generation of which the machine's Ready last spoke, before this one
	Named      string // the host that the machine names; empty: none
	Host       string // the host that serves it; empty: there is none
	ServesElse bool   // the host serves another machine
	Other      string // that machine's name
	Forwarded  bool   // the host's spec holds what this generation of the machine asks for
	Joining    bool   // bootstrap data waits for the host, and it has not joined its cluster

	HostGeneration int64
	Ready          Condition // the host's own; empty while it says nothing
}

// SumHostReady says whether a machine's host is what the machine asks for.
//
// It never carries a generation of the machine of which the host has not spoken, since kubectl wait trusts a
// true condition whose generation is the object's: the host's spec must hold this generation's wishes, and the
// host must have answered for that very spec. Until then it keeps the generation that was spoken of last.
func SumHostReady(s Service) Condition {
	c := Condition{Type: HostReady, Status: False, Generation: s.Generation}
	switch {
	case s.Host == "" && s.Named != "":
		c.Reason = ReasonHostNotFound
		c.Message = fmt.Sprintf("there is no ElementalHost %q in this namespace, which spec.hostRef names", s.Named)
	case s.Host == "":
		c.Reason, c.Message = ReasonNoHost, "no ElementalHost serves this machine; name one in spec.hostRef"
	case s.ServesElse:
		c.Reason = ReasonNoHost
		c.Message = fmt.Sprintf("ElementalHost %s serves another machine, %s", s.Host, s.Other)
	case !s.Forwarded:
		c.Reason, c.Generation = ReasonWaitingForOSReconcile, s.Spoken
		c.Message = fmt.Sprintf("what this machine asks for is about to be forwarded to ElementalHost %s", s.Host)
	case s.Ready.Type == "" || s.Ready.Generation != s.HostGeneration:
		c.Reason, c.Generation = ReasonWaitingForOSReconcile, s.Spoken
		c.Message = fmt.Sprintf("ElementalHost %s has not yet answered for what this machine asks for", s.Host)
	case s.Joining:
		c.Reason = ReasonHostWaitsForBootstrap
		c.Message = fmt.Sprintf("ElementalHost %s has not joined the cluster yet", s.Host)
	default:
		return carryOver(c, s)
	}
	return c
}

// carryOver puts on a machine what its host says of itself.
func carryOver(c Condition, s Service) Condition {
	c.Status, c.Reason, c.Message = s.Ready.Status, s.Ready.Reason, s.Ready.Message
	switch c.Reason {
	case ReasonWaitingForInstallation, ReasonNotInstalled:
		c.Reason = ReasonHostWaitsForInstall
	case ReasonWaitingForBootstrap:
		c.Reason = ReasonHostWaitsForBootstrap
	}
	if c.Message == "" {
		c.Message = "ElementalHost " + s.Host + " says nothing more"
	}
	return c
}
