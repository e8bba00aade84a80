// Package hostclient is the management cluster as one host sees it: its own ElementalHost by one watch,
// that object's status, and its Lease. It keeps no cache and knows no other object, so that an agent
// stays small.
package hostclient

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"elemental/adapters/kubernetes/api/v1beta1"
	"elemental/ports"
)

// fieldManager owns what the agent writes.
const fieldManager = "elemental-agent"

// requestTimeout ends a request that the cluster does not answer; the watch has none.
const requestTimeout = 30 * time.Second

// Client is one host's access to its cluster. It implements ports.Cluster.
type Client struct {
	namespace, name string
	hosts           rest.Interface // of our group
	leases          rest.Interface
	core            rest.Interface

	mu      sync.Mutex
	uid     types.UID          // of the object that was last seen
	current []metav1.Condition // as the cluster last showed them, for their transition times
	written written
}

// written is what was last reported, so that nothing is written twice.
type written struct {
	said    string                      // all of it
	status  v1beta1.ElementalHostStatus // as the agent owns it
	version uint64                      // of the object that the cluster made of it
}

// New connects with the identity that a kubeconfig holds. It does not speak to the cluster yet.
func New(kubeconfig, namespace, name string) (*Client, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig %s: %w", kubeconfig, err)
	}
	config.UserAgent = "elemental-agent"
	config.QPS = -1 // The API server's priority and fairness is the limit.
	return NewFor(config, namespace, name)
}

// NewFor connects with the identity that a configuration has. It does not speak to the cluster yet.
func NewFor(config *rest.Config, namespace, name string) (*Client, error) {
	config = rest.CopyConfig(config)
	scheme := runtime.NewScheme()
	if err := v1beta1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	scheme.AddKnownTypes(coordinationv1.SchemeGroupVersion, &coordinationv1.Lease{})
	scheme.AddKnownTypes(corev1.SchemeGroupVersion, &corev1.Secret{})
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	transport, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", config.Host, err)
	}
	c := &Client{namespace: namespace, name: name}
	for _, g := range []struct {
		client *rest.Interface
		group  schema.GroupVersion
		path   string
	}{
		{&c.hosts, v1beta1.GroupVersion, "/apis"},
		{&c.leases, coordinationv1.SchemeGroupVersion, "/apis"},
		{&c.core, corev1.SchemeGroupVersion, "/api"},
	} {
		if *g.client, err = groupClient(config, transport, g.group, g.path); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func groupClient(config *rest.Config, transport *http.Client, group schema.GroupVersion, path string) (rest.Interface, error) {
	config = rest.CopyConfig(config)
	config.GroupVersion, config.APIPath = &group, path
	client, err := rest.RESTClientForConfigAndClient(config, transport)
	if err != nil {
		return nil, fmt.Errorf("connecting to the API group %s: %w", group, err)
	}
	return client, nil
}

// Heartbeat renews the host's Lease, which the controller made.
func (c *Client) Heartbeat(ctx context.Context) error {
	body, err := json.Marshal(map[string]any{"spec": map[string]any{
		"holderIdentity": c.name, "renewTime": metav1.NowMicro(),
	}})
	if err != nil {
		return fmt.Errorf("renewing the lease of host %s: %w", c.name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	err = c.leases.Patch(types.MergePatchType).Namespace(c.namespace).Resource("leases").Name(c.name).Body(body).Do(ctx).Error()
	return c.failure("renewing the lease of", err)
}

// BootstrapData reads the Secret that waits for this host.
func (c *Client) BootstrapData(ctx context.Context) (ports.BootstrapData, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var secret corev1.Secret
	err := c.core.Get().Namespace(c.namespace).Resource("secrets").Name(v1beta1.BootstrapSecretName(c.name)).Do(ctx).Into(&secret)
	if err != nil {
		return ports.BootstrapData{}, c.failure("reading the bootstrap data of", err)
	}
	data := ports.BootstrapData{Format: string(secret.Data["format"]), Data: secret.Data["value"]}
	if data.Format == "" {
		data.Format = "cloud-config" // As Cluster API's contract has it.
	}
	return data, nil
}

// failure says in our own words what an answer of the API server means.
func (c *Client) failure(doing string, err error) error {
	kind := ports.ErrNotReady
	switch {
	case err == nil:
		return nil
	case apierrors.IsNotFound(err):
		kind = ports.ErrNotFound
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		kind = ports.ErrDenied
	case apierrors.IsConflict(err):
		kind = ports.ErrConflict
	}
	return fmt.Errorf("%s host %s/%s: %w (%w)", doing, c.namespace, c.name, err, kind)
}
