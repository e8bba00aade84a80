package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"elemental/core"
	"elemental/ports"
)

// patientTransport waits for a registry, but not for ever. Reading a body is watched by whoever reads it.
func patientTransport() *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:   15 * time.Second,
		ResponseHeaderTimeout: time.Minute,
		MaxIdleConnsPerHost:   8,
		IdleConnTimeout:       time.Minute,
		ForceAttemptHTTP2:     true,
	}
}

// tlsOnly refuses to speak without TLS, but to the registries that the host's own configuration names. The
// library beneath falls back to plain http for any private address.
type tlsOnly struct {
	inner  http.RoundTripper
	except []string
}

// plainRefused is the refusal.
type plainRefused struct{ url *url.URL }

func (p plainRefused) Error() string {
	return fmt.Sprintf("%s would be spoken to without TLS, and plainHTTP of this host's image plugin does not name it", p.url.Host)
}

func (t tlsOnly) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.URL.Scheme != "https" && !listed(t.except, request.URL.Host) {
		return nil, plainRefused{request.URL}
	}
	return t.inner.RoundTrip(request)
}

func listed(list []string, host string) bool { return slices.Contains(list, host) }

// classify says what an error of a registry means for the next attempt.
func classify(reference string, err error) error {
	var refused plainRefused
	var answer *transport.Error
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), isFailure(err):
		return err
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &refused) && refused.url.Path != "/v2/":
		return core.Failure{
			Class: core.FailureInvalid, Reason: core.ReasonPolicyDenied, Path: referencePath,
			Message: fmt.Sprintf("%s: the registry speaks no TLS; give it a certificate, or name it in plainHTTP of this host's image plugin", reference),
		}
	case errors.As(err, &answer):
		return classifyAnswer(reference, answer)
	case isNetwork(err):
		return core.Failure{
			Class: core.FailureRetryable, Reason: ports.ReasonRegistryUnavailable,
			Message: fmt.Sprintf("%s: the registry can't be reached: %s", reference, withoutQuery(err)),
		}
	default:
		return badImage(reference, "%v", err)
	}
}

// withoutQuery words an error of the network. The address of a blob may carry a signature that opens it to
// everyone, so only its host is named.
func withoutQuery(err error) string {
	var request *url.Error
	if !errors.As(err, &request) {
		return err.Error()
	}
	host := "an address that can't be read"
	if address, err := url.Parse(request.URL); err == nil {
		host = address.Host
	}
	return host + ": " + request.Err.Error()
}

func classifyAnswer(reference string, answer *transport.Error) core.Failure {
	failure := core.Failure{Class: core.FailureFailed, Message: fmt.Sprintf("%s: %v", reference, answer)}
	switch code := answer.StatusCode; {
	case code == http.StatusNotFound:
		failure.Reason = ports.ReasonImageNotFound
		failure.Message = fmt.Sprintf("%s does not exist in its registry", reference)
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		failure.Reason = ports.ReasonRegistryDenied
		failure.Message = fmt.Sprintf("%s: the registry denies it to this host (%d); check that it exists, and the host's credentials", reference, code)
	case code == http.StatusTooManyRequests, code == http.StatusRequestTimeout, code >= 500:
		failure.Class, failure.Reason = core.FailureRetryable, ports.ReasonRegistryUnavailable
		failure.Message = fmt.Sprintf("%s: the registry answers %d (%s)", reference, code, http.StatusText(code))
	default:
		failure.Reason = ports.ReasonRegistryDenied
	}
	return failure
}

// isNetwork says whether an error is one of the way to the registry.
func isNetwork(err error) bool {
	var network net.Error
	var request *url.Error
	return errors.As(err, &network) || errors.As(err, &request) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}
