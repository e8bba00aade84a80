package agent

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"elemental/core"
	"elemental/ports"
	"elemental/ports/portstest"
)

// A host that is revoked must not go on with what it does, nor speak of it: it asks to be let in again.
func TestARevokedHostAsksToBeLetInAgain(t *testing.T) {
	story(t, func(b *bench) {
		rejoined := 0
		b.rejoin = func() { rejoined++ }
		b.plugin.Restarts = false
		b.cluster.Ask(`{"version":1}`)
		b.start()
		b.Equal(b.version().Status, core.True)
		reports := len(b.cluster.Reports())
		b.cluster.Wish(func(w *ports.Wish) { *w = ports.Wish{Revoked: true} })
		b.after(0)
		b.Equal(rejoined, 1)
		b.Equal(len(b.cluster.Reports()), reports)
	})
}

// Where nobody can ask for it, an administrator must act.
func TestARevokedHostWithAnIdentityByHandSaysSo(t *testing.T) {
	story(t, func(b *bench) {
		b.cluster.Wish(func(w *ports.Wish) { *w = ports.Wish{Revoked: true} })
		b.start()
		b.after(time.Hour)
		b.True(strings.Contains(b.log.String(), "give it another one in cluster.kubeconfig"))
	})
}

func newMember(registrar ports.Registrar, log *bytes.Buffer) (*member, *portstest.Supervisor) {
	supervisor := &portstest.Supervisor{}
	return &member{
		registrar: registrar, machine: &portstest.Machine{}, supervisor: supervisor, log: slog.New(slog.NewTextHandler(log, nil)),
	}, supervisor
}

func TestAHostThatWaitsIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		registrar, log := &portstest.Registrar{}, &bytes.Buffer{}
		registrar.Hold("WaitingForApproval")
		m, supervisor := newMember(registrar, log)
		var all sync.WaitGroup
		all.Go(func() {
			identity, err := m.identity(t.Context(), false)
			is.NoErr(err)
			is.Equal(identity.Host, "host-1")
		})
		time.Sleep(time.Hour)
		synctest.Wait()
		told := strings.Join(supervisor.Told(), "\n")
		is.True(strings.HasPrefix(told, "READY=1\nSTATUS=WaitingForApproval: it is to wait\n"))
		is.True(strings.Count(told, "WATCHDOG=1") > 200) // An hour in which it was alive.
		registrar.Hold("")
		all.Wait()
		is.True(strings.Contains(log.String(), "reason=WaitingForApproval"))
	})
}

// keptUntil keeps an identity, and returns why the agent's life ended.
func keptUntil(t *testing.T, registrar *portstest.Registrar, happens func()) error {
	t.Helper()
	m, _ := newMember(registrar, &bytes.Buffer{})
	if _, err := m.identity(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancelCause(t.Context())
	defer end(nil)
	var all sync.WaitGroup
	all.Go(func() { m.keep(ctx, end) })
	happens()
	all.Wait()
	return context.Cause(ctx)
}

func TestARefusedIdentityEndsTheAgentsLife(t *testing.T) {
	is := is.New(t)
	registrar := &portstest.Registrar{}
	is.True(errors.Is(keptUntil(t, registrar, registrar.Refuse), errForgotten))
	registrar = &portstest.Registrar{}
	cause := keptUntil(t, registrar, registrar.Change)
	is.True(errors.Is(cause, errConnectAnew) && !errors.Is(cause, errForgotten)) // It need not ask again.
}

// A host whose lives end at once, one after the other, does not wear out its cluster.
func TestShortLivesAreFollowedByPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		for short, least := range []time.Duration{0, 0, 10 * time.Second, 20 * time.Second, 40 * time.Second, time.Minute, time.Minute} {
			began := time.Now()
			pause(t.Context(), short)
			took := time.Since(began)
			is.True(took >= least && took <= time.Minute)
			is.True(least > 0 || took == 0)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		began := time.Now()
		pause(ctx, 9)
		is.Equal(time.Since(began), time.Duration(0))
	})
}
