// Package enrollment is how a host becomes someone in its management cluster and stays it: it asks to join with the
// bundle of a registration, and renews what it was given.
package enrollment

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"

	"elemental/adapters/kubernetes/api/v1beta1"
	"elemental/adapters/kubernetes/identity"
	"elemental/core"
	"elemental/ports"
)

const (
	requestTimeout = 30 * time.Second
	firstLook      = 500 * time.Millisecond // for the answer to a request
	mostPatience   = time.Minute            // between two looks, and two tries
)

// Bundle is what a registration hands to hosts. The token is secret.
type Bundle struct {
	Server       string
	CA           []byte // PEM
	Namespace    string
	Registration string
	Token        string
}

// Enrollment is one host's standing with its cluster. It implements ports.Registrar.
type Enrollment struct {
	store  store
	bundle func() (Bundle, error) // read anew for every try: an operator may hand out another

	mutex sync.Mutex
	known kept
	skew  time.Duration // by how much the cluster's clock is ahead of ours
}

// New returns the enrollment that keeps its files in a folder.
func New(folder string, bundle func() (Bundle, error)) *Enrollment {
	return &Enrollment{store: store{folder}, bundle: bundle}
}

// Identity is who the host is.
func (e *Enrollment) Identity(context.Context) (ports.Identity, error) {
	k, err := e.store.load()
	if err != nil {
		return ports.Identity{}, err
	}
	e.keep(k)
	return identityOf(k), nil
}

func identityOf(k kept) ports.Identity {
	return ports.Identity{Namespace: k.Credentials.Namespace, Host: k.Credentials.Host, Request: k.Request}
}

func (e *Enrollment) keep(k kept) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	e.known = k
}

func (e *Enrollment) now() kept {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	return e.known
}

// Join asks to be let in until it is.
func (e *Enrollment) Join(ctx context.Context, applicant ports.Applicant, told func(reason, message string)) (ports.Identity, error) {
	for wait := firstLook; ; wait = min(2*wait, mostPatience) {
		k, waits, err := e.ask(ctx, applicant)
		switch {
		case ctx.Err() != nil:
			return ports.Identity{}, ctx.Err()
		case err != nil:
			told("RegistrationFailed", err.Error())
		case waits.Reason != "":
			told(waits.Reason, waits.Message)
		case k.Request != "":
			if err := e.store.save(k); err != nil {
				told("RegistrationFailed", err.Error())
				break
			}
			e.keep(k)
			return identityOf(k), nil
		}
		// Full jitter: hosts that were switched on together do not come together.
		if err := sleep(ctx, wait/2+rand.N(wait/2)); err != nil { //nolint:gosec // It spreads load, and hides nothing.
			return ports.Identity{}, err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// ask makes sure that the request is there, and reads its answer. Without an answer all that it returns is empty.
func (e *Enrollment) ask(ctx context.Context, applicant ports.Applicant) (kept, metav1.Condition, error) {
	bundle, err := e.bundle()
	if err != nil {
		return kept{}, metav1.Condition{}, err
	}
	key, err := e.store.key()
	if err != nil {
		return kept{}, metav1.Condition{}, err
	}
	client, err := e.connect(bundle.Server, bundle.CA, func() string { return bundle.Token })
	if err != nil {
		return kept{}, metav1.Condition{}, err
	}
	asked := request(bundle, key, applicant)
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	// Most often the request is there already, since its answer takes longer than a look.
	err = client.Get().Namespace(asked.Namespace).Resource("elementalhostrequests").Name(asked.Name).Do(ctx).Into(asked)
	if apierrors.IsNotFound(err) {
		err = client.Post().Namespace(asked.Namespace).Resource("elementalhostrequests").Body(asked).Do(ctx).Into(asked)
	}
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return kept{}, metav1.Condition{}, explain(bundle, err)
	}
	return read(asked, key)
}

func request(bundle Bundle, key identity.Key, applicant ports.Applicant) *v1beta1.ElementalHostRequest {
	name := identity.Hash(key.Public())
	serial := strings.ToValidUTF8(applicant.Serial, "?")
	return &v1beta1.ElementalHostRequest{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1beta1.GroupVersion.String(), Kind: "ElementalHostRequest"},
		ObjectMeta: metav1.ObjectMeta{Namespace: bundle.Namespace, Name: name},
		Spec: v1beta1.ElementalHostRequestSpec{
			Registration: bundle.Registration, PublicKey: base64.StdEncoding.EncodeToString(key.Public()),
			Hostname:     core.WishedName(applicant.Naming, applicant.Hostname, applicant.Serial, name),
			SerialNumber: serial[:min(len(serial), 64)],
		},
	}
}

// read opens the answer to a request, if there is one.
func read(asked *v1beta1.ElementalHostRequest, key identity.Key) (kept, metav1.Condition, error) {
	answer := meta.FindStatusCondition(asked.Status.Conditions, v1beta1.ConditionAdmitted)
	switch {
	case answer == nil:
		return kept{}, metav1.Condition{}, nil
	case answer.Status != metav1.ConditionTrue || asked.Status.Credentials == nil:
		return kept{}, *answer, nil
	}
	opened, err := key.Open(asked.Status.Credentials.Sealed, identity.Purpose{
		Namespace: asked.Namespace, Host: asked.Status.HostName, Request: string(asked.UID),
	})
	if err != nil {
		return kept{}, metav1.Condition{}, fmt.Errorf("reading the answer to ElementalHostRequest %s/%s: %w", asked.Namespace, asked.Name, err)
	}
	return kept{Request: string(asked.UID), Credentials: opened}, metav1.Condition{}, nil
}

// explain says what someone must do about a bundle that does not serve.
func explain(bundle Bundle, err error) error {
	switch {
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("asking %s to join: the token of registration %s is not valid any more: hand this host a new configuration (elemental registration config %s): %w",
			bundle.Server, bundle.Registration, bundle.Registration, errors.Join(ports.ErrDenied, err))
	case apierrors.IsForbidden(err), apierrors.IsInvalid(err):
		return fmt.Errorf("asking %s to join: %w", bundle.Server, errors.Join(ports.ErrDenied, err))
	default:
		return fmt.Errorf("asking %s to join: %w", bundle.Server, errors.Join(ports.ErrNotReady, err))
	}
}

// connect speaks to the API server with a token that may change, and never follows it elsewhere.
func (e *Enrollment) connect(server string, ca []byte, token func() string) (rest.Interface, error) {
	scheme := runtime.NewScheme()
	if err := v1beta1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	config := Config(server, ca, token)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return clock{next, e} })
	config.APIPath, config.GroupVersion = "/apis", &v1beta1.GroupVersion
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	client, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", server, err)
	}
	return client, nil
}
