package ports

import (
	"context"
	"time"

	"elemental/core"
)

// Operator is the management cluster as the person at the command line sees it, with that person's own
// rights. Errors: ErrNotFound without such an object or without such a kind in the cluster, ErrDenied with the
// cluster's own words, ErrConflict, ErrNotReady when the cluster does not answer, ErrInvalid for a selector that can't
// be read.
type Operator interface {
	// List returns what is selected, by namespace and name. Names that are not there are ErrNotFound, and the error
	// says which; those that are there come with it. No right but to get is needed for names alone.
	List(ctx context.Context, selection Selection) ([]Target, error)
	// Follow calls seen with all that is selected, by namespace and name, and then with each that changes,
	// until seen returns false, which is no error, or until the context ends, which is its error. It outlives
	// a cluster that is away. Changes that no one took in time are replaced by later ones. What is deleted
	// meanwhile, or is no longer selected, is shown once as Gone. A name that is not there at the beginning
	// is ErrNotFound.
	Follow(ctx context.Context, selection Selection, seen func(Target) bool) error
	// Ask changes what is asked of one host or machine, and returns it as it then is. Asking for what is
	// already asked for changes nothing.
	Ask(ctx context.Context, of Target, change Change) (Target, error)
	// Events returns what the cluster remembers to have happened to a host or a machine, oldest first. It
	// remembers an hour or so.
	Events(ctx context.Context, of Target) ([]Event, error)
}

// Selection says which hosts or machines are meant.
type Selection struct {
	Kind       core.Kind
	Names      []string // empty: all
	Labels     string   // a label selector as kubectl reads it; empty: whatever its labels
	Fields     string   // a field selector as kubectl reads it
	Everywhere bool     // in all namespaces, not in the operator's own alone
	Objects    bool     // Target.Object is wanted
}

// Change is what becomes different in what is asked of a host or a machine. Exactly one of Image, Document and
// Retry is set.
type Change struct {
	Image    string // replaces osVersionManagement.osVersion.imageUri, and leaves all else as it is
	Document []byte // replaces osVersionManagement, as JSON
	Retry    string // renews the request of a host: any value that was not there before
	DryRun   bool   // the cluster answers as if, and nothing changes
}

// Target is one host or machine as the cluster shows it.
type Target struct {
	core.Standing
	Namespace    string
	Name         string
	Created      time.Time
	Machine      string // of a host: the ElementalMachine that it serves; empty when it serves none
	Host         string // of a machine: the ElementalHost that serves it; empty when none does
	Bootstrapped bool   // of a host
	Asked        []byte // osVersionManagement as JSON; nil when nothing is asked
	OSVersion    OSVersionStatus
	System       Facts  // of a host
	Plugin       string // of a host: its name
	Schema       []byte // of a host: the JSON Schema of osVersionManagement that its plugin published; nil: none
	Object       []byte // the whole object as JSON, where Selection.Objects asked for it
}

// Event is something that happened to a host or a machine, and how often.
type Event struct {
	Last    time.Time
	Count   int
	Warning bool
	Reason  string
	Message string
}
