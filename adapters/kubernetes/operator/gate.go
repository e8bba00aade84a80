package operator

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	typedauthenticationv1 "k8s.io/client-go/kubernetes/typed/authentication/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/retry"

	"elemental/adapters/kubernetes/api/v1beta1"
	"elemental/core"
	"elemental/ports"
)

const (
	registrationsResource = "elementalregistrations"
	requestsResource      = "elementalhostrequests"
)

// requestKind is how the cluster knows requests to join.
func requestKind(objects bool) kind {
	k := kind{
		name: "ElementalHostRequest", resource: requestsResource,
		object: func() object { return &v1beta1.ElementalHostRequest{} },
		list:   func() list { return &v1beta1.ElementalHostRequestList{} },
		items: func(l list) (all []object) {
			items := l.(*v1beta1.ElementalHostRequestList).Items
			for i := range items {
				all = append(all, &items[i])
			}
			return all
		},
	}
	if objects {
		return whole(k)
	}
	return k
}

// Requests returns the requests to join.
func (c *Client) Requests(ctx context.Context, selection ports.RequestSelection) ([]ports.JoinRequest, error) {
	k := requestKind(selection.Objects)
	var requests []ports.JoinRequest
	for options := (metav1.ListOptions{Limit: chunk}); ; {
		list := k.list()
		if err := c.listOnce(ctx, k, ports.Selection{Everywhere: selection.Everywhere, Objects: selection.Objects}, options, list); err != nil {
			return nil, failure("listing the requests to join", err)
		}
		for _, o := range k.items(list) {
			requests = append(requests, requestOf(o))
		}
		if options.Continue = list.GetContinue(); options.Continue == "" {
			break
		}
	}
	slices.SortFunc(requests, func(a, b ports.JoinRequest) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), a.Created.Compare(b.Created), cmp.Compare(a.Name, b.Name))
	})
	return requests, nil
}

// FollowRequests watches the requests to join.
func (c *Client) FollowRequests(ctx context.Context, selection ports.RequestSelection, seen func(ports.JoinRequest) bool) error {
	requests, err := c.Requests(ctx, selection)
	if err != nil {
		return err
	}
	k := requestKind(selection.Objects)
	return c.follow(ctx, following{
		doing: "following the requests to join", whole: selection.Objects,
		resource: k.resource, object: k.object, everywhere: selection.Everywhere,
		begin: func(s *sight) {
			for _, r := range requests {
				s.show(cache.NewObjectName(r.Namespace, r.Name), "", func() bool { return seen(r) })
			}
		},
		means: func(string) bool { return true },
		seen:  func(o object) bool { return seen(requestOf(o)) },
		gone: func(namespace, name string) bool {
			return seen(ports.JoinRequest{Namespace: namespace, Name: name, Gone: true})
		},
	})
}

// requestOf says in our own words what a request shows. One that is read as it was sent is kept as that.
func requestOf(o object) ports.JoinRequest {
	asked, typed := o.(*v1beta1.ElementalHostRequest)
	var text []byte
	if !typed {
		o.SetManagedFields(nil)
		asked = &v1beta1.ElementalHostRequest{}
		var err error
		if text, err = json.Marshal(o); err == nil {
			err = json.Unmarshal(text, asked)
		}
		if err != nil { // It is no object of this kind, and is shown all the same.
			asked.Namespace, asked.Name = o.GetNamespace(), o.GetName()
		}
	}
	r := ports.JoinRequest{
		Namespace: asked.Namespace, Name: asked.Name, UID: string(asked.UID), Created: asked.CreationTimestamp.Time,
		Registration: asked.Spec.Registration, Hostname: asked.Spec.Hostname, Serial: asked.Spec.SerialNumber,
		Replaces: asked.Status.Replaces, Host: asked.Status.HostName, Object: text,
	}
	for _, condition := range asked.Status.Conditions {
		switch condition.Type {
		case v1beta1.ConditionAdmitted:
			r.Admitted = conditionOf(condition)
		case v1beta1.ConditionApproved:
			r.Ruled, r.Ruling = condition.Message, core.RulingDenied
			if condition.Status == metav1.ConditionTrue {
				r.Ruling = core.RulingApproved
			}
		}
	}
	return r
}

