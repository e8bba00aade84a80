package enrollment

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"elemental/adapters/kubernetes/api/v1beta1"
	"elemental/adapters/kubernetes/identity"
)

// cluster plays an API server with its controller, for the faults that a real one does not have to order. What it does
// is seen on a real one in the tests of the folder above.
type cluster struct {
	t      *testing.T
	server *httptest.Server
	ca     authority

	mu        sync.Mutex
	shown     tls.Certificate
	ahead     time.Duration // by how much its clock is ahead of the test's
	requests  map[string]*v1beta1.ElementalHostRequest
	hosts     map[string]string                                         // the names of hosts, by their keys
	answers   func(asked *v1beta1.ElementalHostRequest) (reason string) // empty: let in
	life      time.Duration
	tokens    map[string]time.Time // of hosts, and when they end
	bundle    string               // the token that is good for joining
	minted    int
	published string
	away      bool
	elsewhere string // where all are redirected to
	asked     map[string]int
}

func play(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{
		t: t, ca: newAuthority(t), requests: map[string]*v1beta1.ElementalHostRequest{}, hosts: map[string]string{}, tokens: map[string]time.Time{},
		asked: map[string]int{}, life: 24 * time.Hour, bundle: "the-bundle",
		answers: letIn,
	}
	c.server = httptest.NewUnstartedServer(http.HandlerFunc(c.serve))
	c.server.EnableHTTP2 = true
	c.server.Config.ErrorLog = log.New(io.Discard, "", 0) // Handshakes that are to fail.
	c.show(c.ca.sign(t, time.Now().Add(-time.Hour), time.Now().Add(10*365*24*time.Hour)))
	c.server.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		return &tls.Config{Certificates: []tls.Certificate{c.shown}, NextProtos: []string{"h2"}, SessionTicketsDisabled: true}, nil
	}}
	c.server.StartTLS()
	t.Cleanup(c.server.Close)
	c.published = string(c.ca.pem)
	return c
}

// show makes the server prove itself with a certificate.
func (c *cluster) show(certificate tls.Certificate) {
	c.change(func() { c.shown = certificate })
}

// change is for whatever the tests change while hosts ask.
func (c *cluster) change(do func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	do()
}

func (c *cluster) count(what string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked[what]
}

// handed is the bundle of its registration.
func (c *cluster) handed() (Bundle, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Bundle{Server: c.server.URL, CA: c.ca.pem, Namespace: "field", Registration: "edge", Token: c.bundle}, nil
}

func (c *cluster) time() time.Time { return time.Now().Add(c.ahead) }

func (c *cluster) serve(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w.Header().Set("Date", c.time().UTC().Format(http.TimeFormat))
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	requests, own := "/apis/infrastructure.cluster.x-k8s.io/v1beta1/namespaces/field/elementalhostrequests", "/api/v1/namespaces/field/"
	ends, known := c.tokens[token]
	switch {
	case c.away:
		panic(http.ErrAbortHandler)
	case c.elsewhere != "":
		http.Redirect(w, r, c.elsewhere+r.URL.Path, http.StatusTemporaryRedirect)
	case strings.HasPrefix(r.URL.Path, requests) && token != c.bundle, !strings.HasPrefix(r.URL.Path, requests) && (!known || !c.time().Before(ends)):
		c.asked["refused"]++
		refuse(w, http.StatusUnauthorized, metav1.StatusReasonUnauthorized)
	case r.Method == http.MethodPost && r.URL.Path == requests:
		c.asked["create request"]++
		c.create(w, r)
	case r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, requests+"/"):
		c.asked["get request"]++
		if asked := c.requests[strings.TrimPrefix(r.URL.Path, requests+"/")]; asked != nil {
			c.answer(asked)
			say(w, http.StatusOK, asked)
			return
		}
		refuse(w, http.StatusNotFound, metav1.StatusReasonNotFound)
	case r.Method == http.MethodPost && strings.HasPrefix(r.URL.Path, own+"serviceaccounts/elemental-host-"):
		c.asked["renew"]++
		fresh, expires := c.mint()
		say(w, http.StatusCreated, authenticationv1.TokenRequest{Status: authenticationv1.TokenRequestStatus{Token: fresh, ExpirationTimestamp: metav1.NewTime(expires)}})
	case r.Method == http.MethodGet && r.URL.Path == own+"configmaps/kube-root-ca.crt":
		say(w, http.StatusOK, corev1.ConfigMap{Data: map[string]string{"ca.crt": c.published}})
	default:
		c.t.Errorf("nobody may ask for %s %s", r.Method, r.URL.Path)
		refuse(w, http.StatusForbidden, metav1.StatusReasonForbidden)
	}
}

