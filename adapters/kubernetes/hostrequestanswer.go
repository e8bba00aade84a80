package kubernetes

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"elemental/adapters/kubernetes/api/v1beta1"
	"elemental/adapters/kubernetes/identity"
)

// mostSealed is how many bytes an answer may have; the CRD bounds their base64.
const mostSealed = 512 << 10

// seal asks for a token of the host's account, bound to its handle, and seals it to the host's key.
func (r *applicants) seal(ctx context.Context, asked *v1beta1.ElementalHostRequest, host *v1beta1.ElementalHost, registration *v1beta1.ElementalRegistration) (*v1beta1.SealedCredentials, error) {
	handle, err := r.identities.handle(ctx, host)
	if err != nil {
		return nil, err
	}
	seconds := int64(hostTokenLife / time.Second)
	token := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: &seconds,
		BoundObjectRef:    &authenticationv1.BoundObjectReference{Kind: "Secret", APIVersion: "v1", Name: handle.Name, UID: handle.UID},
	}}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: host.Namespace, Name: HostAccount(host.Name)}}
	if err := r.client.SubResource("token").Create(ctx, account, token); err != nil {
		return nil, fmt.Errorf("asking for a token of ServiceAccount %s/%s: %w", account.Namespace, account.Name, err)
	}
	server := r.server
	if registration != nil {
		server = serverOf(registration, r.server)
	}
	public, err := base64.StdEncoding.DecodeString(asked.Spec.PublicKey)
	if err != nil {
		return nil, errors.New("reading the public key: it is no base64") // The core has refused it before.
	}
	expires := token.Status.ExpirationTimestamp.Time
	sealed, err := identity.Seal(public, identity.Purpose{Namespace: host.Namespace, Host: host.Name, Request: string(asked.UID)}, identity.Credentials{
		Server: server.URL, CA: server.CA, Namespace: host.Namespace, Host: host.Name, Token: token.Status.Token, Expires: expires,
		Orders: ordersOf(registration),
	})
	if err != nil {
		return nil, err
	}
	if registration != nil && len(sealed) > mostSealed {
		return nil, fmt.Errorf("answering ElementalHostRequest %s/%s: spec.config of ElementalRegistration %s is too large to be handed to a host: cloudConfig, install and reset may have %d KiB together",
			asked.Namespace, asked.Name, registration.Name, mostSealed>>10)
	}
	return &v1beta1.SealedCredentials{HostUID: host.UID, Sealed: sealed, ExpirationTime: metav1.NewTime(expires)}, nil
}

// ordersOf is what a registration tells the OS plugins of its hosts.
func ordersOf(registration *v1beta1.ElementalRegistration) identity.Orders {
	if registration == nil {
		return identity.Orders{}
	}
	raw := func(e *runtime.RawExtension) json.RawMessage {
		if absent(e) {
			return nil
		}
		return e.Raw
	}
	config := registration.Spec.Config
	return identity.Orders{
		CloudConfig: raw(config.CloudConfig), Install: raw(config.Elemental.Install), Reset: raw(config.Elemental.Reset),
	}
}