// Rule applies an operator's ruling: the condition that is the operator's alone, and the host that is replaced.
func (c *Client) Rule(ctx context.Context, of ports.JoinRequest, verdict ports.Verdict) error {
	namespace := cmp.Or(of.Namespace, c.namespace)
	doing := fmt.Sprintf("ruling on ElementalHostRequest %s/%s", namespace, of.Name)
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	condition := metav1.Condition{
		Type: v1beta1.ConditionApproved, Status: metav1.ConditionTrue, Reason: "Approved", LastTransitionTime: metav1.Now(),
		Message: c.signed(ctx, string(verdict.Ruling), verdict.Why),
	}
	if verdict.Ruling != core.RulingApproved {
		condition.Status, condition.Reason = metav1.ConditionFalse, "Denied"
	}
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		now := &v1beta1.ElementalHostRequest{}
		if err := c.objects.Get().Namespace(namespace).Resource(requestsResource).Name(of.Name).Do(ctx).Into(now); err != nil {
			return err
		}
		if string(now.UID) != of.UID {
			return errAnother
		}
		body, err := json.Marshal(map[string]any{
			"apiVersion": v1beta1.GroupVersion.String(), "kind": "ElementalHostRequest",
			"metadata": map[string]any{"name": of.Name, "namespace": namespace, "resourceVersion": now.ResourceVersion},
			"status":   map[string]any{"conditions": []metav1.Condition{condition}, "replaces": verdict.Replaces},
		})
		if err != nil {
			return err
		}
		return c.objects.Patch(types.ApplyPatchType).Namespace(namespace).Resource(requestsResource).Name(of.Name).SubResource("status").
			Param("fieldManager", fieldManager).Param("force", "true").Body(body).Do(ctx).Error()
	})
	switch {
	case errors.Is(err, errAnother):
		return fmt.Errorf("%s: %w", doing, err)
	case err != nil:
		return failure(doing, err)
	default:
		return nil
	}
}

// errAnother says that the host has asked anew, perhaps through another registration or by another name.
var errAnother = fmt.Errorf("it was deleted, and the host has asked anew; look at it again: %w", ports.ErrConflict)

// signed says who did something, and why.
func (c *Client) signed(ctx context.Context, what, why string) string {
	who := "an administrator"
	if client, err := typedauthenticationv1.NewForConfig(c.config); err == nil {
		self, err := client.SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		if err == nil { // Whoever may not ask who they are is not kept from ruling.
			who = cmp.Or(self.Status.UserInfo.Username, who)
		}
	}
	return what + " by " + who + map[bool]string{true: ": " + why}[why != ""]
}

// revocationPoll is how often a handle is looked for that is about to go.
const revocationPoll = 200 * time.Millisecond

// Revoke marks a host, and waits for the end of what its tokens are bound to.
func (c *Client) Revoke(ctx context.Context, host, why string, patience time.Duration) (ports.Revocation, error) {
	doing := fmt.Sprintf("revoking the identity of ElementalHost %s/%s", c.namespace, host)
	client, err := typedcorev1.NewForConfig(c.config)
	if err != nil {
		return "", fmt.Errorf("%s: %w", doing, err)
	}
	marking, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	handle, err := client.Secrets(c.namespace).Get(marking, hostAccount(host), metav1.GetOptions{})
	hidden := err != nil && !apierrors.IsNotFound(err)
	mark := time.Now().UTC().Format(time.RFC3339) + " " + c.signed(marking, "revoked", why)
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{v1beta1.AnnotationRevoked: mark}}})
	if err != nil {
		return "", fmt.Errorf("%s: %w", doing, err)
	}
	err = c.objects.Patch(types.MergePatchType).Namespace(c.namespace).Resource("elementalhosts").Name(host).
		Param("fieldManager", fieldManager).Body(body).Do(marking).Error()
	switch {
	case err != nil:
		return "", failure(doing, err)
	case hidden:
		return ports.RevocationUnseen, nil
	default:
		return c.ended(ctx, client, handle, host, patience), nil
	}
}

// ended waits until the handle is gone. Another of its name is that of a new identity.
func (c *Client) ended(ctx context.Context, client typedcorev1.SecretsGetter, handle *corev1.Secret, host string, patience time.Duration) ports.Revocation {
	denied := false
	err := wait.PollUntilContextTimeout(ctx, revocationPoll, patience, true, func(ctx context.Context) (bool, error) {
		now, err := client.Secrets(c.namespace).Get(ctx, hostAccount(host), metav1.GetOptions{})
		denied = apierrors.IsForbidden(err)
		return denied || apierrors.IsNotFound(err) || err == nil && now.UID != handle.UID, nil
	})
	switch {
	case denied:
		return ports.RevocationUnseen
	case err != nil && !errors.Is(err, context.Canceled):
		return ports.RevocationAsked
	case err != nil:
		return ports.RevocationUnseen // The person did not wait for it.
	default:
		return ports.RevocationDone
	}
}

var _ ports.Gatekeeper = (*Client)(nil)
