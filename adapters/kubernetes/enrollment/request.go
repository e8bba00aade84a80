package enrollment

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

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
	client, err := e.connect(bundle)
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
	return e.read(asked, key)
}

func request(bundle Bundle, key identity.Key, applicant ports.Applicant) *v1beta1.ElementalHostRequest {
	name := identity.Hash(key.Public())
	serial := printable(applicant.Serial)
	return &v1beta1.ElementalHostRequest{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1beta1.GroupVersion.String(), Kind: "ElementalHostRequest"},
		ObjectMeta: metav1.ObjectMeta{Namespace: bundle.Namespace, Name: name},
		Spec: v1beta1.ElementalHostRequestSpec{
			Registration: bundle.Registration, PublicKey: base64.StdEncoding.EncodeToString(key.Public()),
			Hostname:     core.WishedName(applicant.Naming, applicant.Hostname, applicant.Serial, name),
			SerialNumber: string(serial[:min(len(serial), 64)]),
		},
	}
}

// printable is what the firmware says, without what would move the cursor of those who read it.
func printable(text string) []rune {
	return []rune(strings.Map(func(r rune) rune {
		if r == utf8.RuneError || unicode.IsControl(r) {
			return '?'
		}
		return r
	}, text))
}

// read opens the answer to a request, if there is one.
func (e *Enrollment) read(asked *v1beta1.ElementalHostRequest, key identity.Key) (kept, metav1.Condition, error) {
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
	if e.isDead(opened.Token) {
		return kept{}, metav1.Condition{}, fmt.Errorf("reading the answer to ElementalHostRequest %s/%s: it holds the token that the cluster refuses; delete the request (kubectl -n %s delete elementalhostrequest %s), and the host asks anew",
			asked.Namespace, asked.Name, asked.Namespace, asked.Name)
	}
	return kept{Request: string(asked.UID), Credentials: opened}, metav1.Condition{}, nil
}

// explain says what someone must do about a bundle that does not serve.
func explain(bundle Bundle, err error) error {
	kind, remedy := ports.ErrDenied, ""
	unknown, wrongName := x509.UnknownAuthorityError{}, x509.HostnameError{}
	switch {
	case apierrors.IsUnauthorized(err):
		remedy = fmt.Sprintf("the token of registration %s is not valid any more: hand this host a new configuration (elemental registration config %s): ", bundle.Registration, bundle.Registration)
	case apierrors.IsForbidden(err), apierrors.IsInvalid(err), errors.Is(err, errRedirected):
	case apierrors.IsNotFound(err):
		remedy = fmt.Sprintf("it knows no requests to join in namespace %s: correct registration.server and registration.namespace, or install Elemental there: ", bundle.Namespace)
	case errors.As(err, &unknown), errors.As(err, &wrongName):
		remedy = fmt.Sprintf("it does not prove to be the server that registration.certificateAuthority speaks of: hand this host a new configuration (elemental registration config %s): ", bundle.Registration)
	default:
		kind = ports.ErrNotReady
		if answered := apierrors.APIStatus(nil); !errors.As(err, &answered) {
			remedy = "the API server can't be reached: check registration.server, the network and agent.proxy: "
		}
	}
	return fmt.Errorf("asking %s to join: %s%w (%w)", bundle.Server, remedy, err, kind)
}

// connect speaks to the API server with the token of a bundle.
func (e *Enrollment) connect(bundle Bundle) (rest.Interface, error) {
	scheme := runtime.NewScheme()
	if err := v1beta1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	config, err := e.config(bundle.Server, bundle.CA, func() string { return bundle.Token }, func() {})
	if err != nil {
		return nil, err
	}
	config.APIPath, config.GroupVersion = "/apis", &v1beta1.GroupVersion
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	client, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", bundle.Server, err)
	}
	return client, nil
}
