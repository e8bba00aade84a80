// Package operator is the management cluster as the person at the command line sees it: through a
// kubeconfig, and with that person's rights.
package operator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"elemental/adapters/kubernetes/api/v1beta1"
	"elemental/core"
	"elemental/ports"
)

const (
	fieldManager   = "elemental-cli"
	requestTimeout = 30 * time.Second
	chunk          = 500 // objects of one answer to a list, as kubectl has it
)

// Client implements ports.Operator and ports.Gatekeeper.
type Client struct {
	namespace string
	objects   rest.Interface // of our own group
	wholes    rest.Interface // the same objects, as the API server sends them
	config    *rest.Config
}

// New reads the kubeconfig that the flags lead to. It does not speak to the cluster yet.
func New(flags *genericclioptions.ConfigFlags) (*Client, error) {
	loader := flags.ToRawKubeConfigLoader()
	namespace, _, err := loader.Namespace()
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	config, err := flags.ToRESTConfig()
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
	ours := rest.CopyConfig(config)
	ours.APIPath, ours.GroupVersion = "/apis", &v1beta1.GroupVersion
	ours.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	objects, err := rest.RESTClientFor(ours)
	if err != nil {
		return nil, fmt.Errorf("connecting to the cluster: %w", err)
	}
	untyped := dynamic.ConfigFor(ours)
	wholes, err := rest.RESTClientFor(untyped)
	if err != nil {
		return nil, fmt.Errorf("connecting to the cluster: %w", err)
	}
	return &Client{namespace: namespace, objects: objects, wholes: wholes, config: config}, nil
}

// source is where what is selected is read, and as which kind.
func (c *Client) source(selection ports.Selection) (rest.Interface, kind) {
	if selection.Objects {
		return c.wholes, whole(kindOf(selection.Kind))
	}
	return c.objects, kindOf(selection.Kind)
}

// List returns what is selected.
func (c *Client) List(ctx context.Context, selection ports.Selection) ([]ports.Target, error) {
	named := len(selection.Names) > 0 && selection.Labels == "" && selection.Fields == ""
	if named && len(selection.Names) == 1 {
		return c.each(ctx, selection)
	}
	doing := fmt.Sprintf("listing the %ss", cmp.Or(selection.Kind, core.KindHost))
	_, k := c.source(selection)
	options, err := optionsOf(selection)
	if err != nil {
		return nil, &answer{doing: doing, kind: ports.ErrDenied, err: err}
	}
	var targets []ports.Target
	for options.Limit = chunk; ; {
		list := k.list()
		err := c.listOnce(ctx, k, selection, options, list)
		switch {
		case apierrors.IsForbidden(err) && named:
			return c.each(ctx, selection) // Who may not list may still get what is named.
		case err != nil:
			return nil, failure(doing, err)
		}
		for _, object := range k.items(list) {
			if len(selection.Names) == 0 || slices.Contains(selection.Names, object.GetName()) {
				targets = append(targets, k.target(object))
			}
		}
		if options.Continue = list.GetContinue(); options.Continue == "" {
			break
		}
	}
	var missing []error
	for _, name := range distinct(selection.Names) {
		if !slices.ContainsFunc(targets, func(t ports.Target) bool { return t.Name == name }) {
			missing = append(missing, failure(c.reading(selection, name),
				apierrors.NewNotFound(v1beta1.GroupVersion.WithResource(k.resource).GroupResource(), name)))
		}
	}
	return sorted(targets), errors.Join(missing...)
}

// each gets what is named, one after the other.
func (c *Client) each(ctx context.Context, selection ports.Selection) ([]ports.Target, error) {
	var targets []ports.Target
	var missing []error
	for _, name := range distinct(selection.Names) {
		switch target, err := c.get(ctx, selection, name); {
		case errors.Is(err, ports.ErrNotFound):
			missing = append(missing, err)
		case err != nil:
			return nil, err
		default:
			targets = append(targets, target)
		}
	}
	return sorted(targets), errors.Join(missing...)
}

// distinct are names without those that were given before, in their order.
func distinct(names []string) []string {
	given := map[string]bool{}
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		again := given[name]
		given[name] = true
		return again
	})
}

func sorted(targets []ports.Target) []ports.Target {
	slices.SortFunc(targets, func(a, b ports.Target) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return targets
}

func (c *Client) reading(selection ports.Selection, name string) string {
	return fmt.Sprintf("reading %s %s/%s", cmp.Or(selection.Kind, core.KindHost), c.namespace, name)
}

func (c *Client) listOnce(ctx context.Context, k kind, selection ports.Selection, options metav1.ListOptions, into runtime.Object) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	from, _ := c.source(selection)
	return from.Get().Resource(k.resource).NamespaceIfScoped(c.namespace, !selection.Everywhere).
		VersionedParams(&options, metav1.ParameterCodec).Do(ctx).Into(into)
}

// optionsOf says in the cluster's words what is selected. Several names are left to the reader of the answer.
func optionsOf(selection ports.Selection) (metav1.ListOptions, error) {
	if _, err := labels.Parse(selection.Labels); err != nil {
		return metav1.ListOptions{}, unreadable("label", selection.Labels, err)
	}
	field, err := fields.ParseSelector(selection.Fields)
	if err != nil {
		return metav1.ListOptions{}, unreadable("field", selection.Fields, err)
	}
	if len(selection.Names) == 1 {
		field = fields.AndSelectors(field, fields.OneTermEqualSelector(metav1.ObjectNameField, selection.Names[0]))
	}
	return metav1.ListOptions{LabelSelector: selection.Labels, FieldSelector: field.String()}, nil
}

// unreadable is the error of a selector that says nothing to the cluster.
func unreadable(what, selector string, err error) error {
	return fmt.Errorf("reading the %s selector %q: %w: %w", what, selector, ports.ErrInvalid, err)
}

func (c *Client) get(ctx context.Context, selection ports.Selection, name string) (ports.Target, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	from, k := c.source(selection)
	object := k.object()
	if err := from.Get().Namespace(c.namespace).Resource(k.resource).Name(name).Do(ctx).Into(object); err != nil {
		return ports.Target{}, failure(c.reading(selection, name), err)
	}
	return k.target(object), nil
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
	case errors.Is(err, context.Canceled):
		kind = context.Canceled // It was the person who ended it.
	}
	return &answer{doing: doing, kind: kind, err: err}
}

// answer is an error that reads in one line and still is what the callers tell apart.
type answer struct {
	doing     string
	kind, err error
}

func (a *answer) Error() string   { return a.doing + ": " + words(a.err) }
func (a *answer) Unwrap() []error { return []error{a.kind, a.err} }

var _ ports.Operator = (*Client)(nil)
