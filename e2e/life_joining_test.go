package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"elemental/e2e/hosts"
	"elemental/e2e/lab"
)

// TestLifeJoining tells how hosts join by themselves.
func TestLifeJoining(t *testing.T) {
	// What a host owned goes with it: that is the work of the cluster's garbage collector.
	s := newSettingLike(t, func(l *lab.Lab) { l.ControllerManager = true })
	t.Run("many from one medium", func(t *testing.T) { joinTogether(t, s) })
	t.Run("one that waits for approval", func(t *testing.T) { joinApproved(t, s) })
	t.Run("one that is killed while it joins", func(t *testing.T) { joinKilled(t, s) })
	t.Run("one that the cluster has forgotten", func(t *testing.T) { joinAgain(t, s) })
}

// gate is a namespace with a registration.
type gate struct {
	*testing.T
	*setting
	namespace string
}

func (s *setting) newGate(t *testing.T, spec string) *gate {
	t.Helper()
	g := &gate{T: t, setting: s, namespace: s.newNamespace(t)}
	g.kubectl("apply", "-k", filepath.Join(s.Checkout, "packaging", "rbac", "hosts"))
	err := s.Apply(t.Context(), fmt.Sprintf(
		`{"apiVersion":"infrastructure.cluster.x-k8s.io/v1beta1","kind":"ElementalRegistration","metadata":{"name":"field","namespace":%q},"spec":%s}`, g.namespace, spec))
	if err != nil {
		t.Fatal(err)
	}
	g.kubectl("wait", "--for=condition=ready", "--timeout=60s", "elementalregistration/field")
	return g
}

func (g *gate) kubectl(args ...string) string {
	g.Helper()
	out, err := g.Cluster.Kubectl(g.Context(), append([]string{"-n", g.namespace}, args...)...)
	if err != nil {
		g.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// medium is what all hosts of a registration are told.
func (g *gate) medium(prefix string) hosts.Config {
	g.Helper()
	var secret struct {
		Data map[string]string `json:"data"`
	}
	if err := json.Unmarshal([]byte(g.kubectl("get", "secret", "elemental-reg-field", "-o", "json")), &secret); err != nil {
		g.Fatal(err)
	}
	value := func(key string) string {
		text, err := base64.StdEncoding.DecodeString(secret.Data[key])
		if err != nil {
			g.Fatal(err)
		}
		return string(text)
	}
	return hosts.Config{
		Host: "medium", Namespace: g.namespace, Debug: true, Hostname: map[string]any{"prefix": prefix},
		Registration: map[string]string{
			"server": value("server"), "certificateAuthority": value("ca.crt"), "namespace": value("namespace"), "name": value("registration"), "token": value("token"),
		},
	}
}

func (g *gate) start(config hosts.Config) *hosts.Process {
	g.Helper()
	p, err := hosts.StartProcess(g.Binary, config)
	if err != nil {
		g.Fatal(err)
	}
	g.Cleanup(func() {
		if g.Failed() {
			g.Log(p.Log())
		}
		p.Remove()
	})
	return p
}

func (g *gate) eventually(what string, is func() bool) {
	g.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if is() {
			return
		}
	}
	g.Fatalf("it never came to be that %s\n%s", what, g.kubectl("get", "elementalhosts,elementalhostrequests", "-o", "wide"))
}

func (g *gate) names(kind string) []string {
	g.Helper()
	return strings.Fields(g.kubectl("get", kind, "-o", "jsonpath={.items[*].metadata.name}"))
}

func joinTogether(t *testing.T, s *setting) {
	g := s.newGate(t, `{"hostLabels":{"site":"north"}}`)
	const many = 5
	medium := g.medium("edge-")
	for range many {
		g.start(medium)
	}
	g.eventually("all are hosts", func() bool { return len(g.names("elementalhosts")) == many })
	g.kubectl("wait", "--for=condition=ready", "--timeout=60s", "elementalhosts", "-l", "site=north")
	g.eventually("the requests have served", func() bool { return len(g.names("elementalhostrequests")) == 0 })
	if found := g.names("elementalhosts"); len(found) != many {
		t.Errorf("there are %d hosts: %s", len(found), found)
	}
}

func joinApproved(t *testing.T, s *setting) {
	g := s.newGate(t, `{"approval":"Manual"}`)
	p := g.start(g.medium("edge-"))
	g.eventually("it waits", func() bool { return strings.Contains(p.Log(), "WaitingForApproval") })
	if found := g.names("elementalhosts"); len(found) != 0 {
		t.Fatalf("it was let in: %s", found)
	}
	request := g.names("elementalhostrequests")[0]
	g.kubectl("patch", "elementalhostrequest", request, "--subresource=status", "--type=merge", "-p",
		`{"status":{"conditions":[{"type":"Approved","status":"True","reason":"Trusted","message":"","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}`)
	g.eventually("it is a host", func() bool { return len(g.names("elementalhosts")) == 1 })
	g.kubectl("wait", "--for=condition=ready", "--timeout=60s", "elementalhosts", "--all")
}

func joinKilled(t *testing.T, s *setting) {
	g := s.newGate(t, `{}`)
	p := g.start(g.medium("edge-"))
	for range 8 {
		time.Sleep(40 * time.Millisecond) // Wherever it then is, it must be the same host again.
		p.KillAgent()
	}
	g.eventually("it is a host", func() bool { return len(g.names("elementalhosts")) == 1 })
	g.kubectl("wait", "--for=condition=ready", "--timeout=60s", "elementalhosts", "--all")
	if _, err := os.Stat(filepath.Join(p.WorkDir(), "identity", "key")); err != nil {
		t.Error(err)
	}
	if found := g.names("elementalhosts"); len(found) != 1 {
		t.Errorf("it is several hosts: %s", found)
	}
}

func joinAgain(t *testing.T, s *setting) {
	g := s.newGate(t, `{}`)
	g.start(g.medium("edge-"))
	g.eventually("it is a host", func() bool { return len(g.names("elementalhosts")) == 1 })
	g.kubectl("wait", "--for=condition=ready", "--timeout=60s", "elementalhosts", "--all")
	before := g.kubectl("get", "elementalhosts", "-o", "jsonpath={.items[0].metadata.uid}")
	g.kubectl("delete", "elementalhosts", "--all")
	g.eventually("it is a host again", func() bool {
		uid := g.kubectl("get", "elementalhosts", "-o", "jsonpath={.items[*].metadata.uid}")
		return uid != "" && uid != before
	})
	g.kubectl("wait", "--for=condition=ready", "--timeout=60s", "elementalhosts", "--all")
}
