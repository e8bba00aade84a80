package enrollment

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"k8s.io/client-go/rest"
)

// Config reaches an API server with a token that may change while it is used.
func Config(server string, ca []byte, token func() string) *rest.Config {
	config := &rest.Config{
		Host: server, UserAgent: "elemental-agent",
		QPS:             -1, // The API server's priority and fairness is the limit.
		TLSClientConfig: rest.TLSClientConfig{CAData: ca},
	}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return bearer{next, token} })
	return config
}

// bearer shows the token that is valid now.
type bearer struct {
	next  http.RoundTripper
	token func() string
}

// errRedirected keeps a token from going where it was not meant to.
var errRedirected = errors.New("the server answered with a redirection, which is not followed: the token is for that server alone")

func (b bearer) RoundTrip(request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	request.Header.Set("Authorization", "Bearer "+b.token())
	response, err := b.next.RoundTrip(request)
	if err == nil && response.StatusCode >= 300 && response.StatusCode < 400 && response.StatusCode != http.StatusNotModified {
		_ = response.Body.Close() // Nothing of it is read.
		return nil, fmt.Errorf("asking %s: %w", request.URL.Host, errRedirected)
	}
	return response, err
}

// clock learns the cluster's time from its answers. A host's own clock may be years off after a long time without
// power.
type clock struct {
	next http.RoundTripper
	of   *Enrollment
}

func (c clock) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := c.next.RoundTrip(request)
	if err == nil {
		if at, parsed := http.ParseTime(response.Header.Get("Date")); parsed == nil {
			c.of.mutex.Lock()
			c.of.skew = time.Until(at)
			c.of.mutex.Unlock()
		}
	}
	return response, err
}

// clusterTime is what the cluster's clock shows now, as far as it is known.
func (e *Enrollment) clusterTime() time.Time {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	return time.Now().Add(e.skew)
}
