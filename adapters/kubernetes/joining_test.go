package kubernetes

import (
	"encoding/base64"
	"errors"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemental/adapters/kubernetes/api/v1beta1"
	"elemental/adapters/kubernetes/identity"
	"elemental/core"
)

// as is the cluster as the holder of a token sees it.
func (w *world) as(token string) client.Client {
	w.t.Helper()
	admin := configOf(w.t, plane.AdminKubeconfig())
	scheme, err := newScheme()
	w.NoErr(err)
	config := &rest.Config{Host: admin.Host, BearerToken: token, TLSClientConfig: rest.TLSClientConfig{CAData: admin.CAData, CAFile: admin.CAFile}, QPS: -1}
	c, err := client.New(config, client.Options{Scheme: scheme})
	w.NoErr(err)
	return c
}

// open makes a registration, and returns its bundle once it is there.
func (w *world) open(name string, spec v1beta1.ElementalRegistrationSpec) *corev1.Secret {
	w.t.Helper()
	w.NoErr(w.admin.Create(w.t.Context(), &v1beta1.ElementalRegistration{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}, Spec: spec}))
	bundle := &corev1.Secret{}
	w.eventually(func() error {
		return w.admin.Get(w.t.Context(), client.ObjectKey{Namespace: w.namespace, Name: RegistrationAccount(name)}, bundle)
	})
	return bundle
}

// let lets the controller keep identities in this namespace.
func (w *world) let() {
	w.t.Helper()
	_, err := w.kubectl("apply", "-k", "../../packaging/rbac/hosts")
	w.NoErr(err)
}

func (w *world) ask(with client.Client, key identity.Key, spec v1beta1.ElementalHostRequestSpec) (*v1beta1.ElementalHostRequest, error) {
	spec.PublicKey = base64.StdEncoding.EncodeToString(key.Public())
	asked := &v1beta1.ElementalHostRequest{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: identity.Hash(key.Public())}, Spec: spec}
	return asked, with.Create(w.t.Context(), asked)
}

// answer waits for a request's answer.
func (w *world) answer(with client.Client, asked *v1beta1.ElementalHostRequest) *v1beta1.ElementalHostRequest {
	w.t.Helper()
	w.eventually(func() error {
		if err := with.Get(w.t.Context(), client.ObjectKeyFromObject(asked), asked); err != nil {
			return err
		}
		if meta.FindStatusCondition(asked.Status.Conditions, v1beta1.ConditionAdmitted) == nil {
			return errors.New("there is no answer")
		}
		return nil
	})
	return asked
}

// forget removes what a host owned, as the cluster's garbage collector does.
func (w *world) forget(host string) {
	w.t.Helper()
	_, err := w.kubectl("delete", "--ignore-not-found", "lease/"+host, "serviceaccount/"+HostAccount(host), "role/"+HostAccount(host), "rolebinding/"+HostAccount(host), "secret/"+HostAccount(host))
	w.NoErr(err)
}

func TestAHostJoins(t *testing.T) {
	w := newWorld(t)
	w.let()
	w.controller()
	bundle := w.open("field", v1beta1.ElementalRegistrationSpec{HostLabels: map[string]string{"site": "north"}})
	w.Equal(string(bundle.Data[BundleNamespace]), w.namespace)
	w.True(len(bundle.Data[BundleCA]) > 0)
	registrar := w.as(string(bundle.Data[BundleToken]))
	key, err := identity.NewKey()
	w.NoErr(err)
	asked, err := w.ask(registrar, key, v1beta1.ElementalHostRequestSpec{Registration: "field", Hostname: "Edge 1", SerialNumber: "S1"})
	w.NoErr(err)
	answered := w.answer(registrar, asked)
	w.Equal(answered.Status.HostName, "edge-1")
	credentials, err := key.Open(answered.Status.Credentials.Sealed, identity.Purpose{Namespace: w.namespace, Host: "edge-1", Request: string(answered.UID)})
	w.NoErr(err)
	self := w.as(credentials.Token)
	host := &v1beta1.ElementalHost{}
	w.eventually(func() error {
		return self.Get(t.Context(), client.ObjectKey{Namespace: w.namespace, Name: "edge-1"}, host)
	})
	w.Equal(host.Labels["site"], "north")

	// The request has served once the host reports with what it was given.
	host.Status.System = &v1beta1.SystemStatus{Request: string(answered.UID)}
	_, err = w.kubectl("patch", "elementalhost", "edge-1", "--subresource=status", "--type=merge", "-p", fmt.Sprintf(`{"status":{"system":{"request":%q}}}`, answered.UID))
	w.NoErr(err)
	w.eventually(func() error {
		if err := w.admin.Get(t.Context(), client.ObjectKeyFromObject(asked), &v1beta1.ElementalHostRequest{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("the request is still there: %w", err)
		}
		return nil
	})

	// The same key is the same host again; another of the same wish is another.
	again, err := w.ask(registrar, key, v1beta1.ElementalHostRequestSpec{Registration: "field", Hostname: "something-else"})
	w.NoErr(err)
	w.Equal(w.answer(registrar, again).Status.HostName, "edge-1")
	other, err := identity.NewKey()
	w.NoErr(err)
	second, err := w.ask(registrar, other, v1beta1.ElementalHostRequestSpec{Registration: "field", Hostname: "edge-1"})
	w.NoErr(err)
	w.Equal(w.answer(registrar, second).Status.HostName, core.HostNames("edge-1", identity.Hash(other.Public()))[1])

	// A host that was deleted before it took up its answer gets another one by the same request.
	before := string(second.Status.Credentials.Sealed)
	_, err = w.kubectl("delete", "elementalhost", second.Status.HostName)
	w.NoErr(err)
	w.forget(second.Status.HostName)
	_, err = w.kubectl("annotate", "elementalhostrequest", second.Name, "look=again")
	w.NoErr(err)
	w.eventually(func() error {
		if err := w.admin.Get(t.Context(), client.ObjectKeyFromObject(second), second); err != nil {
			return err
		}
		if second.Status.Credentials == nil || string(second.Status.Credentials.Sealed) == before {
			return fmt.Errorf("it still has the answer of before: %+v", second.Status.Conditions)
		}
		return nil
	})

	// Revoking ends the host's tokens.
	_, err = w.kubectl("annotate", "elementalhost", "edge-1", v1beta1.AnnotationRevoked+"=true")
	w.NoErr(err)
	w.eventually(func() error {
		if err := self.Get(t.Context(), client.ObjectKey{Namespace: w.namespace, Name: "edge-1"}, host); !apierrors.IsUnauthorized(err) {
			return fmt.Errorf("the token still lives: %w", err)
		}
		return nil
	})
}

func TestARegistrationSaysWhatItLacks(t *testing.T) {
	w := newWorld(t)
	w.controller()
	w.NoErr(w.admin.Create(t.Context(), &v1beta1.ElementalRegistration{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "field"}}))
	w.eventually(func() error {
		registration := &v1beta1.ElementalRegistration{}
		if err := w.admin.Get(t.Context(), client.ObjectKey{Namespace: w.namespace, Name: "field"}, registration); err != nil {
			return err
		}
		c := meta.FindStatusCondition(registration.Status.Conditions, core.Ready)
		if c == nil || c.Status != metav1.ConditionFalse {
			return errors.New("it does not say that it is not ready")
		}
		w.True(len(c.Message) > 0)
		return nil
	})
}
