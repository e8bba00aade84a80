package enrollment

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/matryer/is"
	"k8s.io/client-go/rest"

	"elemental/ports"
)

// keeping keeps a host's identity beside the test; end returns what it came to when its context ended.
func (h *host) keeping() (kept <-chan error, end func() error) {
	ctx, cancel := context.WithCancel(h.t.Context())
	result := make(chan error, 1)
	enrolled := h.Enrollment
	go func() { result <- enrolled.Keep(ctx, h.tell) }()
	h.t.Cleanup(cancel)
	return result, func() error {
		cancel()
		return <-result
	}
}

// use is a request as the host, past what is played.
func (h *host) use() int {
	h.t.Helper()
	config, err := h.RESTConfig()
	if err != nil {
		h.t.Fatal(err)
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		h.t.Fatal(err)
	}
	response, err := client.Get(h.now().Credentials.Server + "/api/v1/namespaces/field/configmaps/kube-root-ca.crt")
	if err != nil {
		h.t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.StatusCode
}

func TestTheClusterRefusesTheToken(t *testing.T) {
	for name, forgotten := range map[string]bool{"and knows the host": false, "and has forgotten the host": true} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			c := play(t)
			h := newHost(t, c)
			before := h.join()
			kept, _ := h.keeping()
			h.until("it has renewed its token", func() bool { return c.count("renew") == 1 })
			h.time.sleep = sleep // The next renewal is hours away.
			c.forget(forgotten)
			is.Equal(h.use(), http.StatusUnauthorized) // Any request will do.
			ended := <-kept
			is.True(errors.Is(ended, ports.ErrDenied))
			is.True(!strings.Contains(ended.Error(), "\n")) // It is read in one line.
			after := h.join()
			is.Equal(after.Host, before.Host)
			is.True(after.Request != before.Request)
			is.Equal(len(c.hosts), 1)
			is.Equal(h.use(), http.StatusOK)
		})
	}
}

// A server that has just started may refuse what it accepts a moment later. A host whose bundle has ended must not be
// lost by that.
func TestARefusalThatPasses(t *testing.T) {
	is := is.New(t)
	c := play(t)
	h := newHost(t, c)
	old, err := c.handed()
	is.NoErr(err)
	h.bundle = func() (Bundle, error) { return old, nil }
	h.start()
	before := h.join()
	good := c.tokens
	c.change(func() { c.tokens, c.bundle = map[string]time.Time{}, "another" })
	kept, _ := h.keeping()
	is.True(errors.Is(<-kept, ports.ErrDenied))
	joined := h.joining()
	h.await("hand this host a new configuration")
	c.change(func() { c.tokens = good })
	is.Equal(<-joined, before)
	is.Equal(h.use(), http.StatusOK)
}

func TestTheServerIsAwayWhileRenewing(t *testing.T) {
	is := is.New(t)
	c := play(t)
	h := newHost(t, c)
	h.join()
	c.change(func() { c.away = true })
	_, end := h.keeping()
	h.await("RenewalFailed: renewing the token of host edge-1")
	c.change(func() { c.away = false })
	h.until("it renews", func() bool { return c.count("renew") > 0 })
	is.NoErr(end())
}

// Days of ten-minute tokens pass here in a moment: the played cluster's clock goes on as the host sleeps. The host's
// own clock is years off.
func TestTokensOfShortLife(t *testing.T) {
	for name, off := range map[string]time.Duration{"a right clock": 0, "a year behind": -365 * 24 * time.Hour, "a year ahead": 365 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			c := play(t)
			c.life = 10 * time.Minute
			h := newHost(t, c)
			var passed atomic.Int64
			start := time.Now()
			h.time.now = func() time.Time { return start.Add(off + time.Duration(passed.Load())) }
			h.time.sleep = func(ctx context.Context, d time.Duration, _ <-chan struct{}) (bool, error) {
				if d > 10*time.Minute {
					t.Errorf("it sleeps for %s while its token ends", d)
				}
				passed.Add(int64(d))
				c.change(func() { c.ahead = time.Duration(passed.Load()) })
				return false, ctx.Err()
			}
			h.join()
			_, end := h.keeping()
			h.until("it renewed many times", func() bool { return c.count("renew") > 60 })
			is.NoErr(end())
			is.Equal(c.count("refused"), 0) // It was never late,
			lived := time.Duration(passed.Load()) / time.Duration(c.count("renew"))
			if lived < 5*time.Minute || lived > 9*time.Minute { // and never hasty.
				t.Errorf("a token of 10 min lived for %s", lived)
			}
			is.Equal(c.count("create request"), 1)
		})
	}
}

