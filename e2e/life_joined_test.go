package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"elemental/e2e/hosts"
	"elemental/e2e/lab"
	"elemental/e2e/registry"
)

// TestLifeJoined tells how hosts that joined by themselves live with what they were given, and lose it.
func TestLifeJoined(t *testing.T) {
	t.Parallel()
	s := newSettingLike(t, func(l *lab.Lab) { l.ControllerManager = true })
	t.Run("a machine that has nothing but its medium", func(t *testing.T) { lifeOfAMachine(t, s) })
	t.Run("one that is revoked", func(t *testing.T) { lifeRevoked(t, s) })
	t.Run("one that joined after the backup", func(t *testing.T) { lifeRestored(t, s, false) })
	t.Run("one that joined before the backup", func(t *testing.T) { lifeRestored(t, s, true) })
}

// only is the stage of the one host that has joined.
func (g *gate) only(process *hosts.Process, machine *hosts.Host) *stage {
	g.Helper()
	g.eventually("it is a host", func() bool { return len(g.names("elementalhosts")) == 1 })
	st := &stage{T: g.T, setting: g.setting, namespace: g.namespace, name: g.names("elementalhosts")[0], machine: machine, process: process}
	st.await("it is ready", func(h host) bool { return h.ready() && h.condition("AgentConnected").Status == "True" })
	return st
}

func (s *stage) uid() string {
	return s.mustKubectl("get", "elementalhost", s.name, "-o", "jsonpath={.metadata.uid} {.spec.pubKey}")
}

// lifeOfAMachine tells of a host whose disk knows a registration and no host: it joins, and is the same host when it
// has restarted into another system.
func lifeOfAMachine(t *testing.T, s *setting) {
	if err := hosts.Missing(); err != nil {
		if os.Getuid() == 0 {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	g := s.newGate(t, `{"hostLabels":{"site":"north"}}`)
	medium := g.medium("edge-")
	medium.Registry = s.Images.Address()
	machine, err := s.StartHost(t.Context(), medium, registry.System{Version: "v1"}, s.v1.Reference)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(machine.Report(t.Context()))
		}
		machine.Remove()
	})
	st := g.only(nil, machine)
	before, boot := st.uid(), st.await("it names its boot", func(h host) bool { return h.Status.System.BootID != "" }).Status.System.BootID
	st.ask(s.v2.Reference)
	st.waitReady()
	st.equal("its system", st.runs(), "v2")
	st.equal("the number of its boots", len(machine.Boots()), 2)
	if st.await("it is ready", host.ready).Status.System.BootID == boot {
		t.Error("it has not restarted")
	}
	st.equal("the host", st.uid(), before)
	st.equal("the number of hosts", len(g.names("elementalhosts")), 1)
	st.equal("the number of requests", len(g.names("elementalhostrequests")), 0)
}

// prompt is how soon a revoked host must be out.
const prompt = 15 * time.Second

func lifeRevoked(t *testing.T, s *setting) {
	g := s.newGate(t, `{}`)
	p := g.start(g.medium("edge-"))
	st := g.only(p, nil)
	g.eventually("its request has served", func() bool { return len(g.names("elementalhostrequests")) == 0 })
	before, watches, token := st.uid(), g.watches(), g.tokenOf(p)
	if code := g.show(token); code != http.StatusOK {
		t.Fatalf("the token of the host is answered with %d", code)
	}
	revoked := time.Now()
	st.mustKubectl("annotate", "elementalhost", st.name, "elementalhost.infrastructure.cluster.x-k8s.io/revoked=lost")
	g.eventually("its watch has ended", func() bool { return g.watches() < watches })
	ended := time.Since(revoked)
	g.eventually("its token is refused", func() bool { return g.show(token) == http.StatusUnauthorized })
	refused := time.Since(revoked)
	t.Logf("the watch ended after %s, and the token after %s", ended, refused)
	if ended > prompt || refused > prompt {
		t.Errorf("its watch ended after %s, and its token after %s", ended, refused)
	}
	g.eventually("it says what it waits for", func() bool {
		return strings.Contains(p.Log(), "reason=Revoked") && strings.Contains(p.Log(), "an administrator may approve this request")
	})
	request := g.names("elementalhostrequests")[0]
	st.patch(`{"said":"while it was out"}`)
	g.kubectl("patch", "elementalhostrequest", request, "--subresource=status", "--type=merge", "-p",
		`{"status":{"conditions":[{"type":"Approved","status":"True","reason":"Trusted","message":"","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}`)
	st.waitReady()
	st.equal("the host", st.uid(), before)
	if g.tokenOf(p) == token {
		t.Error("it has its old token")
	}
	if p.Starts() != 1 {
		t.Errorf("the agent was started %d times", p.Starts())
	}
}

