package ports

import (
	"context"
	"time"

	"elemental/core"
)

// Cluster is the management cluster as one host sees it: its own object, and nothing else.
type Cluster interface {
	// Follow calls wish with what the cluster wishes of this host, at once and then on every change, until
	// the context ends, which is not an error. It outlives a cluster that is away: it connects again by
	// itself. Wishes that no one took in time are replaced by later ones; the last always arrives.
	// A host that does not exist is a wish that is not Registered.
	Follow(ctx context.Context, wish func(Wish)) error
	// Report writes the host's status. It writes nothing when nothing changed since it last did.
	// Errors: ErrNotFound without such a host, ErrDenied, ErrNotReady when the cluster is away.
	Report(ctx context.Context, report Report) error
	// Heartbeat says that the agent is alive.
	Heartbeat(ctx context.Context) error
	// BootstrapData returns what waits for this host. Errors: ErrNotFound when there is none.
	BootstrapData(ctx context.Context) (BootstrapData, error)
}

// Wish is what the cluster wishes of a host, and what it remembers of it.
type Wish struct {
	core.Desired
	Identity   string // of the host's object: one that was made anew under the same name is another
	Forgotten  bool   // the cluster does not show what was last reported: it is to be reported again
	Registered bool   // the host exists in the cluster, and is let in
	Revoked    bool   // the host exists, but its identity was revoked: it must ask to be let in again
	Reported   bool   // the cluster knows that the host is bootstrapped
	OSVersion  []byte // osVersionManagement as JSON; nil when nothing is requested
	Invalid    string // why OSVersion could not be read at all; empty when it could
}

// Report is all that a host says of itself.
type Report struct {
	Identity   string // of the object that it speaks of; a report for another is refused with ErrConflict
	Phase      core.Phase
	Generation int64
	Conditions []core.Condition
	OSVersion  OSVersionStatus
	System     Facts
	Request    string // the UID of the request by which the host got its identity
	Plugin     string // the name of the host's OS plugin
	Schema     []byte // the JSON Schema that it publishes of osVersionManagement; nil: none
}

// OSVersionStatus is what became of the version asked for.
type OSVersionStatus struct {
	Requested string // core.HashRequest
	Applied   string // the request that runs; empty when none of the known does
	Outcome   core.Outcome
	Booted    core.Version
	Staged    core.Version
	Previous  core.Version
	Attempts  int
	Armed     bool   // whether Outcome speaks of an armed host
	Retry     string // the renewal of the request that Outcome speaks of, as core.Renewal has it
	Last      time.Time
	Next      time.Time
	Failure   core.Failure
	Progress  Progress
}

// Progress is how far a long step is.
type Progress struct {
	Step    string
	Percent int // 0 to 100; -1 when it can't be told
	Message string
}

// BootstrapData makes a host a node.
type BootstrapData struct {
	Format string // cloud-config or ignition
	Data   []byte // secret
}
