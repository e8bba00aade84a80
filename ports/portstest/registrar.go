package portstest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"elemental/ports"
)

// Registrar is the door of a cluster in memory, with one host before it.
type Registrar struct {
	mutex   sync.Mutex
	changed chan struct{} // closed at the next change
	known   ports.Identity
	asked   int
	reason  string
	refuses bool
	another bool
}

// change changes something, and wakes whoever waits.
func (r *Registrar) change(do func()) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	do()
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
}

// next is closed at the next change; the mutex is held.
func (r *Registrar) next() <-chan struct{} {
	if r.changed == nil {
		r.changed = make(chan struct{})
	}
	return r.changed
}

// Hold lets the host wait for a reason from now on; none lets it in.
func (r *Registrar) Hold(reason string) { r.change(func() { r.reason = reason }) }

// Refuse ends the host's identity: the cluster knows it, and accepts it no more.
func (r *Registrar) Refuse() { r.change(func() { r.refuses = true }) }

// Change lets the cluster prove itself in another way.
func (r *Registrar) Change() { r.change(func() { r.another = true }) }

// Identity is who the host is.
func (r *Registrar) Identity(context.Context) (ports.Identity, error) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.asked == 0 {
		return ports.Identity{}, fmt.Errorf("reading the host's identity: %w", ports.ErrNotFound)
	}
	return r.known, nil
}

// Files are none but a key that says who the host is.
func (r *Registrar) Files(ctx context.Context) ([]ports.File, error) {
	known, err := r.Identity(ctx)
	if err != nil {
		return nil, err
	}
	return []ports.File{{Path: "/var/lib/elemental/agent/identity/host", Mode: 0o600, Data: []byte(known.Host)}}, nil
}

// Join lets the host in, unless it is to wait.
func (r *Registrar) Join(ctx context.Context, _ ports.Applicant, told func(reason, message string)) (ports.Identity, error) {
	for {
		identity, reason, next := r.try()
		if reason == "" {
			return identity, nil
		}
		told(reason, "it is to wait")
		select {
		case <-ctx.Done():
			return ports.Identity{}, ctx.Err()
		case <-next:
		}
	}
}

func (r *Registrar) try() (ports.Identity, string, <-chan struct{}) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.reason == "" {
		r.asked++
		r.refuses = false
		r.known = ports.Identity{Namespace: "fleet", Host: "host-1", Request: fmt.Sprintf("request-%d", r.asked)}
	}
	return r.known, r.reason, r.next()
}

// Keep waits until the host must do something.
func (r *Registrar) Keep(ctx context.Context, _ func(reason, message string)) error {
	for {
		next, err := r.look()
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-next:
		}
	}
}

func (r *Registrar) look() (<-chan struct{}, error) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	switch {
	case r.asked == 0:
		return nil, fmt.Errorf("keeping the host's identity: %w", ports.ErrNotFound)
	case r.refuses:
		return nil, fmt.Errorf("keeping the host's identity: %w", ports.ErrDenied)
	case r.another:
		r.another = false
		return nil, errors.New("the cluster proves itself in another way")
	default:
		return r.next(), nil
	}
}

var _ ports.Registrar = (*Registrar)(nil)