// watches counts the watches of single hosts that the API server serves.
func (g *gate) watches() int {
	g.Helper()
	sum := 0.0
	for line := range strings.Lines(g.kubectl("get", "--raw", "/metrics")) {
		if strings.HasPrefix(line, "apiserver_longrunning_requests{") && strings.Contains(line, `resource="elementalhosts"`) && strings.Contains(line, `scope="resource"`) {
			n, err := strconv.ParseFloat(strings.TrimSpace(line[strings.LastIndex(line, " "):]), 64)
			if err != nil {
				g.Fatal(err)
			}
			sum += n
		}
	}
	return int(sum)
}

// tokenOf is the token that a host keeps.
func (g *gate) tokenOf(p *hosts.Process) string {
	g.Helper()
	var kept struct{ Credentials struct{ Token, Host string } }
	text, err := os.ReadFile(filepath.Join(p.WorkDir(), "identity", "credentials.json"))
	if err == nil {
		err = json.Unmarshal(text, &kept)
	}
	if err != nil {
		g.Fatal(err)
	}
	return kept.Credentials.Token
}

// show shows a token to the API server, and returns its answer. What every service account may ask is asked.
func (g *gate) show(token string) int {
	g.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(g.Cluster.CA())
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots}}}
	request, err := http.NewRequestWithContext(g.Context(), http.MethodGet, g.Cluster.URL()+"/apis", nil)
	if err != nil {
		g.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := client.Do(request)
	if err != nil {
		g.Fatal(err)
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// fill makes so many objects: versions that a host must not wait for once they have never been.
func (g *gate) fill(many int) {
	g.Helper()
	items := make([]string, many)
	for i := range items {
		items[i] = fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"namespace":%q,"name":"filler-%d"}}`, g.namespace, i)
	}
	if err := g.Apply(g.Context(), `{"apiVersion":"v1","kind":"List","items":[`+strings.Join(items, ",")+`]}`); err != nil {
		g.Fatal(err)
	}
}

// lifeRestored tells of a cluster that is brought back to what it was before, or after, a host had joined.
func lifeRestored(t *testing.T, s *setting, joined bool) {
	g := s.newGate(t, `{}`)
	backup := filepath.Join(t.TempDir(), "backup")
	save := func() {
		if err := s.Cluster.Backup(t.Context(), backup); err != nil {
			t.Fatal(err)
		}
	}
	medium := g.medium("edge-")
	if !joined {
		save()
	}
	st := g.only(g.start(medium), nil)
	g.eventually("its request has served", func() bool { return len(g.names("elementalhostrequests")) == 0 })
	name, before := st.name, st.uid()
	if joined {
		save()
	}
	st.patch(`{"said":"after the backup"}`) // What the cluster will not remember.
	st.waitReady()
	g.fill(300)

	s.Controller().Kill()
	if err := s.Cluster.Restore(t.Context(), backup); err != nil {
		t.Fatal(err)
	}
	if err := s.StartController(t.Context()); err != nil {
		t.Fatal(err)
	}
	restored := time.Now()
	st = g.only(st.process, nil)
	st.patch(`{"said":"after the restore"}`)
	st.waitReady()
	t.Logf("the host did what it was asked %s after the restore", time.Since(restored))
	st.equal("its name", st.name, name)
	if joined {
		st.equal("the host", st.uid(), before)
	}
	g.eventually("its requests have served", func() bool { return len(g.names("elementalhostrequests")) == 0 })
	st.equal("the number of hosts", len(g.names("elementalhosts")), 1)
	if st.process.Starts() != 1 {
		t.Errorf("the agent was started %d times", st.process.Starts())
	}
}
