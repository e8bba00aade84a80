package kubernetes

import (
	"context"
	"encoding/pem"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"elemental/adapters/kubernetes/enrollment"
	"elemental/ports"
)

// The attacks of this file come from a server that a host was led to.

const canary = "canary-of-a-token"

// spy is a server that counts who shows it a token.
type spy struct {
	*httptest.Server
	asked, shown atomic.Int32
}

func newSpy(t *testing.T) *spy {
	s := &spy{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		if strings.Contains(fmt.Sprint(r.Header, r.URL), canary) {
			s.shown.Add(1)
		}
	}))
	s.Config.ErrorLog = log.New(t.Output(), "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func certificateOf(server *httptest.Server) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
}

// joining is what a host says for itself that asks a server to let it in.
func (s *siege) joining(t *testing.T, server string, ca []byte) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	host := enrollment.New(t.TempDir(), func() (enrollment.Bundle, error) {
		return enrollment.Bundle{Server: server, CA: ca, Namespace: s.namespace, Registration: "r1", Token: canary}, nil
	})
	said := ""
	if _, err := host.Join(ctx, ports.Applicant{Hostname: "edge"}, func(reason, message string) {
		said = reason + ": " + message
		cancel()
	}); err == nil {
		t.Error("it was let in")
	}
	if said == "" || strings.Contains(said, canary) {
		t.Errorf("it says %q", said)
	}
	return said
}

func (s *siege) redirect(t *testing.T) {
	elsewhere := newSpy(t)
	for _, code := range []int{http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect} {
		server := httptest.NewTLSServer(http.RedirectHandler(elsewhere.URL, code))
		said := s.joining(t, server.URL, append(certificateOf(server), certificateOf(elsewhere.Server)...))
		server.Close()
		if !strings.Contains(said, "the token is for that server alone") {
			t.Errorf("%d: it says %s", code, said)
		}
	}
	if elsewhere.asked.Load() != 0 {
		t.Error("the other server was asked")
	}
}

func (s *siege) wrongCA(t *testing.T) {
	server := newSpy(t)
	for name, ca := range map[string][]byte{"of another server": plane.CA(), "not to be read": []byte("no PEM"), "nobody's": nil} {
		if said := s.joining(t, server.URL, ca); !strings.Contains(said, "certificate") {
			t.Errorf("with a certificate authority that is %s, it says %s", name, said)
		}
	}
	if server.asked.Load() != 0 {
		t.Error("the server was asked")
	}
	s.joining(t, server.URL, certificateOf(server.Server)) // With the right one it is.
	if server.shown.Load() == 0 {
		t.Error("this test can't tell whether a token is shown")
	}
}
