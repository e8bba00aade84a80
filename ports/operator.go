package ports

import (
	"context"
	"time"

	"elemental/core"
)

// Operator is the management cluster as the person at the command line sees it, with that person's own
// rights. Errors: ErrNotFound without such a host or without such a cluster's kind, ErrDenied with the
// cluster's own words, ErrNotReady when the cluster does not answer.
type Operator interface {
	// List returns the hosts of the operator's namespace, or of all of them, by namespace and name.
	List(ctx context.Context, everywhere bool) ([]Host, error)
	// Get returns one host of the operator's namespace.
	Get(ctx context.Context, name string) (Host, error)
	// Follow calls seen with a host as it is now and then on every change, until seen returns false, which is
	// no error, or until the context ends, which is its error. It outlives a cluster that is away. Changes that
	// no one took in time are replaced by later ones. A host that is deleted meanwhile is one that is Gone.
	Follow(ctx context.Context, name string, seen func(Host) bool) error
	// RequestImage asks for an image on one host, leaves everything else that is asked of it as it is, and
	// returns the host as it then is. Asking for what is already asked for changes nothing.
	RequestImage(ctx context.Context, name, reference string) (Host, error)
}

// Host is one host as the cluster shows it.
type Host struct {
	core.Standing
	Namespace    string
	Name         string
	Created      time.Time
	Machine      string // the ElementalMachine that it serves; empty when it serves none
	Bootstrapped bool
	Booted       core.Version
	Progress     Progress // Step is empty while nothing is under way
}
