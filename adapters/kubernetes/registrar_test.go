package kubernetes

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemental/adapters/kubernetes/api/v1beta1"
	"elemental/adapters/kubernetes/enrollment"
	"elemental/ports"
	"elemental/ports/portstest"
)

// TestRegistrar holds a host's enrollment against its port, with a real API server and the controller.
func TestRegistrar(t *testing.T) {
	portstest.TestRegistrar(t, func(t *testing.T) portstest.RegistrarCase {
		w := newWorld(t)
		w.let()
		w.controller()
		handed := w.open("field", v1beta1.ElementalRegistrationSpec{})
		folder := filepath.Join(t.TempDir(), "identity")
		reopen := func() *enrollment.Enrollment {
			return enrollment.New(folder, func() (enrollment.Bundle, error) {
				return enrollment.Bundle{
					Server: string(handed.Data[BundleServer]), CA: handed.Data[BundleCA], Namespace: string(handed.Data[BundleNamespace]),
					Registration: string(handed.Data[BundleRegistration]), Token: string(handed.Data[BundleToken]),
				}, nil
			})
		}
		enrolled := reopen()
		reach := func() *rest.Config {
			config, err := enrolled.RESTConfig()
			w.NoErr(err)
			return config
		}
		return portstest.RegistrarCase{
			Registrar: enrolled,
			Reopen:    func() ports.Registrar { return reopen() },
			Connect:   func() { w.served(enrolled, reach()) },
			Hold: func() {
				_, err := w.kubectl("patch", "elementalregistration", "field", "--type=merge", "-p", `{"spec":{"approval":"Manual"}}`)
				w.NoErr(err)
			},
			Approve: func() {
				asked := &v1beta1.ElementalHostRequestList{}
				w.NoErr(w.admin.List(t.Context(), asked, client.InNamespace(w.namespace)))
				w.Equal(len(asked.Items), 1)
				_, err := w.kubectl("patch", "elementalhostrequest", asked.Items[0].Name, "--subresource=status", "--type=merge", "-p",
					`{"status":{"conditions":[{"type":"Approved","status":"True","reason":"Trusted","message":"","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}`)
				w.NoErr(err)
			},
			Refuse: func() { w.forgetTokens(enrolled, reach()) },
			Change: func() {
				published := &corev1.ConfigMap{
					ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: rootCA}, Data: map[string]string{"ca.crt": string(plane.CA()) + authority(t)},
				}
				w.NoErr(w.admin.Create(t.Context(), published))
			},
		}
	})
}

// authority is the certificate of one that signed nothing yet.
func authority(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// read is what a host reads of itself.
func (w *world) read(enrolled *enrollment.Enrollment, config *rest.Config) (*v1beta1.ElementalHost, error) {
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	self, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, err
	}
	identity, err := enrolled.Identity(w.t.Context())
	if err != nil {
		return nil, err
	}
	host := &v1beta1.ElementalHost{}
	return host, self.Get(w.t.Context(), client.ObjectKey{Namespace: identity.Namespace, Name: identity.Host}, host)
}

// served lets a host report with what it was given, as its agent does: then its request has served, and is gone.
func (w *world) served(enrolled *enrollment.Enrollment, config *rest.Config) {
	w.t.Helper()
	w.eventually(func() error { // The authorizer learns of a new role a moment later.
		_, err := w.read(enrolled, config)
		return err
	})
	identity, err := enrolled.Identity(w.t.Context())
	w.NoErr(err)
	_, err = w.kubectl("patch", "elementalhost", identity.Host, "--subresource=status", "--type=merge", "-p",
		fmt.Sprintf(`{"status":{"system":{"request":%q}}}`, identity.Request))
	w.NoErr(err)
	w.eventually(func() error {
		asked := &v1beta1.ElementalHostRequestList{}
		if err := w.admin.List(w.t.Context(), asked, client.InNamespace(w.namespace)); err != nil {
			return err
		}
		if len(asked.Items) > 0 {
			return errors.New("the request is still there")
		}
		return nil
	})
}

// forgetTokens deletes the handle of a host, and waits until its tokens have ended.
func (w *world) forgetTokens(enrolled *enrollment.Enrollment, config *rest.Config) {
	w.t.Helper()
	identity, err := enrolled.Identity(w.t.Context())
	w.NoErr(err)
	_, err = w.kubectl("delete", "secret", HostAccount(identity.Host))
	w.NoErr(err)
	w.eventually(func() error {
		if _, err := w.read(enrolled, config); !apierrors.IsUnauthorized(err) {
			return fmt.Errorf("the token still lives: %w", err)
		}
		return nil
	})
}
