package kubernetes

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"time"
)

// How long an API server that is away is left alone between two calls.
const (
	firstPause = 100 * time.Millisecond
	mostPause  = time.Second
)

// patient is a transport that waits out an API server which is away.
//
// The watches of client-go wait ever longer between their attempts, up to a minute, and so does an object that
// could not be written: after an outage of half a minute both would sleep long after its end. Here they do
// not learn of it: their call returns when it could be made, or when its context ends.
type patient struct {
	next http.RoundTripper
}

func (p patient) RoundTrip(request *http.Request) (*http.Response, error) {
	for pause := firstPause; ; pause = min(2*pause, mostPause) {
		response, err := p.next.RoundTrip(request)
		if !away(request, response, err) || request.Body != nil && request.GetBody == nil {
			return response, err
		}
		select {
		case <-request.Context().Done():
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

// away says whether a call should be made again: it never reached the server, or it only asks and someone on
// the way said that the server is not there.
func away(request *http.Request, response *http.Response, err error) bool {
	var network *net.OpError
	switch {
	case request.Context().Err() != nil:
		return false
	case err != nil:
		return errors.As(err, &network) && network.Op == "dial"
	case request.Method != http.MethodGet:
		return false
	default:
		return response.StatusCode == http.StatusBadGateway || response.StatusCode == http.StatusGatewayTimeout ||
			response.StatusCode == http.StatusServiceUnavailable && response.Header.Get("Retry-After") == ""
	}
}
