// Package enrollment is how a host becomes someone in its management cluster and stays it: it asks to join with the
// bundle of a registration, and renews what it was given.
package enrollment

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"elemental/ports"
)

const (
	requestTimeout = 30 * time.Second
	firstLook      = 500 * time.Millisecond // for the answer to a request
	mostPatience   = time.Minute            // between two looks, and two tries
)

// Bundle is what a registration hands to hosts. The token is secret.
type Bundle struct {
	Server       string
	CA           []byte // PEM; empty: whoever the system trusts
	Namespace    string
	Registration string
	Token        string
}

// Enrollment is one host's standing with its cluster. It implements ports.Registrar.
type Enrollment struct {
	store  store
	bundle func() (Bundle, error) // read anew for every try: an operator may hand out another
	time   clock

	refused chan struct{} // the cluster did not accept the host's own token

	mutex  sync.Mutex
	known  kept
	dead   string        // the token that the cluster did not accept when it was to be renewed
	trust  []byte        // whom the host's connection believes
	skew   time.Duration // by how much the cluster's clock is ahead of ours
	shared *http.Transport
	reach  string // whom the shared transport reaches
}

// clock is the host's own, which may be years off.
type clock struct {
	now   func() time.Time
	sleep func(ctx context.Context, d time.Duration, wake <-chan struct{}) (woken bool, err error)
}

// New returns the enrollment that keeps its files in a folder. The bundle is read for every try.
func New(folder string, bundle func() (Bundle, error)) *Enrollment {
	return &Enrollment{store: store{folder}, bundle: bundle, time: clock{time.Now, sleep}, refused: make(chan struct{}, 1)}
}

// sleep returns after a time, or when it is woken, or with the error of the context.
func sleep(ctx context.Context, d time.Duration, wake <-chan struct{}) (woken bool, err error) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false, ctx.Err()
	case <-wake:
		return true, ctx.Err()
	case <-timer.C:
		return false, nil
	}
}

// spread is a wait of half to the whole of a time: hosts that were switched on together do not come together.
func spread(wait time.Duration) time.Duration {
	return wait/2 + rand.N(wait/2)
}

// Identity is who the host is. What this process knows counts, even where the disk was too full to keep it.
func (e *Enrollment) Identity(context.Context) (ports.Identity, error) {
	if k := e.now(); k.Request != "" {
		return identityOf(k), nil
	}
	k, err := e.store.load()
	if err != nil {
		return ports.Identity{}, err
	}
	e.keep(k)
	return identityOf(k), nil
}

func identityOf(k kept) ports.Identity {
	orders := k.Credentials.Orders
	return ports.Identity{
		Namespace: k.Credentials.Namespace, Host: k.Credentials.Host, Request: k.Request,
		Orders: ports.Orders{CloudConfig: string(orders.CloudConfig), Install: string(orders.Install), Reset: string(orders.Reset)},
	}
}

// Files are the host's key and its credentials, by the paths that they have here.
func (e *Enrollment) Files(ctx context.Context) ([]ports.File, error) {
	if _, err := e.Identity(ctx); err != nil {
		return nil, err
	}
	return e.store.files()
}

func (e *Enrollment) keep(k kept) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	e.known = k
}

func (e *Enrollment) now() kept {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	return e.known
}

// Join asks to be let in until it is.
func (e *Enrollment) Join(ctx context.Context, applicant ports.Applicant, told func(reason, message string)) (ports.Identity, error) {
	for wait := firstLook; ; wait = min(2*wait, mostPatience) {
		k, answer, err := e.try(ctx, applicant)
		if err == nil && k.Request != "" {
			err = e.store.save(k)
		}
		switch {
		case ctx.Err() != nil:
			return ports.Identity{}, ctx.Err()
		case err != nil:
			told("RegistrationFailed", err.Error())
		case k.Request != "":
			e.keep(k)
			return identityOf(k), nil
		case answer.Reason != "":
			told(answer.Reason, answer.Message)
		}
		if _, err := e.time.sleep(ctx, spread(wait), nil); err != nil {
			return ports.Identity{}, err
		}
	}
}

// try asks to be let in once. An API server that has just started, or was restored from a backup, may refuse a token
// that it accepts again later: where the bundle has ended, too, the host's own is worth another try.
func (e *Enrollment) try(ctx context.Context, applicant ports.Applicant) (kept, metav1.Condition, error) {
	k, answer, err := e.ask(ctx, applicant)
	if !errors.Is(err, ports.ErrDenied) || !e.isDead(e.now().Credentials.Token) {
		return k, answer, err
	}
	if again, renewErr := e.renew(ctx); renewErr == nil {
		return again, metav1.Condition{}, nil
	}
	return k, answer, err
}

// isDead says whether the cluster refused a token when it was to be renewed.
func (e *Enrollment) isDead(token string) bool {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	return token != "" && token == e.dead
}

func (e *Enrollment) bury(token string) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	e.dead = token
}

var _ ports.Registrar = (*Enrollment)(nil)
