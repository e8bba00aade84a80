package portstest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"elemental/core"
	"elemental/ports"
)

// Gate puts registrations, requests to join and hosts into the cluster that an operator sees, and answers as the
// controller would. Objects are of the operator's own namespace unless they name another.
type Gate interface {
	// Register makes a registration, with its bundle if it has one.
	Register(t *testing.T, registration ports.Registration)
	// Knock makes a request to join, and returns its name. What follows from a ruling is ignored.
	Knock(t *testing.T, request ports.JoinRequest) string
	// Answer is the controller's to a request.
	Answer(t *testing.T, request, host string, admitted core.Condition)
	// Withdraw deletes a request.
	Withdraw(t *testing.T, request string)
	// Settle makes a host with an identity. Stubborn: nobody ends that when it is revoked.
	Settle(t *testing.T, host string, stubborn bool)
	// Mark is what a host was revoked with; empty: it was not.
	Mark(t *testing.T, host string) string
}

// Gatekeeper is an in-memory ports.Gatekeeper, and its own Gate. Its own namespace is "default", and its operator is
// called "tester".
type Gatekeeper struct {
	Error  error // what every call answers, when it is set before the call
	Unseen bool  // the operator may not see what tokens are bound to

	mutex         sync.Mutex
	registrations []ports.Registration
	requests      []ports.JoinRequest
	hosts         map[string]*settled
	made          int
	changed       chan struct{}
}

type settled struct {
	mark     string
	stubborn bool
}

var (
	_ ports.Gatekeeper = (*Gatekeeper)(nil)
	_ Gate             = (*Gatekeeper)(nil)
)

// change does something, and wakes all who follow.
func (g *Gatekeeper) change(do func()) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	do()
	if g.changed != nil {
		close(g.changed)
	}
	g.changed = make(chan struct{})
}

// next is closed by the next change.
func (g *Gatekeeper) next() <-chan struct{} {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	if g.changed == nil {
		g.changed = make(chan struct{})
	}
	return g.changed
}

// Register makes a registration.
func (g *Gatekeeper) Register(_ *testing.T, registration ports.Registration) {
	registration.Namespace = cmp.Or(registration.Namespace, ownNamespace)
	g.change(func() { g.registrations = append(g.registrations, registration) })
}

// Knock makes a request.
func (g *Gatekeeper) Knock(_ *testing.T, request ports.JoinRequest) string {
	request.Namespace = cmp.Or(request.Namespace, ownNamespace)
	g.change(func() {
		g.made++
		request.Name = cmp.Or(request.Name, fmt.Sprintf("%064x", g.made))
		request.UID = fmt.Sprint("uid-", g.made)
		g.requests = append(g.requests, request)
	})
	return request.Name
}

// Answer answers a request.
func (g *Gatekeeper) Answer(t *testing.T, request, host string, admitted core.Condition) {
	t.Helper()
	g.change(func() {
		if r := g.request("", request); r != nil {
			r.Host, r.Admitted = host, admitted
		} else {
			t.Errorf("there is no request %s", request)
		}
	})
}

// Withdraw deletes a request.
func (g *Gatekeeper) Withdraw(_ *testing.T, request string) {
	g.change(func() {
		g.requests = slices.DeleteFunc(g.requests, func(r ports.JoinRequest) bool { return r.Name == request })
	})
}

// Settle makes a host.
func (g *Gatekeeper) Settle(_ *testing.T, host string, stubborn bool) {
	g.change(func() {
		if g.hosts == nil {
			g.hosts = map[string]*settled{}
		}
		g.hosts[host] = &settled{stubborn: stubborn}
	})
}

// Mark is what a host was revoked with.
func (g *Gatekeeper) Mark(_ *testing.T, host string) string {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	return g.hosts[host].mark
}

func (g *Gatekeeper) request(namespace, name string) *ports.JoinRequest {
	for i := range g.requests {
		if r := &g.requests[i]; r.Name == name && r.Namespace == cmp.Or(namespace, ownNamespace) {
			return r
		}
	}
	return nil
}

