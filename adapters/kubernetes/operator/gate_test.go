package operator_test

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/matryer/is"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"elemental/adapters/kubernetes/api/v1beta1"
	"elemental/adapters/kubernetes/operator"
	"elemental/core"
	"elemental/e2e/controlplane"
	"elemental/ports"
	"elemental/ports/portstest"
)

func TestGatekeeperOnRealCluster(t *testing.T) {
	is := is.New(t)
	cluster, err := controlplane.Start(t.Context(), controlplane.Options{CRDs: []string{"../../../packaging/crds"}})
	is.NoErr(err)
	t.Cleanup(cluster.Stop)
	namespaces := 0
	newGate := func(t *testing.T) gate {
		namespaces++
		g := gate{yard{cluster: cluster, namespace: fmt.Sprintf("gate-%d", namespaces)}}
		g.kubectl(t, "", "create", "namespace", g.namespace)
		g.kubectl(t, "", "delete", "elementalhostrequests,elementalregistrations", "--all", "--all-namespaces")
		return g
	}
	portstest.TestGatekeeper(t, func(t *testing.T) (ports.Gatekeeper, portstest.Gate) {
		g := newGate(t)
		client, err := operator.New(flags(cluster.AdminKubeconfig(), "", g.namespace))
		is.NoErr(err)
		return client, g
	})
	t.Run("who may see no Secrets", func(t *testing.T) {
		is := is.New(t)
		g := newGate(t)
		g.Settle(t, "edge-1", true)
		g.Register(t, ports.Registration{Name: "field", Bundle: &ports.Bundle{Token: "secret"}})
		g.kubectl(t, `{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"Role","metadata":{"name":"keeper","namespace":"`+g.namespace+`"},
			"rules":[{"apiGroups":["infrastructure.cluster.x-k8s.io"],"resources":["*"],"verbs":["get","list","patch"]}]}`, "apply")
		g.kubectl(t, "", "create", "rolebinding", "keeper", "-n", g.namespace, "--role=keeper", "--user=keeper")
		kubeconfig, err := cluster.KubeconfigForUser("keeper")
		is.NoErr(err)
		client, err := operator.New(flags(kubeconfig, "", g.namespace))
		is.NoErr(err)
		end, err := client.Revoke(t.Context(), "edge-1", "lost", time.Second)
		is.NoErr(err)
		is.Equal(end, ports.RevocationUnseen)
		is.True(len(g.Mark(t, "edge-1")) > 0)
		_, err = client.Registrations(t.Context(), "field")
		is.True(err != nil)
		t.Log(err)
		registrations, err := client.Registrations(t.Context(), "")
		is.NoErr(err) // The list needs no Secrets.
		is.Equal(len(registrations), 1)
	})
}

// gate makes registrations and requests with the administrator's rights, and answers as the controller would.
type gate struct{ yard }

func (g gate) make(t *testing.T, object any) {
	t.Helper()
	text, err := json.Marshal(object)
	is.New(t).NoErr(err)
	g.kubectl(t, string(text), "apply")
}

