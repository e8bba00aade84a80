package operator

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"elemental/adapters/kubernetes"
	"elemental/adapters/kubernetes/api/v1beta1"
	"elemental/core"
	"elemental/ports"
)

// hostAccount names the Secret that a host's tokens are bound to.
func hostAccount(host string) string { return kubernetes.HostAccount(host) }

// Registrations returns registrations.
func (c *Client) Registrations(ctx context.Context, name string) ([]ports.Registration, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if name != "" {
		registration := &v1beta1.ElementalRegistration{}
		if err := c.objects.Get().Namespace(c.namespace).Resource(registrationsResource).Name(name).Do(ctx).Into(registration); err != nil {
			return nil, failure(fmt.Sprintf("reading ElementalRegistration %s/%s", c.namespace, name), err)
		}
		shown := registrationOf(registration)
		var err error
		shown.Bundle, err = c.bundle(ctx, registration)
		return []ports.Registration{shown}, err
	}
	list := &v1beta1.ElementalRegistrationList{}
	if err := c.objects.Get().Namespace(c.namespace).Resource(registrationsResource).Do(ctx).Into(list); err != nil {
		return nil, failure("listing the registrations", err)
	}
	var registrations []ports.Registration
	for i := range list.Items {
		registrations = append(registrations, registrationOf(&list.Items[i]))
	}
	slices.SortFunc(registrations, func(a, b ports.Registration) int { return cmp.Compare(a.Name, b.Name) })
	return registrations, nil
}

// bundle reads the Secret of a registration; nil when there is none.
func (c *Client) bundle(ctx context.Context, of *v1beta1.ElementalRegistration) (*ports.Bundle, error) {
	name := cmp.Or(of.Status.BundleSecret, kubernetes.RegistrationAccount(of.Name))
	doing := fmt.Sprintf("reading Secret %s/%s, the bundle of ElementalRegistration %s", of.Namespace, name, of.Name)
	client, err := typedcorev1.NewForConfig(c.config)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	secret, err := client.Secrets(of.Namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, failure(doing, err)
	}
	value := func(key string) string { return string(secret.Data[key]) }
	return &ports.Bundle{
		Server: value(kubernetes.BundleServer), CA: value(kubernetes.BundleCA), Namespace: value(kubernetes.BundleNamespace),
		Registration: value(kubernetes.BundleRegistration), Token: value(kubernetes.BundleToken),
	}, nil
}

// endingOf is how a boot ends that has done its work. A host that is off can't restart.
func endingOf(action v1beta1.PowerAction) core.Ending {
	switch {
	case action.PowerOff:
		return core.EndingPowerOff
	case action.Reboot:
		return core.EndingReboot
	default:
		return core.EndingNone
	}
}

// registrationOf says in our own words what a registration shows.
func registrationOf(of *v1beta1.ElementalRegistration) ports.Registration {
	agent := of.Spec.Config.Elemental.Agent
	r := ports.Registration{
		Namespace: of.Namespace, Name: of.Name, Approval: core.Approval(of.Spec.Approval), Hosts: int(of.Status.Hosts),
		Lasting: of.Spec.Config.Elemental.Registration.LongLived,
		Agent: ports.AgentSettings{
			WorkDir: agent.WorkDir, OSPlugin: agent.OSPlugin, NoSMBIOS: agent.NoSMBIOS, Debug: agent.Debug,
			Naming:      core.NamingRule{UseExisting: agent.Hostname.UseExisting, Prefix: agent.Hostname.Prefix},
			PostInstall: endingOf(agent.PostInstall), PostReset: endingOf(agent.PostReset),
		},
	}
	for _, condition := range of.Status.Conditions {
		if condition.Type == core.Ready {
			r.Ready = conditionOf(condition)
		}
	}
	if at := of.Status.TokenExpirationTime; at != nil {
		r.Expires = at.Time
	}
	return r
}
