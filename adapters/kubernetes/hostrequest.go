package kubernetes

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemental/adapters/kubernetes/api/v1beta1"
	"elemental/adapters/kubernetes/identity"
	"elemental/core"
)

// +kubebuilder:rbac:groups=infrastructure.cluster.x-k8s.io,resources=elementalhostrequests,verbs=get;list;watch;delete;create
// +kubebuilder:rbac:groups=infrastructure.cluster.x-k8s.io,resources=elementalhostrequests/status,verbs=patch
// +kubebuilder:rbac:groups=infrastructure.cluster.x-k8s.io,resources=elementalhosts,verbs=create

// How long requests are kept.
const (
	// hostTokenLife is how long a host's token lives; the host renews it long before.
	hostTokenLife = 24 * time.Hour
	// answeredFor is how long an answer waits for its host. A host that comes later asks anew.
	answeredFor = 24 * time.Hour
	// unansweredFor is how long a request waits for someone to act, and a refusal stands to be read.
	unansweredFor = 7 * 24 * time.Hour
)

// applicants reconciles ElementalHostRequests: each is let in, waits, or is refused, as the core says.
type applicants struct {
	client     client.Client
	live       client.Reader
	identities identities
	server     Server
	events     events.EventRecorder
	now        func() time.Time
	counting   *sync.Mutex // held from counting the hosts of a registration until the next one is there
}

// Reconcile answers a host that asks to join, and forgets the request when it has served.
func (r *applicants) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	asked := &v1beta1.ElementalHostRequest{}
	if err := r.client.Get(ctx, request.NamespacedName, asked); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !asked.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	registration, err := r.registrationOf(ctx, asked)
	if err != nil {
		return ctrl.Result{}, err
	}
	known, err := r.known(ctx, asked)
	if err != nil {
		return ctrl.Result{}, err
	}
	if served, again := r.served(asked, known); served {
		return ctrl.Result{}, client.IgnoreNotFound(r.client.Delete(ctx, asked, client.Preconditions{UID: &asked.UID}))
	} else if asked.Status.Credentials != nil && again > 0 && r.valid(asked) {
		if stands, err := r.stands(ctx, asked, known); stands || err != nil {
			return ctrl.Result{RequeueAfter: again}, err
		}
	}
	if registration != nil && registration.Spec.MaxHosts != nil && known == nil {
		r.counting.Lock() // Many who come at once must not all find the last place free.
		defer r.counting.Unlock()
	}
	applicant, err := r.applicant(ctx, asked, registration, known)
	if err != nil {
		return ctrl.Result{}, err
	}
	answer := core.Admit(applicant)
	if answer.Joining != core.JoiningAdmitted {
		if answer.Withdraw {
			err = r.withdraw(ctx, asked, answer)
		} else {
			err = r.report(ctx, asked, answer, answer.Host, nil)
		}
		return ctrl.Result{RequeueAfter: max(time.Second, asked.CreationTimestamp.Add(unansweredFor).Sub(r.now()))}, unlessStale(err)
	}
	return r.admit(ctx, asked, registration, applicant, answer)
}

// stands says whether the very host that an answer was sealed for is still there, and was not revoked: the answer then
// holds. One that was made anew has other tokens. The cache may not know yet a host that was just made, so one that it
// lacks is looked for past it.
func (r *applicants) stands(ctx context.Context, asked *v1beta1.ElementalHostRequest, known *v1beta1.ElementalHost) (bool, error) {
	if known == nil {
		known = &v1beta1.ElementalHost{}
		key := types.NamespacedName{Namespace: asked.Namespace, Name: asked.Status.HostName}
		err := r.live.Get(ctx, key, known)
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("reading ElementalHost %s, which ElementalHostRequest %s was answered with: %w", key, asked.Name, err)
		}
	}
	return known.UID == asked.Status.Credentials.HostUID && !revoked(known), nil
}

