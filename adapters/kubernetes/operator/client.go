// Package operator is the management cluster as the person at the command line sees it: through a
// kubeconfig, and with that person's rights.
package operator

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

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

const (
	fieldManager   = "elemental-cli"
	requestTimeout = 30 * time.Second
	resource       = "elementalhosts"
)

// Client implements ports.Operator.
type Client struct {
	namespace string
	hosts     rest.Interface
}

// Options say which cluster is meant. Empty ones are found as kubectl finds them.
type Options struct {
	Kubeconfig string
	Context    string
	Namespace  string
}

// New reads the kubeconfig. It does not speak to the cluster yet.
func New(options Options) (*Client, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = options.Kubeconfig
	overrides := &clientcmd.ConfigOverrides{CurrentContext: options.Context}
	overrides.Context.Namespace = options.Namespace
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides)
	namespace, _, err := loader.Namespace()
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	config, err := loader.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	scheme := runtime.NewScheme()
	if err := v1beta1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	config.UserAgent = fieldManager
	config.QPS = -1 // The API server's priority and fairness is the limit.
	config.APIPath, config.GroupVersion = "/apis", &v1beta1.GroupVersion
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	hosts, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("connecting to the cluster: %w", err)
	}
	return &Client{namespace: namespace, hosts: hosts}, nil
}

// List returns the hosts.
func (c *Client) List(ctx context.Context, everywhere bool) ([]ports.Host, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	list := &v1beta1.ElementalHostList{}
	call := c.hosts.Get().Resource(resource)
	if !everywhere {
		call = call.Namespace(c.namespace)
	}
	if err := call.Do(ctx).Into(list); err != nil {
		return nil, failure("listing the hosts", err)
	}
	hosts := make([]ports.Host, 0, len(list.Items))
	for i := range list.Items {
		hosts = append(hosts, hostOf(&list.Items[i]))
	}
	slices.SortFunc(hosts, func(a, b ports.Host) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return hosts, nil
}

// Get returns one host.
func (c *Client) Get(ctx context.Context, name string) (ports.Host, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	host := &v1beta1.ElementalHost{}
	if err := c.hosts.Get().Namespace(c.namespace).Resource(resource).Name(name).Do(ctx).Into(host); err != nil {
		return ports.Host{}, failure(fmt.Sprintf("reading host %s/%s", c.namespace, name), err)
	}
	return hostOf(host), nil
}

// RequestImage merges the image into what is asked of a host.
func (c *Client) RequestImage(ctx context.Context, name, reference string) (ports.Host, error) {
	body, err := json.Marshal(map[string]any{"spec": map[string]any{
		"osVersionManagement": map[string]any{"osVersion": map[string]any{"imageUri": reference}},
	}})
	if err != nil {
		return ports.Host{}, fmt.Errorf("asking host %s/%s for an image: %w", c.namespace, name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	host := &v1beta1.ElementalHost{}
	err = c.hosts.Patch(types.MergePatchType).Namespace(c.namespace).Resource(resource).Name(name).
		Param("fieldManager", fieldManager).Body(body).Do(ctx).Into(host)
	if err != nil {
		return ports.Host{}, failure(fmt.Sprintf("asking host %s/%s for an image", c.namespace, name), err)
	}
	return hostOf(host), nil
}

// failure says in our own words what an answer of the API server means.
func failure(doing string, err error) error {
	kind := ports.ErrNotReady
	switch {
	case apierrors.IsNotFound(err):
		kind = ports.ErrNotFound
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err), apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		kind = ports.ErrDenied
	case apierrors.IsConflict(err):
		kind = ports.ErrConflict
	}
	return &answer{doing: doing, kind: kind, err: err}
}

// answer is an error that reads in one line and still is what the callers tell apart.
type answer struct {
	doing     string
	kind, err error
}

func (a *answer) Error() string   { return a.doing + ": " + a.err.Error() }
func (a *answer) Unwrap() []error { return []error{a.kind, a.err} }

var _ ports.Operator = (*Client)(nil)
