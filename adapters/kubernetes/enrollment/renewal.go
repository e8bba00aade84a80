package enrollment

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"elemental/ports"
)

// ErrConnectAnew says that the host must build up its connection again: the cluster's certificates changed, or the
// host is another one now.
var ErrConnectAnew = errors.New("the host's identity or the cluster's certificates changed")

// RESTConfig reaches the cluster as this host, with the token that is valid at each moment.
func (e *Enrollment) RESTConfig() *rest.Config {
	k := e.now()
	config := Config(k.Credentials.Server, k.Credentials.CA, func() string { return e.now().Credentials.Token })
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return clock{next, e} })
	return config
}

// life is the part of a token's life after which it is renewed: at random, so that a fleet that joined together
// does not renew together.
func life() float64 { return 0.6 + 0.2*rand.Float64() }

// Keep renews the token in time.
func (e *Enrollment) Keep(ctx context.Context, applicant ports.Applicant, told func(reason, message string)) error {
	k := e.now()
	if k.Request == "" {
		return fmt.Errorf("renewing the host's token: %w", ports.ErrNotFound)
	}
	// How long a token that was kept had lived is not known: it is renewed at once, which also tells whether it is
	// still accepted and what time it is.
	for wait, failures := time.Duration(0), 0; ; {
		if err := sleep(ctx, wait); err != nil {
			return nil //nolint:nilerr // The end of the context is the end of the work.
		}
		next, err := e.renew(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case apierrors.IsUnauthorized(err):
			told("RegistrationFailed", "the cluster does not accept this host's token any more; the host asks to join again, as itself")
			return e.rejoin(ctx, applicant, told)
		case err != nil:
			told("RegistrationFailed", err.Error())
			failures++
			wait = min(mostPatience, time.Second<<min(failures, 6))
			wait = wait/2 + rand.N(wait/2)
			continue
		}
		failures = 0
		changed := !bytes.Equal(next.Credentials.CA, e.now().Credentials.CA)
		if err := e.store.save(next); err != nil {
			told("RegistrationFailed", err.Error()) // The token serves as long as this process lives.
		}
		e.keep(next)
		if changed {
			return ErrConnectAnew
		}
		wait = max(time.Second, time.Duration(float64(next.Credentials.Expires.Sub(e.clusterTime()))*life()))
	}
}

// rejoin asks for a new token with the bundle. The key is the same, so the cluster knows the host.
func (e *Enrollment) rejoin(ctx context.Context, applicant ports.Applicant, told func(reason, message string)) error {
	if _, err := e.Join(ctx, applicant, told); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	return ErrConnectAnew
}

// renew asks for another token for this host's own account, bound to the same handle, and for the certificates that
// the cluster publishes.
func (e *Enrollment) renew(ctx context.Context) (kept, error) {
	k := e.now()
	client, err := rest.HTTPClientFor(e.RESTConfig())
	if err != nil {
		return kept{}, fmt.Errorf("connecting to %s: %w", k.Credentials.Server, err)
	}
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	account := "elemental-host-" + k.Credentials.Host
	seconds := int64(24 * 60 * 60)
	var token authenticationv1.TokenRequest
	err = call(ctx, client, http.MethodPost, k.Credentials.Server+"/api/v1/namespaces/"+k.Credentials.Namespace+"/serviceaccounts/"+account+"/token",
		authenticationv1.TokenRequest{
			TypeMeta: metav1.TypeMeta{APIVersion: "authentication.k8s.io/v1", Kind: "TokenRequest"},
			Spec: authenticationv1.TokenRequestSpec{
				ExpirationSeconds: &seconds, BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Secret", Name: account},
			},
		}, &token)
	if err != nil {
		return kept{}, fmt.Errorf("renewing the token of host %s: %w", k.Credentials.Host, err)
	}
	k.Credentials.Token, k.Credentials.Expires = token.Status.Token, token.Status.ExpirationTimestamp.Time
	var published corev1.ConfigMap
	err = call(ctx, client, http.MethodGet, k.Credentials.Server+"/api/v1/namespaces/"+k.Credentials.Namespace+"/configmaps/kube-root-ca.crt", nil, &published)
	if err == nil && !bytes.Contains(k.Credentials.CA, []byte(published.Data["ca.crt"])) {
		// Those of before stay for as long as the host lives here: the old ones may still be in use.
		k.Credentials.CA = append(bytes.TrimRight(k.Credentials.CA, "\n"), append([]byte("\n"), published.Data["ca.crt"]...)...)
	}
	return k, nil // A cluster that publishes no certificates keeps those that it has.
}

// call is one request in JSON.
func call(ctx context.Context, client *http.Client, method, url string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer := json.NewDecoder(http.MaxBytesReader(nil, response.Body, 4<<20))
	if response.StatusCode >= http.StatusBadRequest {
		var status metav1.Status
		if err := answer.Decode(&status); err != nil || status.Code == 0 {
			status = metav1.Status{Code: int32(response.StatusCode), Message: response.Status, Reason: reasonOf(response.StatusCode)}
		}
		return &apierrors.StatusError{ErrStatus: status}
	}
	return answer.Decode(out)
}

func reasonOf(code int) metav1.StatusReason {
	switch code {
	case http.StatusUnauthorized:
		return metav1.StatusReasonUnauthorized
	case http.StatusForbidden:
		return metav1.StatusReasonForbidden
	default:
		return metav1.StatusReasonUnknown
	}
}

var _ ports.Registrar = (*Enrollment)(nil)
