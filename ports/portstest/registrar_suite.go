package portstest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/matryer/is"

	"elemental/ports"
)

// RegistrarCase is a registrar to be tested, before a cluster of its own that lets everyone in.
type RegistrarCase struct {
	ports.Registrar
	Reopen  func() ports.Registrar // that of the process which comes after this one
	Connect func()                 // connects as the host that it is; nil where there is nothing to connect to
	Hold    func()                 // whoever is not known yet waits from now on,
	Approve func()                 // until this
	Refuse  func()                 // the cluster accepts the host's identity no more, but knows the host
	Change  func()                 // the cluster proves itself in another way
}

func (c RegistrarCase) connect() {
	if c.Connect != nil {
		c.Connect()
	}
}

// registrarPatience is how long anything may take before it counts as never.
const registrarPatience = 60 * time.Second

var registrarApplicant = ports.Applicant{Hostname: "edge", Serial: "S-1"}

// TestRegistrar holds a registrar against its port.
func TestRegistrar(t *testing.T, open func(t *testing.T) RegistrarCase) {
	t.Run("a host that never joined is no one", func(t *testing.T) {
		is := is.New(t)
		c := open(t)
		_, err := c.Identity(t.Context())
		is.True(errors.Is(err, ports.ErrNotFound))
		is.True(errors.Is(c.Keep(t.Context(), func(string, string) {}), ports.ErrNotFound))
	})
	t.Run("a host that joins stays who it is", func(t *testing.T) { registrarJoins(t, open(t)) })
	t.Run("a host that waits is told for what", func(t *testing.T) { registrarWaits(t, open(t)) })
	t.Run("keeping ends with its context", func(t *testing.T) {
		is := is.New(t)
		c := open(t)
		registrarJoin(t, c)
		is.NoErr(registrarKeep(t, c, 200*time.Millisecond))
	})
	t.Run("a host whose identity is refused joins as itself", func(t *testing.T) { registrarRefused(t, open(t)) })
	t.Run("a host connects anew, once, when the cluster proves itself in another way", func(t *testing.T) {
		is := is.New(t)
		c := open(t)
		before := registrarJoin(t, c)
		c.Change()
		err := registrarKeep(t, c, registrarPatience)
		is.True(err != nil)
		is.True(!errors.Is(err, ports.ErrDenied))
		c.connect()
		is.NoErr(registrarKeep(t, c, 500*time.Millisecond))
		after, err := c.Identity(t.Context())
		is.NoErr(err)
		is.Equal(after, before)
	})
}

func registrarJoin(t *testing.T, c RegistrarCase) ports.Identity {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), registrarPatience)
	defer cancel()
	var said []string
	identity, err := c.Join(ctx, registrarApplicant, func(reason, message string) { said = append(said, reason+": "+message) })
	if err != nil {
		t.Fatalf("it did not join: %v; it was told %q", err, said)
	}
	c.connect()
	return identity
}

func registrarKeep(t *testing.T, c RegistrarCase, most time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), most)
	defer cancel()
	return c.Keep(ctx, func(string, string) {})
}

func registrarJoins(t *testing.T, c RegistrarCase) {
	is := is.New(t)
	joined := registrarJoin(t, c)
	is.True(joined.Namespace != "" && joined.Host != "" && joined.Request != "")
	for _, r := range []ports.Registrar{c, c.Reopen()} {
		identity, err := r.Identity(t.Context())
		is.NoErr(err)
		is.Equal(identity, joined)
	}
}

func registrarWaits(t *testing.T, c RegistrarCase) {
	is := is.New(t)
	c.Hold()

	// The end of the context is the end of the waiting.
	ctx, cancel := context.WithCancel(t.Context())
	_, err := c.Join(ctx, registrarApplicant, func(reason, message string) {
		if reason != "" && message != "" {
			cancel()
		}
	})
	is.True(errors.Is(err, context.Canceled))
	cancel()
	_, err = c.Identity(t.Context())
	is.True(errors.Is(err, ports.ErrNotFound))

	var once sync.Once
	ctx, cancel = context.WithTimeout(t.Context(), registrarPatience)
	defer cancel()
	identity, err := c.Join(ctx, registrarApplicant, func(string, string) { once.Do(c.Approve) })
	is.NoErr(err)
	is.True(identity.Host != "")
}

func registrarRefused(t *testing.T, c RegistrarCase) {
	is := is.New(t)
	before := registrarJoin(t, c)
	c.Refuse()
	is.True(errors.Is(registrarKeep(t, c, registrarPatience), ports.ErrDenied))
	after := registrarJoin(t, c)
	is.Equal(after.Host, before.Host)
	is.Equal(after.Namespace, before.Namespace)
	is.NoErr(registrarKeep(t, c, 500*time.Millisecond))
	kept, err := c.Reopen().Identity(t.Context())
	is.NoErr(err)
	is.Equal(kept, after)
}
