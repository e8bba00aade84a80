package enrollment

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"k8s.io/client-go/rest"
)

// RESTConfig reaches the cluster as this host, with the token that is valid at each moment.
func (e *Enrollment) RESTConfig() (*rest.Config, error) {
	k := e.now()
	trust := e.trusted(k)
	e.mutex.Lock()
	e.trust = trust
	e.mutex.Unlock()
	return e.own(k, trust)
}

// own is the configuration of the host's own connection. A token that is refused wakes whoever keeps it.
func (e *Enrollment) own(k kept, trust []byte) (*rest.Config, error) {
	return e.config(k.Credentials.Server, trust, func() string { return e.now().Credentials.Token }, func() {
		select {
		case e.refused <- struct{}{}:
		default:
		}
	})
}

// config reaches an API server with a token that may change while it is used.
func (e *Enrollment) config(server string, ca []byte, token func() string, refused func()) (*rest.Config, error) {
	transport, err := e.transport(server, ca)
	if err != nil {
		return nil, err
	}
	return &rest.Config{
		Host: server, UserAgent: "elemental-agent",
		QPS:       -1, // The API server's priority and fairness is the limit.
		Transport: connection{next: transport, token: token, refused: refused, heard: e.hear},
	}, nil
}

// transport reaches one server after the other: connections to the one before are closed when they are of no more use.
func (e *Enrollment) transport(server string, ca []byte) (*http.Transport, error) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	reach := server + "\n" + string(ca)
	if e.shared != nil && e.reach == reach {
		return e.shared, nil
	}
	transport, err := newTransport(server, ca, e.moments)
	if err != nil {
		return nil, err
	}
	if e.shared != nil {
		e.shared.CloseIdleConnections()
	}
	e.shared, e.reach = transport, reach
	return transport, nil
}

// connection shows the token that is valid now, to its own server alone, and hears what is said beside the answers.
type connection struct {
	next    http.RoundTripper
	token   func() string
	refused func()
	heard   func(date string)
}

// errRedirected keeps a token from going where it was not meant to.
var errRedirected = errors.New("the server answered with a redirection, which is not followed: the token is for that server alone; correct registration.server")

// RoundTrip is one request. A redirection is an error.
func (c connection) RoundTrip(request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	request.Header.Set("Authorization", "Bearer "+c.token())
	response, err := c.next.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	c.heard(response.Header.Get("Date"))
	switch code := response.StatusCode; {
	case code == http.StatusUnauthorized:
		c.refused()
	case code >= 300 && code < 400 && code != http.StatusNotModified:
		_ = response.Body.Close() // Nothing of it is read.
		return nil, fmt.Errorf("asking %s: %w", request.URL.Host, errRedirected)
	}
	return response, nil
}

// hear learns the cluster's time from its answers. A host's own clock may be years off after a long time without power.
func (e *Enrollment) hear(date string) {
	if at, err := http.ParseTime(date); err == nil {
		e.mutex.Lock()
		defer e.mutex.Unlock()
		e.skew = at.Sub(e.time.now())
	}
}

// clusterTime is what the cluster's clock shows now, as far as it is known.
func (e *Enrollment) clusterTime() time.Time {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	return e.time.now().Add(e.skew)
}

// moments are what the time may be: by the host's own clock, and by the cluster's.
func (e *Enrollment) moments() []time.Time { return []time.Time{e.time.now(), e.clusterTime()} }