// Registrations returns registrations.
func (g *Gatekeeper) Registrations(ctx context.Context, name string) ([]ports.Registration, error) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	if err := errors.Join(ctx.Err(), g.Error); err != nil {
		return nil, err
	}
	var found []ports.Registration
	for _, r := range g.registrations {
		switch {
		case r.Namespace != ownNamespace || name != "" && r.Name != name:
			continue
		case name == "":
			r.Bundle = nil
		}
		found = append(found, r)
	}
	if name != "" && len(found) == 0 {
		return nil, fmt.Errorf("reading ElementalRegistration %s/%s: %w", ownNamespace, name, ports.ErrNotFound)
	}
	slices.SortFunc(found, func(a, b ports.Registration) int { return cmp.Compare(a.Name, b.Name) })
	return found, nil
}

// Requests returns requests.
func (g *Gatekeeper) Requests(ctx context.Context, selection ports.RequestSelection) ([]ports.JoinRequest, error) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	if err := errors.Join(ctx.Err(), g.Error); err != nil {
		return nil, err
	}
	var found []ports.JoinRequest
	for _, r := range g.requests {
		if r.Namespace != ownNamespace && !selection.Everywhere {
			continue
		}
		if selection.Objects {
			r.Object = fmt.Appendf(nil, `{"apiVersion":"infrastructure.cluster.x-k8s.io/v1beta1","kind":"ElementalHostRequest","metadata":{"name":%q,"namespace":%q}}`, r.Name, r.Namespace)
		}
		found = append(found, r)
	}
	slices.SortStableFunc(found, func(a, b ports.JoinRequest) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), a.Created.Compare(b.Created), cmp.Compare(a.Name, b.Name))
	})
	return found, nil
}

// FollowRequests shows requests, and their changes.
func (g *Gatekeeper) FollowRequests(ctx context.Context, selection ports.RequestSelection, seen func(ports.JoinRequest) bool) error {
	shown := map[string]ports.JoinRequest{}
	for {
		changed := g.next()
		requests, err := g.Requests(ctx, selection)
		if err != nil {
			return err
		}
		there := map[string]bool{}
		for _, r := range requests {
			key := r.Namespace + "/" + r.Name
			there[key] = true
			if before, known := shown[key]; known && reflect.DeepEqual(before, r) {
				continue
			}
			shown[key] = r
			if !seen(r) {
				return nil
			}
		}
		for key, r := range shown {
			if there[key] {
				continue
			}
			delete(shown, key)
			if !seen(ports.JoinRequest{Namespace: r.Namespace, Name: r.Name, Gone: true}) {
				return nil
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Rule approves or denies.
func (g *Gatekeeper) Rule(ctx context.Context, of ports.JoinRequest, verdict ports.Verdict) error {
	if err := errors.Join(ctx.Err(), g.Error); err != nil {
		return err
	}
	err := error(nil)
	g.change(func() {
		r := g.request(of.Namespace, of.Name)
		switch {
		case r == nil:
			err = fmt.Errorf("ruling on ElementalHostRequest %s/%s: %w", of.Namespace, of.Name, ports.ErrNotFound)
		case r.UID != of.UID:
			err = fmt.Errorf("ruling on ElementalHostRequest %s/%s: %w", of.Namespace, of.Name, ports.ErrConflict)
		default:
			r.Ruling, r.Replaces, r.Ruled = verdict.Ruling, verdict.Replaces, string(verdict.Ruling)+" by tester"
			if verdict.Why != "" {
				r.Ruled += ": " + verdict.Why
			}
		}
	})
	return err
}

// Revoke ends an identity.
func (g *Gatekeeper) Revoke(ctx context.Context, host, why string, _ time.Duration) (ports.Revocation, error) {
	if err := errors.Join(ctx.Err(), g.Error); err != nil {
		return "", err
	}
	var known *settled
	g.change(func() {
		if known = g.hosts[host]; known != nil {
			known.mark = "revoked by tester"
			if why != "" {
				known.mark += ": " + why
			}
		}
	})
	switch {
	case known == nil:
		return "", fmt.Errorf("revoking ElementalHost %s/%s: %w", ownNamespace, host, ports.ErrNotFound)
	case g.Unseen:
		return ports.RevocationUnseen, nil
	case known.stubborn:
		return ports.RevocationAsked, nil
	default:
		return ports.RevocationDone, nil
	}
}
