package kubernetes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemental/adapters/kubernetes/api/v1beta1"
	"elemental/core"
)

// +kubebuilder:rbac:groups=infrastructure.cluster.x-k8s.io,resources=elementalregistrations,verbs=get;list;watch
// +kubebuilder:rbac:groups=infrastructure.cluster.x-k8s.io,resources=elementalregistrations/status,verbs=patch

// The keys of a bundle, the Secret with all that a host needs to register.
const (
	BundleServer       = "server"       // the URL of the API server
	BundleCA           = "ca.crt"       // PEM: who may sign for it
	BundleNamespace    = "namespace"    // of the registration, and of its hosts
	BundleRegistration = "registration" // the registration's name
	BundleToken        = "token"        // of the registration's service account
)

// defaultTokenLife is how long the token of a bundle lives.
const defaultTokenLife = 24 * time.Hour

// RegistrationAccount names the service account that hosts register with, its role, and the Secret of the bundle.
func RegistrationAccount(registration string) string { return "elemental-reg-" + registration }

// registrations reconciles ElementalRegistrations: each has an account that may ask to join, and a bundle that is
// never stale.
type registrations struct {
	client client.Client
	live   client.Reader // past the cache: Secrets are in none
	server Server
	now    func() time.Time
}

// Server is how hosts reach the management cluster, where a registration does not say.
type Server struct {
	URL string
	CA  []byte // PEM
}

// Reconcile keeps a registration's account and bundle.
func (r *registrations) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	registration := &v1beta1.ElementalRegistration{}
	if err := r.client.Get(ctx, request.NamespacedName, registration); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !registration.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil // What it owns goes with it; hosts that joined through it live on.
	}
	expires, err := r.ensure(ctx, registration)
	if reportErr := r.report(ctx, registration, expires, err); reportErr != nil {
		return ctrl.Result{}, unlessStale(reportErr)
	}
	if err != nil {
		return ctrl.Result{}, unlessStale(err)
	}
	if expires.IsZero() {
		return ctrl.Result{}, nil
	}
	return ctrl.Result{RequeueAfter: r.untilRenewal(registration, expires)}, nil
}

// untilRenewal is the time until a third of the bundle token's life is left.
func (r *registrations) untilRenewal(of *v1beta1.ElementalRegistration, expires time.Time) time.Duration {
	return max(time.Second, expires.Sub(r.now())-tokenLife(of)/3)
}

// ensure makes what a registration needs, and returns when the bundle's token ends; zero: never.
func (r *registrations) ensure(ctx context.Context, of *v1beta1.ElementalRegistration) (time.Time, error) {
	name := RegistrationAccount(of.Name)
	owner := owner{"ElementalRegistration", of.Name, of.UID}
	account := &corev1.ServiceAccount{ObjectMeta: managed(of.Namespace, name)}
	role := &rbacv1.Role{ObjectMeta: managed(of.Namespace, name), Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{v1beta1.GroupVersion.Group}, Resources: []string{"elementalhostrequests"}, Verbs: []string{"create", "get"},
	}}}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: managed(of.Namespace, name),
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: of.Namespace, Name: name}},
	}
	rules := role.Rules
	i := identities{client: r.client, live: r.live}
	for _, object := range []client.Object{account, role, binding} {
		if err := i.ensureOwned(ctx, owner, object); err != nil {
			return time.Time{}, err
		}
	}
	if !equality.Semantic.DeepEqual(role.Rules, rules) {
		role.Rules = rules
		if err := r.client.Update(ctx, role); err != nil {
			return time.Time{}, fmt.Errorf("mending Role %s/%s: %w", role.Namespace, role.Name, err)
		}
	}
	return r.ensureBundle(ctx, of)
}

// serverOf is how the hosts of a registration reach the API server.
func serverOf(registration *v1beta1.ElementalRegistration, otherwise Server) Server {
	server, access := otherwise, registration.Spec.Config.Elemental.Registration
	if access.URI != "" {
		server.URL = access.URI
	}
	if access.CACert != "" {
		server.CA = []byte(access.CACert)
	}
	return server
}