// A server's certificate of yesterday is not valid yet for a host whose clock is a year behind. For one whose clock is
// ahead it has ended, or so it seems: that is said, until the clock is right.
func TestAWrongClockAndTheServersCertificate(t *testing.T) {
	day := 24 * time.Hour
	t.Run("behind", func(t *testing.T) {
		is := is.New(t)
		c := play(t)
		c.show(c.ca.sign(t, time.Now().Add(-day), time.Now().Add(day)))
		h := newHost(t, c)
		h.time.now = func() time.Time { return time.Now().Add(-365 * day) }
		is.Equal(h.join().Host, "edge-1")
		is.Equal(h.use(), http.StatusOK)
	})
	t.Run("ahead", func(t *testing.T) {
		is := is.New(t)
		c := play(t)
		c.show(c.ca.sign(t, time.Now().Add(-day), time.Now().Add(day)))
		h := newHost(t, c)
		var off atomic.Int64
		off.Store(int64(365 * day))
		h.time.now = func() time.Time { return time.Now().Add(time.Duration(off.Load())) }
		joined := h.joining()
		h.await(fmt.Sprintf("and this host's clock shows %d-", time.Now().Add(365*day).UTC().Year()))
		h.await("set the clock, or renew the certificate")
		off.Store(0)
		is.Equal((<-joined).Host, "edge-1")
	})
	t.Run("set wrong after it had heard the time", func(t *testing.T) {
		is := is.New(t)
		c := play(t)
		c.show(c.ca.sign(t, time.Now().Add(-day), time.Now().Add(day)))
		h := newHost(t, c)
		h.time.now = func() time.Time { return time.Now().Add(365 * day) }
		h.hear(time.Now().UTC().Format(http.TimeFormat))
		is.Equal(h.join().Host, "edge-1")
	})
}

func TestTheClustersCertificatesChange(t *testing.T) {
	is := is.New(t)
	c := play(t)
	h := newHost(t, c)
	h.join()
	is.Equal(h.use(), http.StatusOK)
	next := newAuthority(t)

	// The cluster publishes both, and each host connects anew, once.
	c.change(func() { c.published = string(c.ca.pem) + "\n" + string(next.pem) })
	kept, _ := h.keeping()
	err := <-kept
	is.True(err != nil && !errors.Is(err, ports.ErrDenied))
	is.Equal(h.use(), http.StatusOK)
	h.stays(c)

	// Its server proves itself by the new one, also to a host that is started again.
	c.show(next.sign(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour)))
	h.start()
	_, err = h.Identity(t.Context())
	is.NoErr(err)
	is.Equal(h.use(), http.StatusOK)
	h.stays(c)

	// The old one is withdrawn. What the host was given when it joined, it keeps.
	third := newAuthority(t)
	c.change(func() { c.published = string(third.pem) + string(next.pem) })
	kept, _ = h.keeping()
	is.True(<-kept != nil)
	c.change(func() { c.published = string(third.pem) })
	is.Equal(h.use(), http.StatusOK)
	kept, _ = h.keeping()
	is.True(<-kept != nil)
	c.server.CloseClientConnections()
	config, err := h.RESTConfig()
	is.NoErr(err)
	client, err := rest.HTTPClientFor(config)
	is.NoErr(err)
	_, err = client.Get(c.server.URL + "/api/v1/namespaces/field/configmaps/kube-root-ca.crt")
	is.True(err != nil) // The second one is trusted no more.
}

// stays sees that a host keeps its connection for a while.
func (h *host) stays(c *cluster) {
	h.t.Helper()
	before := c.count("renew")
	kept, end := h.keeping()
	h.until("it renews a few times", func() bool { return c.count("renew") > before+3 })
	select {
	case err := <-kept:
		h.t.Fatalf("it connects anew again: %v", err)
	default:
	}
	if err := end(); err != nil {
		h.t.Fatal(err)
	}
}

// A host that was away while the cluster changed its authority is helped by a new configuration.
func TestAMissedChangeOfCertificates(t *testing.T) {
	is := is.New(t)
	c := play(t)
	h := newHost(t, c)
	h.join()
	is.Equal(h.use(), http.StatusOK)
	next := newAuthority(t)
	c.show(next.sign(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour)))
	c.server.CloseClientConnections()
	kept, _ := h.keeping()
	h.await("certificate signed by unknown authority")
	c.change(func() { c.ca = next }) // which its bundle names from now on
	is.True(<-kept != nil)
	is.Equal(h.use(), http.StatusOK)
	h.stays(c)
}
