package operator_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/matryer/is"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"elemental/adapters/kubernetes/api/v1beta1"
	"elemental/adapters/kubernetes/operator"
	"elemental/core"
	"elemental/e2e/controlplane"
	"elemental/ports"
	"elemental/ports/portstest"
)

func TestOperatorOnRealCluster(t *testing.T) {
	is := is.New(t)
	cluster, err := controlplane.Start(t.Context(), controlplane.Options{CRDs: []string{"../../../packaging/crds"}})
	is.NoErr(err)
	t.Cleanup(cluster.Stop)
	namespaces := 0
	portstest.TestOperator(t, func(t *testing.T) (ports.Operator, portstest.Yard) {
		namespaces++
		y := yard{cluster: cluster, namespace: "operator-" + string(rune('a'+namespaces))}
		y.kubectl(t, "", "create", "namespace", y.namespace)
		// An operator sees all namespaces: what one test left must not show in another's.
		y.kubectl(t, "", "delete", "elementalhosts", "--all", "--all-namespaces")
		client, err := operator.New(operator.Options{Kubeconfig: cluster.AdminKubeconfig(), Namespace: y.namespace})
		is.NoErr(err)
		return client, y
	})

	t.Run("denied", func(t *testing.T) {
		is := is.New(t)
		nobody, err := cluster.KubeconfigForUser("nobody")
		is.NoErr(err)
		client, err := operator.New(operator.Options{Kubeconfig: nobody})
		is.NoErr(err)
		_, err = client.List(t.Context(), true)
		is.True(errors.Is(err, ports.ErrDenied))
		is.True(strings.Contains(err.Error(), `User "nobody" cannot list`)) // in the cluster's own words
		err = client.Follow(t.Context(), "a", func(ports.Host) bool { return true })
		is.True(errors.Is(err, ports.ErrDenied))
	})
	t.Run("outage", func(t *testing.T) {
		is := is.New(t)
		y := yard{cluster: cluster, namespace: "default"}
		y.Put(t, ports.Host{Name: "lasting"}, "")
		client, err := operator.New(operator.Options{Kubeconfig: cluster.AdminKubeconfig()})
		is.NoErr(err)
		is.NoErr(client.Follow(t.Context(), "lasting", func(h ports.Host) bool {
			if h.Phase == "" {
				cluster.StopAPIServer()
				_, err := client.Get(t.Context(), "lasting")
				is.True(errors.Is(err, ports.ErrNotReady))
				is.NoErr(cluster.StartAPIServer(t.Context()))
				y.Say(t, "lasting", core.PhaseRunning)
			}
			return h.Phase != core.PhaseRunning
		}))
	})
}

func TestKubeconfig(t *testing.T) {
	is := is.New(t)
	_, err := operator.New(operator.Options{Kubeconfig: "/nowhere"})
	is.True(err != nil && strings.Contains(err.Error(), "/nowhere"))
	path := t.TempDir() + "/kubeconfig"
	is.NoErr(os.WriteFile(path, []byte("apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\n"+
		"contexts: [{name: x, context: {cluster: c}}]\ncurrent-context: x\n"), 0o600))
	_, err = operator.New(operator.Options{Kubeconfig: path, Context: "y"})
	is.True(strings.Contains(fmt.Sprint(err), "context was not found for specified context: y"))
	client, err := operator.New(operator.Options{Kubeconfig: path})
	is.NoErr(err)
	_, err = client.List(t.Context(), false)
	is.True(errors.Is(err, ports.ErrNotReady))
}

// yard makes hosts with the administrator's rights.
type yard struct {
	cluster   *controlplane.ControlPlane
	namespace string
}

func (y yard) kubectl(t *testing.T, input string, args ...string) string {
	t.Helper()
	if input != "" {
		path := t.TempDir() + "/object.json"
		is.New(t).NoErr(os.WriteFile(path, []byte(input), 0o600))
		args = append(args, "-f", path)
	}
	out, err := y.cluster.Kubectl(t.Context(), args...)
	is.New(t).NoErr(err)
	return string(bytes.TrimSpace([]byte(out)))
}

func (y yard) Put(t *testing.T, host ports.Host, document string) {
	t.Helper()
	is := is.New(t)
	namespace := y.namespace
	if host.Namespace != "" {
		namespace = host.Namespace
		y.kubectl(t, `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"`+namespace+`"}}`, "apply")
	}
	labels := map[string]string{}
	for label, value := range map[string]string{
		v1beta1.LabelElementalMachineName: host.Machine, v1beta1.LabelInPlaceUpdate: string(host.Label),
	} {
		if value != "" {
			labels[label] = value
		}
	}
	if host.Bootstrapped {
		labels[v1beta1.LabelBootstrapped] = v1beta1.LabelValueTrue
	}
	spec := map[string]any{}
	if document != "" {
		spec["osVersionManagement"] = json.RawMessage(document)
	}
	object, err := json.Marshal(map[string]any{
		"apiVersion": v1beta1.GroupVersion.String(), "kind": "ElementalHost", "spec": spec,
		"metadata": map[string]any{"name": host.Name, "namespace": namespace, "labels": labels},
	})
	is.NoErr(err)
	y.kubectl(t, string(object), "create")
	status := v1beta1.OSVersionStatus{
		Outcome: string(host.Outcome), Armed: host.Armed,
		Booted: &v1beta1.Version{Reference: host.Booted.Reference, Digest: host.Booted.Digest, Version: host.Booted.Version},
	}
	if host.Again {
		now := metav1.Now()
		status.NextAttemptTime = &now
	}
	if p := host.Progress; p.Step != "" {
		percent := int32(p.Percent)
		status.Progress = &v1beta1.Progress{Step: p.Step, Percent: &percent, Message: p.Message}
	}
	y.status(t, host.Name, namespace, v1beta1.ElementalHostStatus{OSVersion: &status})
}

func (y yard) status(t *testing.T, name, namespace string, status v1beta1.ElementalHostStatus) {
	t.Helper()
	patch, err := json.Marshal(map[string]any{"status": status})
	is.New(t).NoErr(err)
	y.kubectl(t, "", "patch", "elementalhost", name, "-n", namespace, "--subresource=status", "--type=merge", "-p", string(patch))
}

func (y yard) Say(t *testing.T, name string, phase core.Phase, conditions ...core.Condition) {
	t.Helper()
	status := v1beta1.ElementalHostStatus{Phase: string(phase)}
	for _, c := range conditions {
		status.Conditions = append(status.Conditions, metav1.Condition{
			Type: c.Type, Status: metav1.ConditionStatus(c.Status), Reason: c.Reason, Message: c.Message,
			ObservedGeneration: c.Generation, LastTransitionTime: metav1.Now(),
		})
	}
	y.status(t, name, y.namespace, status)
}

func (y yard) Document(t *testing.T, name string) string {
	t.Helper()
	return y.kubectl(t, "", "get", "elementalhost", name, "-n", y.namespace, "-o", "jsonpath={.spec.osVersionManagement}")
}

func (y yard) Delete(t *testing.T, name string) {
	t.Helper()
	y.kubectl(t, "", "delete", "elementalhost", name, "-n", y.namespace)
}
