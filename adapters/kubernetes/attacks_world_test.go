package kubernetes

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemental/adapters/kubernetes/api/v1beta1"
	"elemental/adapters/kubernetes/identity"
)

// siege is a corner of the cluster with everyone who may turn against it: each is known by a name, and has a token.
type siege struct {
	*world
	http     *http.Client
	tokens   map[string]string
	keys     map[string]identity.Key
	requests map[string]*v1beta1.ElementalHostRequest
	ran      int
}

// newSiege lets hosts a and b join through registrations r1 and r2, makes host c, which has its identity by hand, and
// host d, which joined and was revoked.
func newSiege(t *testing.T) *siege {
	w := newWorld(t)
	w.let()
	w.controller()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(plane.CA())
	s := &siege{
		world: w, tokens: map[string]string{"nobody": ""}, keys: map[string]identity.Key{}, requests: map[string]*v1beta1.ElementalHostRequest{},
		http: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}, Timeout: 20 * time.Second},
	}
	for _, name := range []string{"r1", "r2"} {
		s.tokens[name] = string(w.open(name, v1beta1.ElementalRegistrationSpec{}).Data[BundleToken])
	}
	for _, name := range []string{"manual", "few"} {
		spec := v1beta1.ElementalRegistrationSpec{Approval: "Manual"}
		if name == "few" {
			spec = v1beta1.ElementalRegistrationSpec{MaxHosts: new(int32(2))}
		}
		s.tokens[name] = string(w.open(name, spec).Data[BundleToken])
	}
	_, err := w.kubectl("create", "serviceaccount", "default") // As the cluster's controllers do.
	w.NoErr(err)
	s.join("r1", "a")
	s.join("r2", "b")
	s.join("r1", "d")
	w.newHost("c")
	s.tokens["c"] = configOf(t, clientKubeconfig(w.agent("c"))).BearerToken
	s.tokens["controller"] = configOf(t, controllerIdentity).BearerToken
	_, err = w.kubectl("annotate", "elementalhost", "d", v1beta1.AnnotationRevoked+"=true")
	w.NoErr(err)
	_, err = w.kubectl("create", "secret", "generic", BootstrapSecret("a"), "--from-literal=value=a")
	w.NoErr(err)
	_, err = w.kubectl("create", "secret", "generic", BootstrapSecret("b"), "--from-literal=value=b")
	w.NoErr(err)
	w.eventually(func() error { return s.expect("d", "GET", "hosts/d", "", http.StatusUnauthorized) })
	return s
}

// part runs a part of the test, which ends alone when it fails.
func (s *siege) part(t *testing.T, name string, run func(t *testing.T)) {
	s.ran++
	whole, checks := s.t, s.I
	defer func() { s.t, s.I = whole, checks }()
	t.Run(name, func(t *testing.T) {
		s.t, s.I = t, is.New(t)
		run(t)
	})
}

func clientKubeconfig(a agent) string {
	path, err := plane.KubeconfigForServiceAccount(a.t.Context(), a.namespace, HostAccount(a.name))
	a.NoErr(err)
	return path
}

// join lets a host join, and keeps its token once that can be used.
func (s *siege) join(registration, host string) {
	s.t.Helper()
	key, err := identity.NewKey()
	s.NoErr(err)
	registrar := s.as(s.tokens[registration])
	var asked *v1beta1.ElementalHostRequest
	s.eventually(func() (err error) { // The authorizer learns of a new role a moment later.
		asked, err = s.ask(registrar, key, v1beta1.ElementalHostRequestSpec{Registration: registration, Hostname: host})
		return err
	})
	answered := s.answer(registrar, asked)
	s.keys[host], s.requests[host] = key, answered
	s.tokens[host] = s.opened(host).Token
	s.eventually(func() error { return s.expect(host, "GET", "hosts/"+host, "", http.StatusOK) })
}

// opened is what a host finds in the answer to its request.
func (s *siege) opened(host string) identity.Credentials {
	s.t.Helper()
	answered := s.requests[host]
	credentials, err := s.keys[host].Open(answered.Status.Credentials.Sealed, s.purpose(host))
	s.NoErr(err)
	return credentials
}