// served says whether a request is over: its host reports with the identity that it was given, or nobody took up the
// answer, or gave one, in time. Otherwise it says when to look again.
func (r *applicants) served(asked *v1beta1.ElementalHostRequest, known *v1beta1.ElementalHost) (bool, time.Duration) {
	age := r.now().Sub(asked.CreationTimestamp.Time)
	most := unansweredFor
	if asked.Status.Credentials != nil {
		most = answeredFor
		if known != nil && known.Status.System != nil && known.Status.System.Request == string(asked.UID) {
			return true, 0
		}
	}
	return age >= most, most - age
}

// valid says whether the credentials that an answer holds will do for a while.
func (r *applicants) valid(asked *v1beta1.ElementalHostRequest) bool {
	return asked.Status.Credentials.ExpirationTime.Sub(r.now()) > hostTokenLife/4
}

func (r *applicants) registrationOf(ctx context.Context, asked *v1beta1.ElementalHostRequest) (*v1beta1.ElementalRegistration, error) {
	registration := &v1beta1.ElementalRegistration{}
	key := types.NamespacedName{Namespace: asked.Namespace, Name: asked.Spec.Registration}
	err := r.client.Get(ctx, key, registration)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading ElementalRegistration %s of ElementalHostRequest %s: %w", key, asked.Name, err)
	}
	return registration, nil
}

// known finds the host that has the applicant's key; nil when none has.
func (r *applicants) known(ctx context.Context, asked *v1beta1.ElementalHostRequest) (*v1beta1.ElementalHost, error) {
	list := &v1beta1.ElementalHostList{}
	if err := r.client.List(ctx, list, client.InNamespace(asked.Namespace), client.MatchingFields{indexPubKey: asked.Spec.PublicKey}); err != nil {
		return nil, fmt.Errorf("finding the host of ElementalHostRequest %s/%s: %w", asked.Namespace, asked.Name, err)
	}
	if len(list.Items) == 0 {
		return nil, nil
	}
	host := &list.Items[0]
	if revoked(host) { // It may have been let in again a moment ago, and an approval is taken back for this.
		err := r.live.Get(ctx, client.ObjectKeyFromObject(host), host)
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading ElementalHost %s/%s of ElementalHostRequest %s: %w", host.Namespace, host.Name, asked.Name, err)
		}
	}
	return host, nil
}

// applicant puts a request into the core's words.
func (r *applicants) applicant(ctx context.Context, asked *v1beta1.ElementalHostRequest, registration *v1beta1.ElementalRegistration, known *v1beta1.ElementalHost) (core.Applicant, error) {
	a := core.Applicant{
		Request: asked.Name, Serial: asked.Spec.SerialNumber, Registration: asked.Spec.Registration,
		Ruling: rulingOf(asked), Replaces: asked.Status.Replaces,
	}
	if public, err := base64.StdEncoding.DecodeString(asked.Spec.PublicKey); err == nil && identity.Check(public) == nil &&
		base64.StdEncoding.EncodeToString(public) == asked.Spec.PublicKey {
		a.KeyHash = identity.Hash(public) // One key has one spelling, by which its host is found.
	}
	if registration != nil {
		a.Registered, a.Approval, a.AllowList = registration.DeletionTimestamp.IsZero(), core.Approval(registration.Spec.Approval), registration.Spec.AllowList
		if most := registration.Spec.MaxHosts; most != nil {
			joined := &v1beta1.ElementalHostList{}
			if err := r.live.List(ctx, joined, client.InNamespace(asked.Namespace)); err != nil {
				return a, fmt.Errorf("counting the hosts of ElementalRegistration %s/%s: %w", asked.Namespace, registration.Name, err)
			}
			a.MaxHosts = int(*most)
			for _, host := range joined.Items {
				if host.Annotations[v1beta1.AnnotationRegistrationName] == registration.Name {
					a.Hosts++
				}
			}
		}
	}
	if known != nil {
		a.Known, a.Leaving, a.Revoked = known.Name, !known.DeletionTimestamp.IsZero(), revoked(known)
	}
	a.Told = told(asked, known)
	if a.Replaces != "" {
		replaced := &v1beta1.ElementalHost{}
		err := r.live.Get(ctx, types.NamespacedName{Namespace: asked.Namespace, Name: a.Replaces}, replaced)
		if client.IgnoreNotFound(err) != nil {
			return a, fmt.Errorf("reading ElementalHost %s/%s, which ElementalHostRequest %s is to replace: %w", asked.Namespace, a.Replaces, asked.Name, err)
		}
		a.Found = err == nil && replaced.DeletionTimestamp.IsZero() // No place is left of one that goes.
	}
	return a, nil
}

