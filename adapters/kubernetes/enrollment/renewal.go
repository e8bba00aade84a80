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

// errConnectAnew says that the host must build up its connection again.
var errConnectAnew = errors.New("the certificates changed by which the cluster is known")

// life is the part of a token's life after which it is renewed: at random, so that a fleet that joined together
// does not renew together.
func life() float64 { return 0.6 + 0.2*rand.Float64() }

// patience is how long to wait after so many failures.
func patience(failures int) time.Duration {
	return spread(min(mostPatience, time.Second<<min(failures, 6)))
}

// Keep renews the token in time, and at once when the cluster refuses it.
func (e *Enrollment) Keep(ctx context.Context, told func(reason, message string)) error {
	if e.now().Request == "" {
		return fmt.Errorf("renewing the host's token: %w", ports.ErrNotFound)
	}
	// How long a token that was kept had lived is not known: it is renewed at once, which also tells whether it is
	// still accepted and what time it is.
	for wait, failures := time.Duration(0), 0; ; {
		if _, err := e.time.sleep(ctx, wait, e.refused); err != nil {
			return nil //nolint:nilerr // The end of the context is the end of the work.
		}
		used := e.now().Credentials
		next, err := e.renew(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case apierrors.IsUnauthorized(err):
			e.bury(used.Token)
			return fmt.Errorf("the cluster does not accept the token of host %s any more: %w (%w)", used.Host, err, ports.ErrDenied)
		case err != nil:
			failures++
			told("RenewalFailed", err.Error())
			wait = patience(failures)
			continue
		}
		failures = 0
		e.keep(next)
		wait = max(time.Second, time.Duration(float64(next.Credentials.Expires.Sub(e.clusterTime()))*life()))
		if wait, err = e.persist(ctx, next, wait, told); err != nil {
			return err
		}
	}
}

// persist keeps what was renewed, and returns how much of the wait for the next renewal is left. On a disk that is full
// it goes on trying: the token serves meanwhile, but the next process must find it. An error says that the host must
// connect anew.
func (e *Enrollment) persist(ctx context.Context, k kept, wait time.Duration, told func(reason, message string)) (time.Duration, error) {
	for failures := 1; ; failures++ {
		err := e.store.save(k)
		if e.believesOthers(k) {
			return 0, errConnectAnew
		}
		if err == nil {
			return wait, nil
		}
		told("RenewalFailed", "the token was renewed and serves until this process ends: "+err.Error())
		pause := min(wait, patience(failures))
		woken, err := e.time.sleep(ctx, pause, e.refused)
		if wait -= pause; err != nil || woken || wait <= 0 {
			return 0, nil //nolint:nilerr // The caller sees the end of the context.
		}
	}
}

// believesOthers says whether the host's connection, if there is one, was made with other certificates than those that
// count now.
func (e *Enrollment) believesOthers(k kept) bool {
	trust := e.trusted(k)
	e.mutex.Lock()
	defer e.mutex.Unlock()
	return e.trust != nil && !bytes.Equal(trust, e.trust)
}

// renew asks for another token for this host's own account, bound to the same handle, and for the certificates that
// the cluster publishes.
func (e *Enrollment) renew(ctx context.Context) (kept, error) {
	k := e.now()
	config, err := e.own(k, e.trusted(k))
	if err != nil {
		return kept{}, fmt.Errorf("renewing the token of host %s: %w", k.Credentials.Host, err)
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return kept{}, fmt.Errorf("connecting to %s: %w", k.Credentials.Server, err)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	account := "elemental-host-" + k.Credentials.Host
	seconds := int64(24 * 60 * 60)
	namespace := k.Credentials.Server + "/api/v1/namespaces/" + k.Credentials.Namespace
	var token authenticationv1.TokenRequest
	err = call(ctx, client, http.MethodPost, namespace+"/serviceaccounts/"+account+"/token",
		authenticationv1.TokenRequest{
			TypeMeta: metav1.TypeMeta{APIVersion: "authentication.k8s.io/v1", Kind: "TokenRequest"},
			Spec: authenticationv1.TokenRequestSpec{
				ExpirationSeconds: &seconds, BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Secret", Name: account},
			},
		}, &token)
	e.forgive()
	if err != nil {
		return kept{}, fmt.Errorf("renewing the token of host %s: %w", k.Credentials.Host, err)
	}
	if token.Status.Token == "" {
		return kept{}, fmt.Errorf("renewing the token of host %s: the answer holds none", k.Credentials.Host)
	}
	k.Credentials.Token, k.Credentials.Expires = token.Status.Token, token.Status.ExpirationTimestamp.Time
	var published corev1.ConfigMap
	err = call(ctx, client, http.MethodGet, namespace+"/configmaps/kube-root-ca.crt", nil, &published)
	if certificates := merge([]byte(published.Data["ca.crt"])); err == nil && len(certificates) > 0 {
		k.Published = certificates
	}
	return k, nil // A cluster that publishes no certificates keeps those that it has.
}

// forgive drops a refusal that the renewal has just answered, or was itself.
func (e *Enrollment) forgive() {
	select {
	case <-e.refused:
	default:
	}
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