// errNoServer says that hosts could not be told whom to ask.
var errNoServer = errors.New("it is not known how hosts reach this API server: set spec.config.elemental.registration.uri, " +
	"or start the controller with --api-server-url")

// ensureBundle makes the Secret that a host needs, and renews its token in time.
func (r *registrations) ensureBundle(ctx context.Context, of *v1beta1.ElementalRegistration) (time.Time, error) {
	server := serverOf(of, r.server)
	if server.URL == "" {
		return time.Time{}, errNoServer
	}
	secret := &corev1.Secret{}
	key := client.ObjectKey{Namespace: of.Namespace, Name: RegistrationAccount(of.Name)}
	err := r.live.Get(ctx, key, secret)
	if err != nil && !apierrors.IsNotFound(err) {
		return time.Time{}, r.explain(of, fmt.Errorf("reading Secret %s: %w", key, err))
	}
	missing := apierrors.IsNotFound(err)
	if !missing && !ownedBy(secret, of.UID) {
		return time.Time{}, fmt.Errorf("using Secret %s for ElementalRegistration %s: it does not belong to the registration; remove it, or give the registration another name", key, of.Name)
	}
	wanted := map[string][]byte{
		BundleServer: []byte(server.URL), BundleCA: server.CA, BundleNamespace: []byte(of.Namespace), BundleRegistration: []byte(of.Name),
	}
	expires, fresh := r.fresh(of, secret)
	if fresh && holds(secret.Data, wanted) {
		return expires, nil
	}
	if wanted[BundleToken] = secret.Data[BundleToken]; !fresh {
		if wanted[BundleToken], expires, err = r.token(ctx, of); err != nil {
			return time.Time{}, r.explain(of, err)
		}
	}
	next := &corev1.Secret{ObjectMeta: managed(of.Namespace, key.Name), Data: wanted}
	next.OwnerReferences = []metav1.OwnerReference{owner{"ElementalRegistration", of.Name, of.UID}.reference()}
	if !expires.IsZero() {
		next.Annotations = map[string]string{annotationExpires: expires.UTC().Format(time.RFC3339)}
	}
	if missing {
		err = r.client.Create(ctx, next)
	} else {
		next.ResourceVersion = secret.ResourceVersion
		err = r.client.Update(ctx, next)
	}
	if err != nil {
		return time.Time{}, r.explain(of, fmt.Errorf("writing Secret %s: %w", key, err))
	}
	return expires, nil
}

// annotationExpires is when the token in a bundle ends.
const annotationExpires = "elementalregistration.infrastructure.cluster.x-k8s.io/token-expires"

// fresh says whether the token of a bundle will do for a while, and when it ends.
func (r *registrations) fresh(of *v1beta1.ElementalRegistration, bundle *corev1.Secret) (time.Time, bool) {
	if len(bundle.Data[BundleToken]) == 0 {
		return time.Time{}, false
	}
	text, limited := bundle.Annotations[annotationExpires]
	if !limited {
		return time.Time{}, of.Spec.Config.Elemental.Registration.LongLived
	}
	expires, err := time.Parse(time.RFC3339, text)
	if err != nil || of.Spec.Config.Elemental.Registration.LongLived {
		return time.Time{}, false
	}
	return expires, expires.Sub(r.now()) > tokenLife(of)/3 && expires.Sub(r.now()) <= tokenLife(of)+time.Minute
}

func holds(data, wanted map[string][]byte) bool {
	for key, value := range wanted {
		if !bytes.Equal(data[key], value) {
			return false
		}
	}
	return true
}

func tokenLife(of *v1beta1.ElementalRegistration) time.Duration {
	if d := of.Spec.Config.Elemental.Registration.TokenDuration; d != nil && d.Duration > 0 {
		return max(10*time.Minute, d.Duration) // The API server grants no shorter one.
	}
	return defaultTokenLife
}