// admit makes the applicant a host, or finds the one that it is, and seals what lets it be that one.
func (r *applicants) admit(ctx context.Context, asked *v1beta1.ElementalHostRequest, registration *v1beta1.ElementalRegistration, applicant core.Applicant, answer core.Admission) (ctrl.Result, error) {
	var host *v1beta1.ElementalHost
	var err error
	if answer.Host == "" {
		host, err = r.create(ctx, asked, registration)
	} else {
		host, err = r.adopt(ctx, asked, answer.Host, applicant.Revoked)
	}
	if err != nil {
		return ctrl.Result{}, unlessStale(err)
	}
	if err := r.identities.ensure(ctx, host, false); err != nil {
		return ctrl.Result{}, unlessStale(err)
	}
	credentials, err := r.seal(ctx, asked, host, registration)
	if err != nil {
		return ctrl.Result{}, unlessStale(err)
	}
	if err := r.report(ctx, asked, answer, host.Name, credentials); err != nil {
		return ctrl.Result{}, unlessStale(err)
	}
	return ctrl.Result{RequeueAfter: answeredFor / 4}, nil
}

// create makes a host under the first of its names that is free, and never takes one over.
func (r *applicants) create(ctx context.Context, asked *v1beta1.ElementalHostRequest, registration *v1beta1.ElementalRegistration) (*v1beta1.ElementalHost, error) {
	for _, name := range core.HostNames(asked.Spec.Hostname, asked.Name) {
		host := &v1beta1.ElementalHost{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: asked.Namespace, Name: name,
				Labels: maps.Clone(registration.Spec.HostLabels), Annotations: maps.Clone(registration.Spec.HostAnnotations),
				Finalizers: []string{v1beta1.Finalizer},
			},
			Spec: v1beta1.ElementalHostSpec{PubKey: asked.Spec.PublicKey},
		}
		if host.Annotations == nil {
			host.Annotations = map[string]string{}
		}
		host.Annotations[v1beta1.AnnotationRegistrationName] = registration.Name
		host.Annotations[v1beta1.AnnotationRegistrationNamespace] = registration.Namespace
		host.Annotations[v1beta1.AnnotationPubKey] = asked.Spec.PublicKey
		host.Annotations[v1beta1.AnnotationAnsweredRequest] = string(asked.UID)
		system, err := r.isSystems(ctx, asked.Namespace, name)
		if err != nil {
			return nil, err
		}
		if system {
			continue
		}
		err = r.client.Create(ctx, host)
		if err == nil {
			r.events.Eventf(host, nil, corev1.EventTypeNormal, "Joined", "Join", "it joined through ElementalRegistration %s", registration.Name)
			return host, nil
		}
		if !apierrors.IsAlreadyExists(err) {
			return nil, fmt.Errorf("creating ElementalHost %s/%s for ElementalHostRequest %s: %w", asked.Namespace, name, asked.Name, err)
		}
		// It may be this very host, made by a controller that ended before it could say so.
		if err := r.live.Get(ctx, client.ObjectKeyFromObject(host), host); err == nil && host.Spec.PubKey == asked.Spec.PublicKey {
			return host, nil
		}
	}
	return nil, fmt.Errorf("creating an ElementalHost for ElementalHostRequest %s/%s: all its names belong to other hosts", asked.Namespace, asked.Name)
}

