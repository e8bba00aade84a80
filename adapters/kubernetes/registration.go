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
	return ctrl.Result{RequeueAfter: r.untilNextLook(registration, expires)}, nil
}

// mostUnseen is how long a bundle may hold a token that someone revoked. The controller may not watch Secrets, since
// whoever watches them reads them all: it looks at its own from time to time.
const mostUnseen = time.Minute

// untilNextLook is the time until a third of the bundle token's life is left, and a minute at most.
func (r *registrations) untilNextLook(of *v1beta1.ElementalRegistration, expires time.Time) time.Duration {
	if expires.IsZero() {
		return mostUnseen
	}
	return min(mostUnseen, max(time.Second, expires.Sub(r.now())-tokenLife(of)/3))
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
	account := &corev1.ServiceAccount{}
	if err := r.live.Get(ctx, key, account); err != nil {
		return time.Time{}, fmt.Errorf("reading ServiceAccount %s: %w", key, err)
	}
	token, expires, lacks := r.token(ctx, of, account, secret)
	if lacks != nil && (missing || !errors.Is(lacks, errNoToken)) {
		return time.Time{}, r.explain(of, lacks)
	}
	if wanted[BundleToken] = token; holds(secret.Data, wanted) && secret.Annotations[annotationAccount] == string(account.UID) {
		return expires, lacks
	}
	next := &corev1.Secret{ObjectMeta: managed(of.Namespace, key.Name), Data: wanted}
	next.OwnerReferences = []metav1.OwnerReference{owner{"ElementalRegistration", of.Name, of.UID}.reference()}
	next.Annotations = map[string]string{annotationAccount: string(account.UID)}
	if !expires.IsZero() {
		next.Annotations[annotationExpires] = expires.UTC().Format(time.RFC3339)
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
	return expires, lacks
}

// errNoToken says that there is no token for a bundle now, and that the one in it is dead.
var errNoToken = errors.New("the bundle has no token")

// What a bundle says of its token.
const (
	annotationExpires = "elementalregistration.infrastructure.cluster.x-k8s.io/token-expires"
	// annotationAccount is the UID of the service account: whoever deletes that ends its tokens, though another account
	// of the same name is made.
	annotationAccount = "elementalregistration.infrastructure.cluster.x-k8s.io/token-account"
)

// fresh says whether the token of a bundle will do for a while, and when it ends.
func (r *registrations) fresh(of *v1beta1.ElementalRegistration, account *corev1.ServiceAccount, bundle *corev1.Secret) (time.Time, bool) {
	if len(bundle.Data[BundleToken]) == 0 || bundle.Annotations[annotationAccount] != string(account.UID) {
		return time.Time{}, false
	}
	expires, err := time.Parse(time.RFC3339, bundle.Annotations[annotationExpires])
	if err != nil {
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

// token is what the bundle must hold, and when it ends; zero: never. A token that will do for a while stays.
func (r *registrations) token(ctx context.Context, of *v1beta1.ElementalRegistration, account *corev1.ServiceAccount, bundle *corev1.Secret) ([]byte, time.Time, error) {
	if of.Spec.Config.Elemental.Registration.LongLived {
		token, err := r.longLived(ctx, of, account)
		return token, time.Time{}, err
	}
	expires, fresh := r.fresh(of, account, bundle)
	if fresh {
		return bundle.Data[BundleToken], expires, nil
	}
	if err := r.endLongLived(ctx, of); err != nil {
		return nil, time.Time{}, err
	}
	seconds := int64(tokenLife(of) / time.Second)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}
	if err := r.client.SubResource("token").Create(ctx, account, request); err != nil {
		return nil, time.Time{}, fmt.Errorf("asking for a token of ServiceAccount %s/%s: %w", account.Namespace, account.Name, err)
	}
	return []byte(request.Status.Token), request.Status.ExpirationTimestamp.Time, nil
}

func tokenSecret(of *v1beta1.ElementalRegistration) client.ObjectKey {
	return client.ObjectKey{Namespace: of.Namespace, Name: RegistrationAccount(of.Name) + "-token"}
}

// longLived makes the Secret that the cluster fills with a token that has no end, and returns that. Whoever deletes the
// Secret revokes the token; the bundle then gets another.
func (r *registrations) longLived(ctx context.Context, of *v1beta1.ElementalRegistration, account *corev1.ServiceAccount) ([]byte, error) {
	key, secret := tokenSecret(of), &corev1.Secret{}
	err := r.live.Get(ctx, key, secret)
	if apierrors.IsNotFound(err) {
		secret = &corev1.Secret{ObjectMeta: managed(key.Namespace, key.Name), Type: corev1.SecretTypeServiceAccountToken}
		secret.Annotations = map[string]string{corev1.ServiceAccountNameKey: account.Name}
		secret.OwnerReferences = []metav1.OwnerReference{owner{"ElementalRegistration", of.Name, of.UID}.reference()}
		if err := r.client.Create(ctx, secret); err != nil {
			return nil, fmt.Errorf("creating Secret %s: %w", key, err)
		}
		err = r.live.Get(ctx, key, secret)
	}
	if err != nil {
		return nil, fmt.Errorf("reading Secret %s: %w", key, err)
	}
	// A Secret of that name may be someone else's, such as the bundle of another registration: its token is not to be
	// handed out.
	if !ownedBy(secret, of.UID) || secret.Type != corev1.SecretTypeServiceAccountToken {
		return nil, fmt.Errorf("using Secret %s for ElementalRegistration %s: it does not belong to the registration; remove it, or give the registration another name", key, of.Name)
	}
	if named := secret.Annotations[corev1.ServiceAccountUIDKey]; named != "" && named != string(account.UID) {
		return nil, fmt.Errorf("using Secret %s for ElementalRegistration %s: its token is of a service account that was deleted; remove it, and another is made: %w", key, of.Name, errNoToken)
	}
	if len(secret.Data[corev1.ServiceAccountTokenKey]) == 0 {
		return nil, fmt.Errorf("the cluster has not yet put a token into Secret %s: %w", key, errNoToken)
	}
	return secret.Data[corev1.ServiceAccountTokenKey], nil
}

// endLongLived revokes the token without an end of a registration that is to have none any more.
func (r *registrations) endLongLived(ctx context.Context, of *v1beta1.ElementalRegistration) error {
	key, secret := tokenSecret(of), &corev1.Secret{}
	err := r.live.Get(ctx, key, secret)
	if apierrors.IsNotFound(err) || err == nil && (!ownedBy(secret, of.UID) || secret.Type != corev1.SecretTypeServiceAccountToken) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading Secret %s: %w", key, err)
	}
	return wrap(client.IgnoreNotFound(r.client.Delete(ctx, secret)), "deleting Secret %s, whose token has no end", key)
}

// explain says what to do where the controller lacks the rights that it has in namespaces with hosts alone.
func (r *registrations) explain(of *v1beta1.ElementalRegistration, err error) error {
	if apierrors.IsForbidden(err) {
		return fmt.Errorf("%w; let the controller keep identities in this namespace: kubectl apply -n %s -k packaging/rbac/hosts", err, of.Namespace)
	}
	return err
}

// mostHosts is how many hosts a namespace serves well: the authorizer goes through all its role bindings at each request.
const mostHosts = 1000

// report says how a registration stands. The number of hosts is in no message, which would change with each of them.
func (r *registrations) report(ctx context.Context, of *v1beta1.ElementalRegistration, expires time.Time, failed error) error {
	ready := core.Condition{Type: core.Ready, Status: core.True, Reason: core.ReasonHostReady, Generation: of.Generation, Message: "hosts can join"}
	if failed != nil {
		ready.Status, ready.Reason, ready.Message = core.False, "RegistrationNotReady", failed.Error()
	}
	if failed == nil {
		all := &v1beta1.ElementalHostList{}
		if err := r.client.List(ctx, all, client.InNamespace(of.Namespace), client.UnsafeDisableDeepCopy); err != nil {
			return fmt.Errorf("counting the hosts of namespace %s: %w", of.Namespace, err)
		}
		if len(all.Items) > mostHosts {
			ready.Message = fmt.Sprintf("hosts can join, but namespace %s has more than %d of them, and the API server looks at the rights of all at each request: let more hosts join in another namespace",
				of.Namespace, mostHosts)
		}
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