// token asks for a token of the registration's account; its end is zero if it has none.
func (r *registrations) token(ctx context.Context, of *v1beta1.ElementalRegistration) ([]byte, time.Time, error) {
	name := RegistrationAccount(of.Name)
	if of.Spec.Config.Elemental.Registration.LongLived {
		token, err := r.longLived(ctx, of)
		return token, time.Time{}, err
	}
	seconds := int64(tokenLife(of) / time.Second)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: of.Namespace, Name: name}}
	if err := r.client.SubResource("token").Create(ctx, account, request); err != nil {
		return nil, time.Time{}, fmt.Errorf("asking for a token of ServiceAccount %s/%s: %w", of.Namespace, name, err)
	}
	return []byte(request.Status.Token), request.Status.ExpirationTimestamp.Time, nil
}

// longLived makes the Secret that the cluster fills with a token that has no end. Whoever deletes it revokes that.
func (r *registrations) longLived(ctx context.Context, of *v1beta1.ElementalRegistration) ([]byte, error) {
	name := RegistrationAccount(of.Name)
	secret := &corev1.Secret{ObjectMeta: managed(of.Namespace, name+"-token"), Type: corev1.SecretTypeServiceAccountToken}
	secret.Annotations = map[string]string{corev1.ServiceAccountNameKey: name}
	secret.OwnerReferences = []metav1.OwnerReference{owner{"ElementalRegistration", of.Name, of.UID}.reference()}
	if err := r.client.Create(ctx, secret); err != nil && !apierrors.IsAlreadyExists(err) {
		return nil, fmt.Errorf("creating Secret %s/%s: %w", secret.Namespace, secret.Name, err)
	}
	if err := r.live.Get(ctx, client.ObjectKeyFromObject(secret), secret); err != nil {
		return nil, fmt.Errorf("reading Secret %s/%s: %w", secret.Namespace, secret.Name, err)
	}
	if len(secret.Data[corev1.ServiceAccountTokenKey]) == 0 {
		return nil, fmt.Errorf("the cluster has not yet put a token into Secret %s/%s", secret.Namespace, secret.Name)
	}
	return secret.Data[corev1.ServiceAccountTokenKey], nil
}

// explain says what to do where the controller lacks the rights that it has in namespaces with hosts alone.
func (r *registrations) explain(of *v1beta1.ElementalRegistration, err error) error {
	if apierrors.IsForbidden(err) {
		return fmt.Errorf("%w; let the controller keep identities in this namespace: kubectl apply -n %s -k packaging/rbac/hosts", err, of.Namespace)
	}
	return err
}

func (r *registrations) report(ctx context.Context, of *v1beta1.ElementalRegistration, expires time.Time, failed error) error {
	ready := core.Condition{Type: core.Ready, Status: core.True, Reason: core.ReasonHostReady, Generation: of.Generation, Message: "hosts can join"}
	if failed != nil {
		ready.Status, ready.Reason, ready.Message = core.False, "RegistrationNotReady", failed.Error()
	}
	joined := &v1beta1.ElementalHostList{}
	if err := r.client.List(ctx, joined, client.InNamespace(of.Namespace), client.MatchingFields{indexRegistration: of.Name}); err != nil {
		return fmt.Errorf("counting the hosts of ElementalRegistration %s/%s: %w", of.Namespace, of.Name, err)
	}
	status := map[string]any{
		"observedGeneration": of.Generation, "hosts": int32(len(joined.Items)), "bundleSecret": RegistrationAccount(of.Name),
		"conditions": toConditions(of.Status.Conditions, []core.Condition{ready}, r.now()),
	}
	if !expires.IsZero() {
		status["tokenExpirationTime"] = metav1.NewTime(expires)
	}
	shown := of.Status.TokenExpirationTime
	same := shown == nil && expires.IsZero() || shown != nil && shown.Time.Equal(expires)
	if same && of.Status.Hosts == int32(len(joined.Items)) && of.Status.ObservedGeneration == of.Generation &&
		says(of.Status.Conditions, []core.Condition{ready}, core.Ready) && meta.FindStatusCondition(of.Status.Conditions, core.Ready) != nil {
		return nil
	}
	return applyStatus(ctx, r.client, of, status)
}