// isSystems says whether the Lease by which a host of that name would show that it lives is another program's: a host
// may wish to be called as a leader is elected.
func (r *applicants) isSystems(ctx context.Context, namespace, name string) (bool, error) {
	lease := &coordinationv1.Lease{}
	key := types.NamespacedName{Namespace: namespace, Name: name}
	err := r.live.Get(ctx, key, lease)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading Lease %s: %w", key, err)
	}
	return !slices.ContainsFunc(lease.OwnerReferences, func(o metav1.OwnerReference) bool { return o.Kind == "ElementalHost" }), nil
}

// adopt gives an existing host this key and this request's answer. It ends a revocation only if that was looked at.
func (r *applicants) adopt(ctx context.Context, asked *v1beta1.ElementalHostRequest, name string, revocation bool) (*v1beta1.ElementalHost, error) {
	host := &v1beta1.ElementalHost{}
	if err := r.live.Get(ctx, types.NamespacedName{Namespace: asked.Namespace, Name: name}, host); err != nil {
		return nil, fmt.Errorf("reading ElementalHost %s/%s: %w", asked.Namespace, name, err)
	}
	if host.Spec.PubKey == asked.Spec.PublicKey && revoked(host) && !revocation {
		return nil, apierrors.NewConflict(v1beta1.GroupVersion.WithResource("elementalhosts").GroupResource(), name, errors.New("it was revoked a moment ago"))
	}
	before := host.DeepCopy()
	if host.Spec.PubKey != asked.Spec.PublicKey { // The identity that held its place before ends here.
		if err := r.identities.replace(ctx, host); err != nil {
			return nil, err
		}
		host.Spec.PubKey = asked.Spec.PublicKey
	}
	if host.Annotations == nil {
		host.Annotations = map[string]string{}
	}
	host.Annotations[v1beta1.AnnotationPubKey] = asked.Spec.PublicKey
	host.Annotations[v1beta1.AnnotationAnsweredRequest] = string(asked.UID)
	delete(host.Annotations, v1beta1.AnnotationRevoked)
	err := r.client.Patch(ctx, host, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}), client.FieldOwner(FieldManager))
	if err != nil {
		return nil, fmt.Errorf("giving ElementalHost %s/%s to ElementalHostRequest %s: %w", asked.Namespace, name, asked.Name, err)
	}
	return host, nil
}

// report writes the answer, and tells it as an event when it is a new one.
func (r *applicants) report(ctx context.Context, asked *v1beta1.ElementalHostRequest, answer core.Admission, host string, credentials *v1beta1.SealedCredentials) error {
	admitted := core.Condition{Type: v1beta1.ConditionAdmitted, Status: core.False, Reason: answer.Reason, Message: answer.Message, Generation: asked.Generation}
	if answer.Joining == core.JoiningAdmitted {
		admitted.Status = core.True
	}
	if credentials == nil && asked.Status.Credentials == nil && asked.Status.HostName == host && says(asked.Status.Conditions, []core.Condition{admitted}, v1beta1.ConditionAdmitted) {
		return nil
	}
	status := map[string]any{"conditions": toConditions(asked.Status.Conditions, []core.Condition{admitted}, r.now()), "hostName": host}
	if credentials != nil {
		status["credentials"] = credentials
	}
	if err := applyStatus(ctx, r.client, asked, status); err != nil {
		return err
	}
	r.tell(asked, answer)
	return nil
}

func (r *applicants) tell(asked *v1beta1.ElementalHostRequest, answer core.Admission) {
	kind := corev1.EventTypeNormal
	if answer.Joining == core.JoiningRefused {
		kind = corev1.EventTypeWarning
	}
	r.events.Eventf(asked, nil, kind, answer.Reason, "Join", "%s", answer.Message)
}
