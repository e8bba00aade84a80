// Package ports says what Elemental needs of the world, in Elemental's own words. One file holds one
// port. Every port has one contract suite and one in-memory fake in portstest; the suite runs on the
// fake and on the real adapters alike.
package ports

import "errors"

// The errors that callers tell apart. Adapters wrap them with what they were doing.
var (
	// ErrNotFound: what was asked for does not exist.
	ErrNotFound = errors.New("not found")
	// ErrConflict: someone else changed it meanwhile; read it again.
	ErrConflict = errors.New("conflict")
	// ErrDenied: it exists, and this identity may not do that.
	ErrDenied = errors.New("denied")
	// ErrInvalid: what was asked can't be meant, whatever the world says.
	ErrInvalid = errors.New("invalid")
	// ErrNotReady: not now; it may be later.
	ErrNotReady = errors.New("not ready")
)
