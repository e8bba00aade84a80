package kubernetes

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// outcome is what an attack must come to.
type outcome string

const (
	allowed      outcome = "allowed"
	dropped      outcome = "dropped" // it is answered, and changes nothing
	forbidden    outcome = "Forbidden"
	unauthorized outcome = "Unauthorized"
	invalid      outcome = "Invalid"
	notFound     outcome = "NotFound"
	conflict     outcome = "Conflict"
)

// attack is one request that someone sends to the API server. Words must stand in the answer.
type attack struct {
	name, who, verb, path, body string
	want                        outcome
	words                       string
}

const (
	phase    = `{"status":{"phase":"Running"}}`
	reaching = `{"metadata":{"labels":{"cluster.x-k8s.io/cluster-name":"mine","elementalhost.infrastructure.cluster.x-k8s.io/in-place-update":"pending"},` +
		`"annotations":{"cluster.x-k8s.io/paused":"true"},"finalizers":["example.com/stay"],"ownerReferences":[]},` +
		`"spec":{"pubKey":"stolen","osVersionManagement":{"osVersion":{"imageUri":"evil"}}},"status":{"phase":"Running"}}`
	renewal = `{"spec":{"renewTime":"2026-01-01T00:00:00.000000Z"}}`
	// freeing is what would let a host go, or reset one.
	freeing = `{"metadata":{"finalizers":null,"labels":{"elementalhost.infrastructure.cluster.x-k8s.io/needs-reset":"true"},` +
		`"annotations":{"elementalhost.infrastructure.cluster.x-k8s.io/force-delete":"true"}},"spec":{"bootstrapSecret":{"name":"elemental-bootstrap-b"}}}`
	newHost   = `{"apiVersion":"infrastructure.cluster.x-k8s.io/v1beta1","kind":"ElementalHost","metadata":{"name":"evil"}}`
	newPod    = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"evil"},"spec":{"containers":[{"name":"evil","image":"evil"}]}}`
	newSecret = `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"elemental-host-evil"}}`
	newEvent  = `{"apiVersion":"v1","kind":"Event","metadata":{"name":"evil"},"involvedObject":{"kind":"ElementalHost","name":"b","namespace":"NS"},"reason":"Evil"}`
	newRole   = `{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"Role","metadata":{"name":"evil"},"rules":[{"apiGroups":["*"],"resources":["*"],"verbs":["*"]}]}`
	newGrant  = `{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"RoleBinding","metadata":{"name":"evil"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"cluster-admin"},"subjects":[{"kind":"ServiceAccount","name":"elemental-host-a","namespace":"NS"}]}`
)

// asking is a request for a token, bound to a Secret if one is named.
func asking(seconds int, secret string, more ...string) string {
	bound := ""
	if secret != "" {
		bound = fmt.Sprintf(`,"boundObjectRef":{"apiVersion":"v1","kind":"Secret","name":%q}`, secret)
	}
	return fmt.Sprintf(`{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{"expirationSeconds":%d%s%s}}`, seconds, bound, strings.Join(more, ""))
}

const hour, decade = 3600, 10 * 365 * 24 * 3600

// rolesHold are attacks that the Roles must hold off; the policies are behind them.
var rolesHold = []attack{
	// What a host may do, so that what follows is known to fail for the right reason.
	{"reads itself", "a", "GET", "hosts/a", "", allowed, ""},
	{"reads itself in a list by its own name", "a", "GET", "hosts?fieldSelector=metadata.name%3Da", "", allowed, ""},
	{"reports its status", "a", "MERGE", "hosts/a/status", phase, allowed, ""},
	{"renews its Lease", "a", "MERGE", "leases/a", renewal, allowed, ""},
	{"reads its bootstrap data", "a", "GET", "secrets/elemental-bootstrap-a", "", allowed, ""},
	{"reads the cluster's certificates", "a", "GET", "configmaps/kube-root-ca.crt", "", notFound, ""}, // The test's cluster publishes none.
	{"renews its token", "a", "POST", "accounts/elemental-host-a/token", asking(hour, "elemental-host-a"), allowed, ""},
	{"asks what it may do", "a", "POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", `{"spec":{"namespace":"NS"}}`, allowed, ""},
	{"with its identity by hand, reads itself", "c", "GET", "hosts/c", "", allowed, ""},

	{"reads another host", "a", "GET", "hosts/b", "", forbidden, ""},
	{"reads another host's status", "a", "GET", "hosts/b/status", "", forbidden, ""},
	{"reports another host's status", "a", "MERGE", "hosts/b/status", phase, forbidden, ""},
	{"applies another host's status", "a", "APPLY", "hosts/b/status?fieldManager=elemental-agent&force=true", phase, forbidden, ""},
	{"replaces another host's status", "a", "PUT", "hosts/b/status", newHost, forbidden, ""},
	{"patches another host", "a", "MERGE", "hosts/b", reaching, forbidden, ""},
	{"deletes another host", "a", "DELETE", "hosts/b", "", forbidden, ""},
	{"reads another host's handle", "a", "GET", "secrets/elemental-host-b", "", forbidden, ""},
	{"reads its own handle", "a", "GET", "secrets/elemental-host-a", "", forbidden, ""},
	{"deletes another host's handle", "a", "DELETE", "secrets/elemental-host-b", "", forbidden, ""},
	{"reads another host's bootstrap data", "a", "GET", "secrets/elemental-bootstrap-b", "", forbidden, ""},
	{"changes its own bootstrap data", "a", "MERGE", "secrets/elemental-bootstrap-a", `{"data":{"value":""}}`, forbidden, ""},
	{"reads the bundle of its registration", "a", "GET", "secrets/elemental-reg-r1", "", forbidden, ""},
	{"asks for another host's token", "a", "POST", "accounts/elemental-host-b/token", asking(hour, "elemental-host-b"), forbidden, ""},
	{"asks for its registration's token", "a", "POST", "accounts/elemental-reg-r1/token", asking(hour, ""), forbidden, ""},
	{"asks for the default account's token", "a", "POST", "accounts/default/token", asking(hour, ""), forbidden, ""},
	{"asks for the controller's token", "a", "POST", "/api/v1/namespaces/elemental-system/serviceaccounts/elemental-controller-manager/token", asking(hour, ""), forbidden, ""},
	{"reads another host's Lease", "a", "GET", "leases/b", "", forbidden, ""},
	{"renews another host's Lease", "a", "MERGE", "leases/b", renewal, forbidden, ""},
	{"deletes its own Lease", "a", "DELETE", "leases/a", "", forbidden, ""},
	{"reads the account of another host", "a", "GET", "accounts/elemental-host-b", "", forbidden, ""},
	{"reads another ConfigMap", "a", "GET", "configmaps/other", "", forbidden, ""},

	{"lists all hosts", "a", "GET", "hosts", "", forbidden, ""},
	{"watches all hosts", "a", "GET", "hosts?watch=true&timeoutSeconds=1", "", forbidden, ""},
	{"lists another host by its name", "a", "GET", "hosts?fieldSelector=metadata.name%3Db", "", forbidden, ""},
	{"watches another host by its name", "a", "GET", "hosts?watch=true&timeoutSeconds=1&fieldSelector=metadata.name%3Db", "", forbidden, ""},
	{"lists all but one by a selector", "a", "GET", "hosts?fieldSelector=metadata.name%21%3Da", "", forbidden, ""},
	{"lists by label", "a", "GET", "hosts?labelSelector=x%3Dy", "", forbidden, ""},
	{"lists the hosts of all namespaces", "a", "GET", "/apis/infrastructure.cluster.x-k8s.io/v1beta1/elementalhosts?fieldSelector=metadata.name%3Da", "", forbidden, ""},
	{"lists secrets", "a", "GET", "secrets", "", forbidden, ""},
	{"watches secrets", "a", "GET", "secrets?watch=true&timeoutSeconds=1", "", forbidden, ""},
	{"lists its bootstrap data by name", "a", "GET", "secrets?fieldSelector=metadata.name%3Delemental-bootstrap-a", "", forbidden, ""},
	{"lists requests", "a", "GET", "requests", "", forbidden, ""},
	{"lists registrations", "a", "GET", "registrations", "", forbidden, ""},
	{"lists machines", "a", "GET", "machines", "", forbidden, ""},
	{"lists Leases", "a", "GET", "leases", "", forbidden, ""},
	{"lists roles", "a", "GET", "roles", "", forbidden, ""},
	{"lists events", "a", "GET", "events", "", forbidden, ""},
	{"lists namespaces", "a", "GET", "/api/v1/namespaces", "", forbidden, ""},
	{"lists nodes", "a", "GET", "/api/v1/nodes", "", forbidden, ""},
	{"lists all secrets of the cluster", "a", "GET", "/api/v1/secrets", "", forbidden, ""},

	{"deletes itself", "a", "DELETE", "hosts/a", "", forbidden, ""},
	{"deletes all hosts", "a", "DELETE", "hosts?fieldSelector=metadata.name%3Da", "", forbidden, ""},
	{"patches its own spec, labels and finalizers", "a", "MERGE", "hosts/a", reaching, forbidden, ""},
	{"replaces itself", "a", "PUT", "hosts/a", newHost, forbidden, ""},
	{"replaces its own status whole", "a", "PUT", "hosts/a/status", newHost, forbidden, ""},
	{"patches spec, labels and finalizers with its status", "a", "MERGE", "hosts/a/status", reaching, dropped, ""},
	{"patches them as JSON", "a", "JSON", "hosts/a/status", `[{"op":"add","path":"/metadata/labels","value":{"cluster.x-k8s.io/cluster-name":"mine"}},` +
		`{"op":"add","path":"/metadata/finalizers","value":["example.com/stay"]},{"op":"add","path":"/spec/pubKey","value":"stolen"},{"op":"add","path":"/status/phase","value":"Running"}]`, dropped, ""},
	{"applies them", "a", "APPLY", "hosts/a/status?fieldManager=elemental-agent&force=true",
		`{"apiVersion":"infrastructure.cluster.x-k8s.io/v1beta1","kind":"ElementalHost","metadata":{"name":"a","labels":{"cluster.x-k8s.io/cluster-name":"mine"},"finalizers":["example.com/stay"]},"spec":{"pubKey":"stolen"},"status":{"phase":"Running"}}`, dropped, ""},
	{"takes away what holds it, and asks for its reset", "a", "MERGE", "hosts/a", freeing, forbidden, ""},
	{"does so with its status", "a", "MERGE", "hosts/a/status", freeing, dropped, ""},
	{"takes away what holds it as JSON", "a", "JSON", "hosts/a/status", `[{"op":"remove","path":"/metadata/finalizers"},` +
		`{"op":"add","path":"/metadata/annotations/elementalhost.infrastructure.cluster.x-k8s.io~1force-delete","value":"true"},{"op":"add","path":"/status/phase","value":"Running"}]`, dropped, ""},
	{"applies that nothing holds it", "a", "APPLY", "hosts/a/status?fieldManager=elemental-controller&force=true",
		`{"apiVersion":"infrastructure.cluster.x-k8s.io/v1beta1","kind":"ElementalHost","metadata":{"name":"a","finalizers":[],"annotations":{"elementalhost.infrastructure.cluster.x-k8s.io/force-delete":"true"}},"status":{"phase":"Running"}}`, dropped, ""},
	{"takes away what holds another host", "a", "MERGE", "hosts/b", freeing, forbidden, ""},
	{"does so with the other's status", "a", "MERGE", "hosts/b/status", freeing, forbidden, ""},
	{"with its identity by hand, takes away what holds it", "c", "MERGE", "hosts/c", freeing, forbidden, ""},
	{"with its identity by hand, reads another's bootstrap data", "c", "GET", "secrets/elemental-bootstrap-b", "", forbidden, ""},
	{"a registration takes away what holds a host", "r1", "MERGE", "hosts/a", freeing, forbidden, ""},
	{"the controller lists bootstrap data by name", "controller", "GET", "secrets?fieldSelector=metadata.name%3Delemental-bootstrap-a", "", forbidden, ""},
	{"the controller watches the Secrets of a namespace with hosts", "controller", "GET", "secrets?watch=true&timeoutSeconds=1", "", forbidden, ""},
	{"reports what is no status", "a", "MERGE", "hosts/a/status", `{"status":{"conditions":"all is well"}}`, invalid, "conditions"},
	{"keeps its Lease from being deleted", "a", "MERGE", "leases/a", `{"metadata":{"finalizers":["example.com/stay"]}}`, forbidden, "changes nothing else of it"},
	{"gives its Lease to another host", "a", "MERGE", "leases/a", `{"metadata":{"ownerReferences":[]}}`, forbidden, "changes nothing else of it"},
	{"hides its Lease from the controller", "a", "MERGE", "leases/a", `{"metadata":{"labels":null}}`, forbidden, "changes nothing else of it"},

	{"makes a host", "a", "POST", "hosts", newHost, forbidden, ""},
	{"makes a request to join", "a", "POST", "requests", `{}`, forbidden, ""},
	{"makes a pod", "a", "POST", "pods", newPod, forbidden, ""},
	{"makes a Secret", "a", "POST", "secrets", newSecret, forbidden, ""},
	{"makes an event about another", "a", "POST", "events", newEvent, forbidden, ""},
	{"makes a Role", "a", "POST", "roles", newRole, forbidden, ""},
	{"makes itself an administrator", "a", "POST", "bindings", newGrant, forbidden, ""},
	{"widens its own Role", "a", "MERGE", "roles/elemental-host-a", `{"rules":[]}`, forbidden, ""},
	{"reads its own Role", "a", "GET", "roles/elemental-host-a", "", forbidden, ""},
	{"asks for a certificate", "a", "POST", "/apis/certificates.k8s.io/v1/certificatesigningrequests", `{}`, forbidden, ""},
	{"asks what another may do", "a", "POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", `{}`, forbidden, ""},
	{"has a token of another looked at", "a", "POST", "/apis/authentication.k8s.io/v1/tokenreviews", `{}`, forbidden, ""},
	{"reads the API server's metrics", "a", "GET", "/metrics", "", forbidden, ""},

	{"asks for a token of ten years", "a", "POST", "accounts/elemental-host-a/token", asking(decade, "elemental-host-a"), forbidden, "24 hours at most"},
	{"asks for a token bound to nothing", "a", "POST", "accounts/elemental-host-a/token", asking(hour, ""), forbidden, "bound to the Secret of that name"},
	{"asks for a token bound to its bootstrap data", "a", "POST", "accounts/elemental-host-a/token", asking(hour, "elemental-bootstrap-a"), forbidden, "bound to the Secret of that name"},
	{"asks for a token bound to another's handle", "a", "POST", "accounts/elemental-host-a/token", asking(hour, "elemental-host-b"), forbidden, "bound to the Secret of that name"},
	{"with its identity by hand, asks for a token", "c", "POST", "accounts/elemental-host-c/token", asking(hour, "elemental-host-c"), forbidden, ""},
	{"with its identity by hand, reads bootstrap data", "c", "GET", "secrets/elemental-bootstrap-c", "", forbidden, ""},
	{"with its identity by hand, reports another's status", "c", "MERGE", "hosts/a/status", phase, forbidden, ""},

	{"a registration lists requests", "r1", "GET", "requests", "", forbidden, ""},
	{"a registration watches requests", "r1", "GET", "requests?watch=true&timeoutSeconds=1", "", forbidden, ""},
	{"a registration reads a host", "r1", "GET", "hosts/a", "", forbidden, ""},
	{"a registration reads its bundle", "r1", "GET", "secrets/elemental-reg-r1", "", forbidden, ""},
	{"a registration asks for a longer token", "r1", "POST", "accounts/elemental-reg-r1/token", asking(decade, ""), forbidden, ""},
	{"a registration asks for a host's token", "r1", "POST", "accounts/elemental-host-a/token", asking(hour, "elemental-host-a"), forbidden, ""},
	{"a registration deletes a host", "r1", "DELETE", "hosts/a", "", forbidden, ""},
	{"a registration makes a host", "r1", "POST", "hosts", newHost, forbidden, ""},
	{"a registration deletes all requests", "r1", "DELETE", "requests", "", forbidden, ""},

	{"a revoked host reads itself", "d", "GET", "hosts/d", "", unauthorized, ""},
	{"a revoked host renews its token", "d", "POST", "accounts/elemental-host-d/token", asking(hour, "elemental-host-d"), unauthorized, ""},
	{"nobody reads a host", "nobody", "GET", "hosts/a", "", forbidden, ""},
	{"nobody makes a request", "nobody", "POST", "requests", `{}`, forbidden, ""},
	{"nobody asks for a token", "nobody", "POST", "accounts/elemental-host-a/token", asking(hour, ""), forbidden, ""},

	{"the controller reads a Secret where no hosts join", "controller", "GET", "/api/v1/namespaces/kube-system/secrets/any", "", forbidden, ""},
	{"the controller lists the Secrets of a namespace with hosts", "controller", "GET", "secrets", "", forbidden, ""},
	{"the controller lists the Secrets of the cluster", "controller", "GET", "/api/v1/secrets", "", forbidden, ""},
	{"the controller asks for a token of kube-system", "controller", "POST", "/api/v1/namespaces/kube-system/serviceaccounts/default/token", asking(hour, ""), forbidden, ""},
	{"the controller asks for another account's token", "controller", "POST", "accounts/default/token", asking(hour, ""), forbidden, "no token of the account default"},
	{"the controller asks for an unbound token of a host", "controller", "POST", "accounts/elemental-host-a/token", asking(hour, ""), forbidden, "bound to the Secret of that name"},
	{"the controller asks for a host's token of ten years", "controller", "POST", "accounts/elemental-host-a/token", asking(decade, "elemental-host-a"), forbidden, "24 hours at most"},
	{"the controller makes a Role with more than it has", "controller", "POST", "roles", newRole, forbidden, "attempting to grant RBAC permissions not currently held"},
	{"the controller makes a host an administrator", "controller", "POST", "bindings", newGrant, forbidden, "attempting to grant RBAC permissions not currently held"},
	{"the controller makes a pod", "controller", "POST", "pods", newPod, forbidden, ""},
	{"the controller makes an administrator", "controller", "POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", `{}`, forbidden, ""},
}

// policiesHold are attacks of those to whom someone gave a Role that allows everything in their namespace.
var policiesHold = []attack{
	{"may read another, as the Role says", "a", "GET", "hosts/b", "", allowed, ""},
	{"reports its status", "a", "MERGE", "hosts/a/status", phase, allowed, ""},
	{"renews its Lease", "a", "MERGE", "leases/a", renewal, allowed, ""},
	{"renews its token", "a", "POST", "accounts/elemental-host-a/token", asking(hour, "elemental-host-a"), allowed, ""},
	{"reports another host's status", "a", "MERGE", "hosts/b/status", phase, forbidden, "the status of its own ElementalHost"},
	{"patches its own spec and labels", "a", "MERGE", "hosts/a", reaching, forbidden, "the status of its own ElementalHost"},
	{"deletes itself", "a", "DELETE", "hosts/a", "", forbidden, "the status of its own ElementalHost"},
	{"takes away what holds it", "a", "MERGE", "hosts/a", freeing, forbidden, "the status of its own ElementalHost"},
	{"changes its bootstrap data", "a", "MERGE", "secrets/elemental-bootstrap-a", `{"data":{"value":""}}`, forbidden, "the status of its own ElementalHost"},
	{"deletes all hosts", "a", "DELETE", "hosts", "", forbidden, ""},
	{"makes a host", "a", "POST", "hosts", newHost, forbidden, "the status of its own ElementalHost"},
	{"renews another host's Lease", "a", "MERGE", "leases/b", renewal, forbidden, "the status of its own ElementalHost"},
	{"makes a pod", "a", "POST", "pods", newPod, forbidden, "the status of its own ElementalHost"},
	{"makes a Secret", "a", "POST", "secrets", newSecret, forbidden, "the status of its own ElementalHost"},
	{"deletes another's handle", "a", "DELETE", "secrets/elemental-host-b", "", forbidden, "the status of its own ElementalHost"},
	{"widens its own Role", "a", "MERGE", "roles/elemental-host-a", `{"rules":[]}`, forbidden, "the status of its own ElementalHost"},
	{"makes a Role", "a", "POST", "roles", newRole, forbidden, "the status of its own ElementalHost"},
	{"asks for another host's token", "a", "POST", "accounts/elemental-host-b/token", asking(hour, "elemental-host-b"), forbidden, "no token of the account elemental-host-b"},
	{"asks for the default account's token", "a", "POST", "accounts/default/token", asking(hour, ""), forbidden, "no token of the account default"},
	{"asks for a token of ten years", "a", "POST", "accounts/elemental-host-a/token", asking(decade, "elemental-host-a"), forbidden, "24 hours at most"},
	{"a registration makes a host", "r1", "POST", "hosts", newHost, forbidden, "a registration makes requests to join"},
	{"a registration deletes a host", "r1", "DELETE", "hosts/a", "", forbidden, "a registration makes requests to join"},
	{"a registration makes a pod", "r1", "POST", "pods", newPod, forbidden, "a registration makes requests to join"},
	{"a registration asks for a host's token", "r1", "POST", "accounts/elemental-host-a/token", asking(hour, "elemental-host-a"), forbidden, "denied request"},
}

var codes = map[int]outcome{
	http.StatusForbidden: forbidden, http.StatusUnauthorized: unauthorized, http.StatusUnprocessableEntity: invalid, http.StatusBadRequest: invalid, http.StatusNotFound: notFound, http.StatusConflict: conflict,
}

// try sends attacks one after the other, and sees that none changed what it must not.
func (s *siege) try(t *testing.T, wall string, all []attack) {
	before := s.state()
	for _, a := range all {
		s.part(t, wall+"/"+a.who+" "+a.name, func(t *testing.T) {
			code, answer, err := s.send(a.who, a.verb, a.path, a.body, nil)
			if err != nil {
				t.Fatal(err)
			}
			got, known := codes[code]
			if code < 300 {
				got, known = allowed, true
			}
			if want := a.want; !known || got != want && (want != dropped || got != allowed) {
				t.Errorf("it was answered with %d, and must be %s: %s", code, want, answer)
			}
			if !strings.Contains(answer, a.words) {
				t.Errorf("the answer does not say %q: %s", a.words, answer)
			}
			if a.want != allowed && s.state() != before {
				t.Fatalf("it changed what it must not")
			}
		})
	}
}

// TestAttacks is the matrix of who may try what: everything is sent to a real API server, with the identities that the
// controller gives out.
func TestAttacks(t *testing.T) {
	s := newSiege(t)
	s.try(t, "roles", rolesHold)
	s.impersonate(t)
	s.joinFalsely(t)
	s.showFalseTokens(t)
	s.granted("elemental-host-a", "elemental-reg-r1")
	s.eventually(func() error { return s.expect("a", "GET", "hosts/b", "", http.StatusOK) })
	s.try(t, "policies", policiesHold)
	s.stories(t)
	t.Logf("%d attacks were tried", s.ran)
	if s.ran < 60 {
		t.Errorf("only %d attacks were tried", s.ran)
	}
}