func (s *siege) purpose(host string) identity.Purpose {
	return identity.Purpose{Namespace: s.namespace, Host: host, Request: string(s.requests[host].UID)}
}

func (s *siege) expect(who, verb, path, body string, code int) error {
	got, answer, err := s.send(who, verb, path, body, nil)
	if err == nil && got != code {
		err = fmt.Errorf("the API server answered %d and not %d: %s", got, code, answer)
	}
	return err
}

// The kinds that paths of this test begin with.
var places = map[string]string{
	"hosts": "/apis/infrastructure.cluster.x-k8s.io/v1beta1/namespaces/NS/elementalhosts", "requests": "/apis/infrastructure.cluster.x-k8s.io/v1beta1/namespaces/NS/elementalhostrequests",
	"registrations": "/apis/infrastructure.cluster.x-k8s.io/v1beta1/namespaces/NS/elementalregistrations", "machines": "/apis/infrastructure.cluster.x-k8s.io/v1beta1/namespaces/NS/elementalmachines",
	"leases": "/apis/coordination.k8s.io/v1/namespaces/NS/leases", "roles": "/apis/rbac.authorization.k8s.io/v1/namespaces/NS/roles",
	"bindings": "/apis/rbac.authorization.k8s.io/v1/namespaces/NS/rolebindings", "secrets": "/api/v1/namespaces/NS/secrets",
	"accounts": "/api/v1/namespaces/NS/serviceaccounts", "configmaps": "/api/v1/namespaces/NS/configmaps",
	"pods": "/api/v1/namespaces/NS/pods", "events": "/api/v1/namespaces/NS/events",
}

// The verbs that are a PATCH.
var patches = map[string]string{"MERGE": "application/merge-patch+json", "JSON": "application/json-patch+json", "APPLY": "application/apply-patch+yaml"}

// send speaks to the API server as someone, without any library that could be kinder than an attacker.
func (s *siege) send(who, verb, path, body string, header http.Header) (int, string, error) {
	if end := strings.IndexAny(path+"/", "/?"); places[path[:end]] != "" {
		path = places[path[:end]] + path[end:]
	}
	replace := strings.NewReplacer("NS", s.namespace)
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	method, kind := verb, "application/json"
	if patch, is := patches[verb]; is {
		method, kind = http.MethodPatch, patch
	}
	request, err := http.NewRequestWithContext(ctx, method, plane.URL()+replace.Replace(path), bytes.NewReader([]byte(replace.Replace(body))))
	if err != nil {
		return 0, "", err
	}
	for name, values := range header {
		request.Header[name] = values
	}
	request.Header.Set("Content-Type", kind)
	if token := s.tokens[who]; token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := s.http.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	return response.StatusCode, string(text), err
}

// state is all that no attack may change: who there is, what they may do, and what is asked of them.
func (s *siege) state() string {
	s.t.Helper()
	hosts := &v1beta1.ElementalHostList{}
	s.NoErr(s.admin.List(s.t.Context(), hosts, client.InNamespace(s.namespace)))
	roles, bindings := &rbacv1.RoleList{}, &rbacv1.RoleBindingList{}
	s.NoErr(s.admin.List(s.t.Context(), roles, client.InNamespace(s.namespace)))
	s.NoErr(s.admin.List(s.t.Context(), bindings, client.InNamespace(s.namespace)))
	var all []any
	for _, h := range hosts.Items {
		all = append(all, h.Name, h.UID, h.Labels, h.Annotations, h.Finalizers, h.OwnerReferences, h.Spec, h.Generation, h.DeletionTimestamp)
	}
	for _, r := range roles.Items {
		all = append(all, r.Name, r.Rules)
	}
	for _, b := range bindings.Items {
		all = append(all, b.Name, b.Subjects, b.RoleRef)
	}
	text, err := json.Marshal(all)
	s.NoErr(err)
	return string(text)
}

// granted gives someone a Role that allows everything in the namespace, as a careless administrator might.
func (s *siege) granted(accounts ...string) {
	s.t.Helper()
	everything := rbacv1.PolicyRule{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"*"}}
	s.NoErr(s.admin.Create(s.t.Context(), &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "careless"}, Rules: []rbacv1.PolicyRule{everything}}))
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "careless"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "careless"},
	}
	for _, name := range accounts {
		binding.Subjects = append(binding.Subjects, rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: s.namespace, Name: name})
	}
	s.NoErr(s.admin.Create(s.t.Context(), binding))
}

