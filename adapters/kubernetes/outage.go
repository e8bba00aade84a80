package kubernetes

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"time"
)

// How long an API server that is away is left alone between two calls, and how long one that is back may take
// until it knows again what it serves, and to whom.
const (
	firstPause = 100 * time.Millisecond
	mostPause  = time.Second
	recovery   = 5 * time.Second
)

// patient is a transport that waits out an API server which is away.
//
// The watches of client-go wait ever longer between their attempts, up to a minute, and so does an object that
// could not be written: after an outage of half a minute both would sleep long after its end. Here they do
// not learn of it: their call returns when it could be made, when its context ends, or when the process is
// about to end.
type patient struct {
	next   http.RoundTripper
	ending <-chan struct{}
}

// WrappedRoundTripper leads client-go to the transport that does the work.
func (p patient) WrappedRoundTripper() http.RoundTripper { return p.next }

// RoundTrip makes a call, again and again while the API server is away.
func (p patient) RoundTrip(request *http.Request) (*http.Response, error) {
	var o outage
	for pause := firstPause; ; pause = min(2*pause, mostPause) {
		response, err := p.next.RoundTrip(request)
		if !o.lasts(request, response, err) || request.Body != nil && request.GetBody == nil {
			return response, err
		}
		if o.recovers() {
			pause = firstPause // It knows its roles and resources in a moment.
		}
		select {
		case <-request.Context().Done():
			return response, err
		case <-p.ending:
			return response, err
		case <-time.After(pause/2 + rand.N(pause/2)):
		}
		if response != nil {
			_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10))
			_ = response.Body.Close()
		}
		request = request.Clone(request.Context())
		if request.GetBody != nil {
			if request.Body, err = request.GetBody(); err != nil {
				return nil, err
			}
		}
	}
}

// outage is what one call has seen of an API server's absence.
type outage struct {
	refused bool      // it could not be reached
	back    time.Time // since when it answers again
}

// recovers says whether the server has just come back.
func (o *outage) recovers() bool { return !o.back.IsZero() && time.Since(o.back) < recovery }

// lasts says whether a call is to be made again: it never reached the server, or only asks and someone on the
// way says that the server is not there, or the server has just come back and does not know its roles and
// resources yet.
func (o *outage) lasts(request *http.Request, response *http.Response, err error) bool {
	if err != nil {
		var network *net.OpError
		unreached := errors.As(err, &network) && network.Op == "dial"
		o.refused = o.refused || unreached
		return unreached && request.Context().Err() == nil
	}
	asks := request.Method == http.MethodGet
	if o.refused && o.back.IsZero() {
		o.back = time.Now()
	}
	recovers := o.recovers()
	switch response.StatusCode {
	case http.StatusForbidden:
		return recovers
	case http.StatusNotFound, http.StatusInternalServerError:
		return recovers && asks
	case http.StatusBadGateway, http.StatusGatewayTimeout:
		return asks
	case http.StatusServiceUnavailable: // With the header, client-go itself comes back.
		return asks && response.Header.Get("Retry-After") == ""
	}
	return false
}
