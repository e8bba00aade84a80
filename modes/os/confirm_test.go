package hostos

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
)

// boot is a host that was just started.
type boot struct {
	trial   bool
	healthy time.Time // from when on its health checks hold; zero: never
	blind   error     // what asking for its status answers
	sees    int       // after how many answers it is blind no more; zero: never
	blamed  string
}

func (b *boot) status(context.Context) (Status, error) {
	if b.blind == nil {
		return Status{Booted: "0123", OnTrial: b.trial}, nil
	}
	blind := b.blind
	if b.sees--; b.sees == 0 {
		b.blind = nil
	}
	return Status{Booted: "0123"}, blind
}

func (b *boot) confirm(ctx context.Context, patience time.Duration) error {
	if b.healthy.IsZero() || time.Until(b.healthy) > patience {
		select {
		case <-time.After(patience):
			return errors.New("the unit web.service is not active")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	time.Sleep(time.Until(b.healthy))
	b.trial = false
	return nil
}

func (b *boot) blame(deployment, reason string) error {
	b.blamed = deployment + ": " + reason
	return nil
}

func TestConfirm(t *testing.T) {
	const timeout = 5 * time.Minute
	for _, c := range []struct {
		name      string
		boot      boot
		healthy   time.Duration // after the start; 0: never
		connected time.Duration // after the start; 0: never
		took      time.Duration
		blamed    string
		log       string
	}{
		{name: "no trial, ill and alone", boot: boot{}, took: 0},
		{name: "healthy and connected", boot: boot{trial: true}, healthy: time.Millisecond, connected: time.Millisecond, took: time.Second, log: "no contact"},
		{name: "connected late", boot: boot{trial: true}, healthy: time.Millisecond, connected: 90 * time.Second, took: 90 * time.Second},
		{name: "healthy late", boot: boot{trial: true}, healthy: 4 * time.Minute, connected: time.Millisecond, took: 4 * time.Minute},
		{name: "never connected", boot: boot{trial: true}, healthy: time.Millisecond, took: timeout, blamed: "0123: not confirmed within 5m0s: no contact"},
		{name: "never healthy", boot: boot{trial: true}, connected: time.Millisecond, took: timeout, blamed: "0123: not confirmed within 5m0s: the unit web.service is not active"},
		{name: "can't tell", boot: boot{blind: errors.New("the boot partition can't be read")}, took: timeout, blamed: "0123: not confirmed within 5m0s: the boot partition can't be read"},
		{name: "can't tell at first", boot: boot{trial: true, blind: errors.New("not mounted yet"), sees: 3}, healthy: time.Millisecond, connected: time.Millisecond, took: 3 * time.Second, log: "not mounted yet"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				begin := time.Now()
				if c.healthy > 0 {
					c.boot.healthy = begin.Add(c.healthy)
				}
				var log bytes.Buffer
				err := confirmation{
					host: &c.boot, timeout: timeout, log: &log,
					ready: func() error {
						if c.connected > 0 && time.Since(begin) >= c.connected {
							return nil
						}
						return errors.New("no contact")
					},
				}.run(t.Context())
				is.Equal(err != nil, c.blamed != "") // an error restarts the host, and always has its reason written down
				is.Equal(c.boot.blamed, c.blamed)
				is.Equal(time.Since(begin).Round(time.Second), c.took)
				is.True(strings.Contains(log.String(), c.log))
			})
		})
	}
}

func TestConfirmCantTellWhatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := &nothing{}
		err := confirmation{host: b, timeout: time.Minute, log: &bytes.Buffer{}, ready: func() error { return nil }}.run(t.Context())
		is.True(err != nil)
		is.True(strings.Contains(err.Error(), "no command line"))
	})
}

// nothing is a host that does not even know what was booted.
type nothing struct{ boot }

func (*nothing) status(context.Context) (Status, error) {
	return Status{}, errors.New("no command line")
}

func (*nothing) blame(string, string) error { panic("there is no one to blame") }

func TestConfirmToldToEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		b := &boot{trial: true}
		err := confirmation{host: b, timeout: time.Hour, log: &bytes.Buffer{}, ready: func() error { return nil }}.run(ctx)
		is.NoErr(err) // a host that shuts down is not restarted for it
		is.Equal(b.blamed, "")
	})
}

func TestConnected(t *testing.T) {
	is := is.New(t)
	agent, mark := filepath.Join(t.TempDir(), "agent.yaml"), filepath.Join(t.TempDir(), "connected")
	is.NoErr(connected(agent, mark)) // without an agent no contact is needed
	is.NoErr(os.WriteFile(agent, nil, 0o600))
	is.True(connected(agent, mark) != nil)
	is.NoErr(os.WriteFile(mark, nil, 0o600))
	is.NoErr(connected(agent, mark))
}