// forge changes what a token says, and signs it with a key; with none it says that it needs no signature.
func (s *siege) forge(token string, change func(claims map[string]any), key *ecdsa.PrivateKey) string {
	s.t.Helper()
	parts := strings.Split(token, ".")
	header, claims := map[string]any{}, map[string]any{}
	for i, into := range []*map[string]any{&header, &claims} {
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		s.NoErr(err)
		s.NoErr(json.Unmarshal(text, into))
	}
	change(claims)
	if key == nil {
		header = map[string]any{"alg": "none", "typ": "JWT"}
	}
	var signed []string
	for _, part := range []any{header, claims} {
		text, err := json.Marshal(part)
		s.NoErr(err)
		signed = append(signed, base64.RawURLEncoding.EncodeToString(text))
	}
	said := strings.Join(signed, ".")
	if key == nil {
		return said + "."
	}
	sum := sha256.Sum256([]byte(said))
	r, z, err := ecdsa.Sign(rand.Reader, key, sum[:])
	s.NoErr(err)
	return said + "." + base64.RawURLEncoding.EncodeToString(slices.Concat(r.FillBytes(make([]byte, 32)), z.FillBytes(make([]byte, 32))))
}

// signingKey is the one that the API server signs tokens with.
func (s *siege) signingKey() *ecdsa.PrivateKey {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(filepath.Dir(plane.AdminKubeconfig()), "accounts.key"))
	s.NoErr(err)
	block, _ := pem.Decode(text)
	var key crypto.PrivateKey
	if key, err = x509.ParsePKCS8PrivateKey(block.Bytes); err != nil {
		key, err = x509.ParseECPrivateKey(block.Bytes)
	}
	s.NoErr(err)
	return key.(*ecdsa.PrivateKey)
}

// falseTokens are tokens of host a and of registration r1 that must not be accepted.
func (s *siege) falseTokens() {
	s.t.Helper()
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	s.NoErr(err)
	same, own := func(map[string]any) {}, s.signingKey()
	past := func(c map[string]any) {
		c["iat"], c["nbf"], c["exp"] = time.Now().Add(-2*time.Hour).Unix(), time.Now().Add(-2*time.Hour).Unix(), time.Now().Add(-time.Hour).Unix()
	}
	s.tokens["the same, signed again"] = s.forge(s.tokens["r1"], same, own)
	s.tokens["expired"] = s.forge(s.tokens["r1"], past, own)
	s.tokens["prolonged"] = s.forge(s.tokens["a"], func(c map[string]any) { c["exp"] = time.Now().Add(87600 * time.Hour).Unix() }, stranger)
	s.tokens["alg=none"] = s.forge(s.tokens["a"], same, nil)
	s.tokens["of another cluster"] = s.forge(s.tokens["a"], same, stranger)
	s.tokens["of another issuer"] = s.forge(s.tokens["a"], func(c map[string]any) { c["iss"] = "https://elsewhere.example.com" }, own)
	s.tokens["of another audience"] = s.forge(s.tokens["a"], func(c map[string]any) { c["aud"] = []string{"vault"} }, own)
	s.tokens["of another host's account"] = s.forge(s.tokens["a"], func(c map[string]any) {
		c["kubernetes.io"].(map[string]any)["serviceaccount"].(map[string]any)["name"] = HostAccount("b")
	}, own)
	s.tokens["garbled"] = s.tokens["a"][:len(s.tokens["a"])-8] + "AAAAAAAA"
	s.tokens["no token at all"] = "canary"
}

// gone waits until an object is not there.
func (s *siege) gone(object client.Object) {
	s.t.Helper()
	s.eventually(func() error {
		err := s.admin.Get(s.t.Context(), client.ObjectKeyFromObject(object), object)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(err, fmt.Errorf("%s is still there", object.GetName()))
	})
}

func (s *siege) key(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: s.namespace, Name: name}
}
