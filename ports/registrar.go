package ports

import (
	"context"

	"elemental/core"
)

// Registrar makes this host someone in its cluster, and keeps it so. What it learns is persisted: a host that was
// killed at any step goes on from there, and is the same host again.
type Registrar interface {
	// Identity is who the host is. ErrNotFound: it is no one yet, or what was kept is damaged, as the error then says;
	// joining makes it the same host again.
	Identity(ctx context.Context) (Identity, error)
	// Join asks the cluster to be let in, until it is, or the context ends, which is its error. Answers that let
	// the host wait are told as they come; so are errors, after which it asks again.
	Join(ctx context.Context, applicant Applicant, told func(reason, message string)) (Identity, error)
	// Keep renews the identity in time, until the context ends, which is no error. What goes wrong is told, and tried
	// again. ErrDenied: the cluster does not accept the identity any more, and the host must join again; it is the
	// same host then. Any other error: the host must connect anew, since the cluster proves itself in another way.
	// ErrNotFound: the host is no one yet.
	Keep(ctx context.Context, told func(reason, message string)) error
	// Files are what makes another system this very host: its key and its identity. ErrNotFound: the host is no one yet.
	Files(ctx context.Context) ([]File, error)
}

// Identity is who a host is in its cluster.
type Identity struct {
	Namespace string
	Host      string
	Request   string // the UID of the request that was answered with it
	Orders    Orders
}

// Orders are what the host's registration tells its OS plugin. Each is a JSON object, and empty where there is none.
type Orders struct {
	CloudConfig string // secret
	Install     string
	Reset       string
}

// Applicant is what a host says of itself when it asks to join.
type Applicant struct {
	Hostname string // that the system has
	Serial   string // of the hardware; empty: there is none, or it is not to be told
	Naming   core.NamingRule
}
