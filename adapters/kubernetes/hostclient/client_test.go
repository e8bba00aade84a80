package hostclient_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"

	"elemental/adapters/kubernetes/api/v1beta1"
	"elemental/adapters/kubernetes/hostclient"
	"elemental/core"
	"elemental/e2e/controlplane"
	"elemental/ports/portstest"
)

// plane is a real API server with the custom resources, and a namespace for every test.
type plane struct {
	*controlplane.ControlPlane
	namespaces int
}

func (p *plane) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := p.Kubectl(context.Background(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (p *plane) apply(t *testing.T, object string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "object.json")
	if err := os.WriteFile(file, []byte(object), 0o600); err != nil {
		t.Fatal(err)
	}
	p.run(t, "apply", "-f", file)
}

func start(t *testing.T) *plane {
	t.Helper()
	if testing.Short() {
		t.Skip("a control plane takes seconds")
	}
	p, err := controlplane.Start(t.Context(), controlplane.Options{CRDs: []string{"../../../packaging/crds"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return &plane{ControlPlane: p}
}

// TestCluster holds the client against its port, on a real API server.
func TestCluster(t *testing.T) {
	p := start(t)
	portstest.TestCluster(t, func(t *testing.T) portstest.ClusterCase {
		p.namespaces++
		namespace := fmt.Sprintf("host-%d", p.namespaces)
		p.run(t, "create", "namespace", namespace)
		client, err := hostclient.New(p.AdminKubeconfig(), namespace, "h")
		if err != nil {
			t.Fatal(err)
		}
		in := func(args ...string) string { return p.run(t, append([]string{"--namespace", namespace}, args...)...) }
		read := func() v1beta1.ElementalHost {
			var host v1beta1.ElementalHost
			if err := json.Unmarshal([]byte(in("get", "elementalhost", "h", "-o", "json", "--show-managed-fields")), &host); err != nil {
				t.Fatal(err)
			}
			return host
		}
		writes, version := 0, ""
		return portstest.ClusterCase{
			Cluster: client,
			Create: func(osVersion string) {
				p.apply(t, fmt.Sprintf(`{"apiVersion":"infrastructure.cluster.x-k8s.io/v1beta1","kind":"ElementalHost","metadata":{"name":"h","namespace":%q},"spec":{"osVersionManagement":%s}}`, namespace, osVersion))
			},
			Ask: func(osVersion string) {
				if osVersion == "" {
					osVersion = "null"
				}
				in("patch", "elementalhost", "h", "--type=merge", "-p", `{"spec":{"osVersionManagement":`+osVersion+`}}`)
			},
			Arm:    func() { in("label", "elementalhost", "h", v1beta1.LabelInPlaceUpdate+"=pending") },
			Delete: func() { in("delete", "elementalhost", "h") },
			Writes: func() int {
				if now := read().ResourceVersion; now != version {
					version = now
					writes++
				}
				return writes
			},
			Shown: func(kind string) (core.Condition, bool) {
				for _, c := range read().Status.Conditions {
					if c.Type == kind {
						return core.Condition{Type: c.Type, Status: core.ConditionStatus(c.Status), Reason: c.Reason, Message: c.Message, Generation: c.ObservedGeneration}, true
					}
				}
				return core.Condition{}, false
			},
		}
	})
	t.Run("leaves what the controller says", func(t *testing.T) { leavesTheControllersWord(t, p) })
	t.Run("publishes its plugin's schema", func(t *testing.T) { publishesSchema(t, p) })
	t.Run("renews the lease that the controller made", func(t *testing.T) { renewsTheLease(t, p) })
}

func leavesTheControllersWord(t *testing.T, p *plane) {
	is := is.New(t)
	p.apply(t, `{"apiVersion":"infrastructure.cluster.x-k8s.io/v1beta1","kind":"ElementalHost","metadata":{"name":"shared","namespace":"default"},"spec":{}}`)
	p.run(t, "patch", "elementalhost", "shared", "--subresource=status", "--type=merge", "-p",
		`{"status":{"conditions":[{"type":"Ready","status":"True","reason":"Ready","message":"","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}`)
	client, err := hostclient.New(p.AdminKubeconfig(), "default", "shared")
	is.NoErr(err)
	for _, status := range []core.ConditionStatus{core.False, core.True} {
		report := portstest.Saying("spoken", core.OSVersionReady)
		report.Conditions[0].Status = status
		is.NoErr(client.Report(t.Context(), report))
	}
	types := p.run(t, "get", "elementalhost", "shared", "-o", "jsonpath={.status.conditions[*].type}")
	is.True(strings.Contains(types, "Ready"))
	is.True(strings.Contains(types, core.OSVersionReady))
}

func publishesSchema(t *testing.T, p *plane) {
	is := is.New(t)
	p.apply(t, `{"apiVersion":"infrastructure.cluster.x-k8s.io/v1beta1","kind":"ElementalHost","metadata":{"name":"publisher","namespace":"default"},"spec":{}}`)
	client, err := hostclient.New(p.AdminKubeconfig(), "default", "publisher")
	is.NoErr(err)
	for _, c := range []struct{ schema, shown string }{
		{"{\n  \"type\": \"object\"\n}", `{"type":"object"}`},
		{"{ that is no JSON", ""},
		{`{"description":"` + strings.Repeat("x", 64<<10) + `"}`, ""}, // more than the object may carry
		{"", ""},
	} {
		report := portstest.Saying("spoken", core.OSVersionReady)
		report.Plugin, report.Schema = "image", []byte(c.schema)
		is.NoErr(client.Report(t.Context(), report))
		is.Equal(p.run(t, "get", "elementalhost", "publisher", "-o", "jsonpath={.status.system.pluginSchema}"), c.shown)
	}
}

func renewsTheLease(t *testing.T, p *plane) {
	is := is.New(t)
	client, err := hostclient.New(p.AdminKubeconfig(), "default", "leased")
	is.NoErr(err)
	is.True(client.Heartbeat(t.Context()) != nil) // The agent does not make its Lease.
	p.apply(t, `{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"leased","namespace":"default"},"spec":{}}`)
	is.NoErr(client.Heartbeat(t.Context()))
	renewed := p.run(t, "get", "lease", "leased", "-o", "jsonpath={.spec.renewTime}")
	is.True(renewed != "")
}