// in is the namespace of what is made.
func (g gate) in(t *testing.T, namespace string) string {
	t.Helper()
	if namespace != "" {
		g.make(t, map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": namespace}})
	}
	return cmp.Or(namespace, g.namespace)
}

func (g gate) said(t *testing.T, kind, namespace, name string, status map[string]any) {
	t.Helper()
	text, err := json.Marshal(map[string]any{
		"apiVersion": v1beta1.GroupVersion.String(), "kind": kind, "metadata": map[string]any{"name": name, "namespace": namespace}, "status": status,
	})
	is.New(t).NoErr(err)
	g.kubectl(t, string(text), "apply", "--server-side", "--force-conflicts", "--field-manager=controller", "--subresource=status")
}

func conditionsOf(all ...core.Condition) []metav1.Condition {
	conditions := []metav1.Condition{}
	for _, c := range all {
		if c.Status != "" {
			conditions = append(conditions, metav1.Condition{
				Type: c.Type, Status: metav1.ConditionStatus(c.Status), Reason: c.Reason, Message: c.Message,
				ObservedGeneration: c.Generation, LastTransitionTime: metav1.Now(),
			})
		}
	}
	return conditions
}

func actionOf(e core.Ending) v1beta1.PowerAction {
	return v1beta1.PowerAction{PowerOff: e == core.EndingPowerOff, Reboot: e == core.EndingReboot}
}

func (g gate) Register(t *testing.T, r ports.Registration) {
	t.Helper()
	namespace := g.in(t, r.Namespace)
	spec := v1beta1.ElementalRegistrationSpec{Approval: string(cmp.Or(r.Approval, core.ApprovalAuto))}
	spec.Config.Elemental.Registration.LongLived = r.Lasting
	spec.Config.Elemental.Agent = v1beta1.AgentConfig{
		WorkDir: r.Agent.WorkDir, OSPlugin: r.Agent.OSPlugin, NoSMBIOS: r.Agent.NoSMBIOS, Debug: r.Agent.Debug,
		Hostname:    v1beta1.HostnameRule{UseExisting: r.Agent.Naming.UseExisting, Prefix: r.Agent.Naming.Prefix},
		PostInstall: actionOf(r.Agent.PostInstall), PostReset: actionOf(r.Agent.PostReset),
	}
	metadata := map[string]any{"name": r.Name, "namespace": namespace}
	g.make(t, map[string]any{"apiVersion": v1beta1.GroupVersion.String(), "kind": "ElementalRegistration", "metadata": metadata, "spec": spec})
	status := map[string]any{"hosts": r.Hosts, "bundleSecret": "elemental-reg-" + r.Name, "conditions": conditionsOf(r.Ready)}
	if !r.Expires.IsZero() {
		status["tokenExpirationTime"] = metav1.NewTime(r.Expires)
	}
	g.said(t, "ElementalRegistration", namespace, r.Name, status)
	if b := r.Bundle; b != nil {
		g.make(t, map[string]any{
			"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": "elemental-reg-" + r.Name, "namespace": namespace},
			"stringData": map[string]string{"server": b.Server, "ca.crt": b.CA, "namespace": b.Namespace, "registration": b.Registration, "token": b.Token},
		})
	}
}

func (g gate) Knock(t *testing.T, r ports.JoinRequest) string {
	t.Helper()
	key := make([]byte, 32)
	_, _ = rand.Read(key) // It never fails.
	name := cmp.Or(r.Name, hex.EncodeToString(key))
	g.make(t, map[string]any{
		"apiVersion": v1beta1.GroupVersion.String(), "kind": "ElementalHostRequest",
		"metadata": map[string]any{"name": name, "namespace": g.in(t, r.Namespace)},
		"spec": v1beta1.ElementalHostRequestSpec{
			Registration: r.Registration, Hostname: r.Hostname, SerialNumber: r.Serial, PublicKey: base64.StdEncoding.EncodeToString(key),
		},
	})
	return name
}

func (g gate) Answer(t *testing.T, request, host string, admitted core.Condition) {
	t.Helper()
	g.said(t, "ElementalHostRequest", g.namespace, request, map[string]any{"hostName": host, "conditions": conditionsOf(admitted)})
}

func (g gate) Withdraw(t *testing.T, request string) {
	t.Helper()
	g.kubectl(t, "", "delete", "elementalhostrequest", request, "-n", g.namespace)
}

func (g gate) Settle(t *testing.T, host string, stubborn bool) {
	t.Helper()
	g.Put(t, ports.Target{Name: host}, nil, "")
	g.kubectl(t, "", "create", "secret", "generic", "elemental-host-"+host, "-n", g.namespace)
	if stubborn {
		return
	}
	// As the controller would, once the host is marked.
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	t.Cleanup(func() { cancel(); <-ended })
	go func() {
		defer close(ended)
		_, err := g.cluster.Kubectl(ctx, "wait", "elementalhost/"+host, "-n", g.namespace, "--timeout=60s",
			`--for=jsonpath={.metadata.annotations.elementalhost\.infrastructure\.cluster\.x-k8s\.io/revoked}`)
		if err == nil {
			_, err = g.cluster.Kubectl(ctx, "delete", "secret", "elemental-host-"+host, "-n", g.namespace)
		}
		if err != nil && ctx.Err() == nil {
			t.Error(err)
		}
	}()
}

func (g gate) Mark(t *testing.T, host string) string {
	t.Helper()
	return g.kubectl(t, "", "get", "elementalhost", host, "-n", g.namespace, "-o",
		`jsonpath={.metadata.annotations.elementalhost\.infrastructure\.cluster\.x-k8s\.io/revoked}`)
}
