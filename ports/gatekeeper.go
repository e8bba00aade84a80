package ports

import (
	"context"
	"time"

	"elemental/core"
)

// Gatekeeper is how the person at the command line lets hosts in and shuts them out, with that person's own rights.
// Errors: ErrNotFound without such an object or without such a kind in the cluster, ErrDenied with the cluster's own
// words, ErrConflict when the request is another one by now, ErrNotReady when the cluster does not answer.
type Gatekeeper interface {
	// Registrations returns the registrations of the operator's own namespace, by name; one alone, with its bundle,
	// where it is named.
	Registrations(ctx context.Context, name string) ([]Registration, error)
	// Requests returns the requests to join, by namespace and age, the oldest first.
	Requests(ctx context.Context, selection RequestSelection) ([]JoinRequest, error)
	// FollowRequests calls seen with all requests, the oldest first, and then with each that changes, until seen
	// returns false, which is no error, or until the context ends, which is its error. It outlives a cluster that is
	// away. What is deleted meanwhile is shown once as Gone, and then has nothing but its name.
	FollowRequests(ctx context.Context, selection RequestSelection, seen func(JoinRequest) bool) error
	// Rule approves or denies a request, in place of any ruling before. The ruling bears the operator's name.
	Rule(ctx context.Context, of JoinRequest, verdict Verdict) error
	// Revoke ends the identity of a host of the operator's own namespace, and waits so long for its tokens to be dead.
	// The mark that it leaves bears the operator's name. An error says that nothing was asked.
	Revoke(ctx context.Context, host, why string, patience time.Duration) (Revocation, error)
}

// RequestSelection says which requests are meant.
type RequestSelection struct {
	Everywhere bool // in all namespaces, not in the operator's own alone
	Objects    bool // JoinRequest.Object is wanted
}

// Registration lets hosts join.
type Registration struct {
	Namespace string
	Name      string
	Approval  core.Approval
	Hosts     int            // that live and joined through it
	Ready     core.Condition // whether hosts can join; without a Status: the controller has not said
	Expires   time.Time      // when the bundle's token ends; zero: never, or not known
	Lasting   bool           // the token is to have no end
	Agent     AgentSettings
	Bundle    *Bundle // nil: it is not there, or was not asked for
}

// AgentSettings are what a registration tells the agents of its hosts. What is empty is left to the agent.
type AgentSettings struct {
	WorkDir  string
	OSPlugin string
	Naming   core.NamingRule
	NoSMBIOS bool
	Debug    bool
	// What follows an installation and a reset.
	PostInstall, PostReset core.Ending
}

// Bundle is all that a host needs to ask to join. The token is secret.
type Bundle struct {
	Server       string // the URL of the API server
	CA           string // PEM
	Namespace    string
	Registration string
	Token        string
}

// JoinRequest is a host that asks to join.
type JoinRequest struct {
	Namespace    string
	Name         string // the hash of its key
	UID          string
	Created      time.Time
	Registration string
	Hostname     string // that it wishes for
	Serial       string // of its hardware, as it says
	Ruling       core.Ruling
	Ruled        string // who ruled, and why
	Replaces     string // the host whose place it is to take
	Host         string // the host that it is; empty: none yet
	// Admitted is the controller's answer; without a Status there is none yet.
	Admitted core.Condition
	Gone     bool
	Object   []byte // the whole object as JSON, where it was asked for
}

// Verdict is what an operator says of a request.
type Verdict struct {
	Ruling   core.Ruling // approved or denied
	Why      string
	Replaces string // the host whose place it takes, with that host's name and history; only of one that is approved
}

// Revocation says how far the end of an identity has come.
type Revocation string

// The ends of identities.
const (
	RevocationDone   Revocation = "done"   // its tokens are dead
	RevocationAsked  Revocation = "asked"  // the controller has not ended them in time
	RevocationUnseen Revocation = "unseen" // it was asked for; the operator may not see what the tokens are bound to
)