func (c *cluster) create(w http.ResponseWriter, r *http.Request) {
	asked := &v1beta1.ElementalHostRequest{}
	if err := json.NewDecoder(r.Body).Decode(asked); err != nil {
		c.t.Error(err)
	}
	if c.requests[asked.Name] != nil {
		refuse(w, http.StatusConflict, metav1.StatusReasonAlreadyExists)
		return
	}
	asked.UID = types.UID(fmt.Sprintf("uid-%d", len(c.requests)+c.minted))
	c.requests[asked.Name] = asked
	say(w, http.StatusCreated, asked)
}

// answer is the controller's part.
func (c *cluster) answer(asked *v1beta1.ElementalHostRequest) {
	if asked.Status.Credentials != nil {
		return
	}
	admitted := metav1.Condition{Type: v1beta1.ConditionAdmitted, Status: metav1.ConditionTrue, Reason: "Because", Message: "the message"}
	if reason := c.answers(asked); reason != "" {
		admitted.Status, admitted.Reason = metav1.ConditionFalse, reason
		asked.Status.Conditions = []metav1.Condition{admitted}
		return
	}
	name := c.hosts[asked.Spec.PublicKey]
	if name == "" {
		name = fmt.Sprintf("edge-%d", len(c.hosts)+1)
		c.hosts[asked.Spec.PublicKey] = name
	}
	token, expires := c.mint()
	public, err := base64.StdEncoding.DecodeString(asked.Spec.PublicKey)
	if err != nil {
		c.t.Error(err)
	}
	sealed, err := identity.Seal(public, identity.Purpose{Namespace: "field", Host: name, Request: string(asked.UID)}, identity.Credentials{
		Server: c.server.URL, CA: c.ca.pem, Namespace: "field", Host: name, Token: token, Expires: expires,
	})
	if err != nil {
		c.t.Error(err)
	}
	asked.Status = v1beta1.ElementalHostRequestStatus{
		HostName: name, Conditions: []metav1.Condition{admitted},
		Credentials: &v1beta1.SealedCredentials{Sealed: sealed, ExpirationTime: metav1.NewTime(expires)},
	}
}

func (c *cluster) mint() (string, time.Time) {
	c.minted++
	token, expires := fmt.Sprintf("canary-token-%d", c.minted), c.time().Add(c.life)
	c.tokens[token] = expires
	return token, expires
}

// forget is what a restore from an old backup does: tokens, requests and answers are gone; hosts are, too, or not.
func (c *cluster) forget(hosts bool) {
	c.change(func() {
		c.tokens, c.requests = map[string]time.Time{}, map[string]*v1beta1.ElementalHostRequest{}
		if hosts {
			c.hosts = map[string]string{}
		}
	})
}

func refuse(w http.ResponseWriter, code int, reason metav1.StatusReason) {
	say(w, code, metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: "Failure", Code: int32(code), Reason: reason, Message: "played: " + string(reason)})
}

func say(w http.ResponseWriter, code int, what any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(what) // Whoever does not listen loses it.
}

// authority signs servers' certificates.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pem         []byte
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-10 * 365 * 24 * time.Hour), NotAfter: time.Now().Add(10 * 365 * 24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{certificate, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

func (a authority) sign(t *testing.T, from, to time.Time) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: from, NotAfter: to, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"api.example.com"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: a.key}
}

// host is one that has a folder, and restarts into new processes.
type host struct {
	*Enrollment
	t      *testing.T
	folder string
	bundle func() (Bundle, error)

	mu   sync.Mutex
	said []string
}

func newHost(t *testing.T, c *cluster) *host {
	t.Helper()
	h := &host{t: t, folder: t.TempDir() + "/work/identity", bundle: c.handed}
	h.start()
	return h
}

// start is a new process of the host's.
func (h *host) start() {
	h.Enrollment = New(h.folder, h.bundle)
	// Looks are counted, and not waited for.
	h.time.sleep = func(ctx context.Context, d time.Duration, wake <-chan struct{}) (bool, error) {
		return sleep(ctx, min(d, 5*time.Millisecond), wake)
	}
}

func (h *host) tell(reason, message string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if line := reason + ": " + message; !slices.Contains(h.said, line) {
		h.said = append(h.said, line)
	}
}

func (h *host) heard() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Join(h.said, "\n")
}

// await waits until something was said.
func (h *host) await(words string) {
	h.t.Helper()
	h.until("it says "+words, func() bool { return strings.Contains(h.heard(), words) })
}

func (h *host) until(what string, is func() bool) {
	h.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if is() {
			return
		}
	}
	h.t.Fatalf("it never came to be that %s; it said:\n%s", what, h.heard())
}

func waits(*v1beta1.ElementalHostRequest) string { return "WaitingForApproval" }
func letIn(*v1beta1.ElementalHostRequest) string { return "" }
