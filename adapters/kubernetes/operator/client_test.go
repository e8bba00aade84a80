package operator_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"elemental/adapters/kubernetes/api/v1beta1"
	"elemental/adapters/kubernetes/operator"
	"elemental/core"
	"elemental/e2e/controlplane"
	"elemental/ports"
	"elemental/ports/portstest"
)

func flags(kubeconfig, context, namespace string) *genericclioptions.ConfigFlags {
	flags := genericclioptions.NewConfigFlags(true)
	*flags.KubeConfig, *flags.Context, *flags.Namespace = kubeconfig, context, namespace
	return flags
}

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
		y.kubectl(t, "", "delete", "elementalhosts,elementalmachines", "--all", "--all-namespaces")
		client, err := operator.New(flags(cluster.AdminKubeconfig(), "", y.namespace))
		is.NoErr(err)
		return client, y
	})

	t.Run("denied", func(t *testing.T) {
		is := is.New(t)
		nobody, err := cluster.KubeconfigForUser("nobody")
		is.NoErr(err)
		client, err := operator.New(flags(nobody, "", ""))
		is.NoErr(err)
		_, err = client.List(t.Context(), ports.Selection{Everywhere: true})
		is.True(errors.Is(err, ports.ErrDenied))
		is.True(strings.Contains(err.Error(), `User "nobody" cannot list`)) // in the cluster's own words
		err = client.Follow(t.Context(), ports.Selection{Names: []string{"a"}}, func(ports.Target) bool { return true })
		is.True(errors.Is(err, ports.ErrDenied))
	})
	t.Run("watch denied", func(t *testing.T) {
		is := is.New(t)
		y := yard{cluster: cluster, namespace: "default"}
		y.Put(t, ports.Target{Name: "watched"}, nil, "")
		client, err := operator.New(flags(y.mayOnly(t, "lister", "get,list"), "", ""))
		is.NoErr(err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		sights := 0
		err = client.Follow(ctx, ports.Selection{Names: []string{"watched"}}, func(ports.Target) bool { sights++; return true })
		is.True(errors.Is(err, ports.ErrDenied))
		is.True(strings.Contains(err.Error(), `User "lister" cannot watch`))
		is.True(sights > 0) // What may be listed was shown.
	})
	t.Run("list denied", func(t *testing.T) {
		is := is.New(t)
		y := yard{cluster: cluster, namespace: "default"}
		y.Put(t, ports.Target{Name: "got"}, nil, "")
		client, err := operator.New(flags(y.mayOnly(t, "getter", "get"), "", ""))
		is.NoErr(err)
		hosts, err := client.List(t.Context(), ports.Selection{Names: []string{"got", "missing", "got"}})
		is.True(errors.Is(err, ports.ErrNotFound))
		is.True(strings.Contains(err.Error(), "default/missing"))
		is.Equal(len(hosts), 1)
		_, err = client.List(t.Context(), ports.Selection{Labels: "a=b"})
		is.True(errors.Is(err, ports.ErrDenied))
	})
	t.Run("objects as they were sent", func(t *testing.T) {
		y := yard{cluster: cluster, namespace: "default"}
		// An object without a status, with a field that only a later version of the program knows.
		y.kubectl(t, "", "patch", "crd", "elementalhosts.infrastructure.cluster.x-k8s.io", "--type=json", "-p",
			`[{"op":"add","path":"/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/later","value":{"type":"string"}}]`)
		until(t, func() bool {
			y.kubectl(t, `{"apiVersion":"`+v1beta1.GroupVersion.String()+`","kind":"ElementalHost","metadata":{"name":"sent","namespace":"default"},"spec":{"later":"x"}}`, "apply")
			return y.kubectl(t, "", "get", "elementalhost", "sent", "-n", "default", "-o", "jsonpath={.spec.later}") == "x"
		})
		sent := y.kubectl(t, "", "get", "elementalhost", "sent", "-n", "default", "-o", "json")
		client, err := operator.New(flags(cluster.AdminKubeconfig(), "", ""))
		is.New(t).NoErr(err)
		same := func(t *testing.T, h ports.Target) {
			t.Helper()
			var ours, theirs any
			is := is.New(t)
			is.NoErr(errors.Join(json.Unmarshal(h.Object, &ours), json.Unmarshal([]byte(sent), &theirs)))
			is.Equal(ours, theirs)
		}
		for name, selection := range map[string]ports.Selection{
			"one": {Names: []string{"sent"}, Objects: true}, "listed": {Fields: "metadata.name=sent", Objects: true},
		} {
			t.Run(name, func(t *testing.T) {
				is := is.New(t)
				hosts, err := client.List(t.Context(), selection)
				is.NoErr(err)
				is.Equal(len(hosts), 1)
				same(t, hosts[0])
			})
		}
		t.Run("followed", func(t *testing.T) {
			sights := 0
			is.New(t).NoErr(client.Follow(t.Context(), ports.Selection{Names: []string{"sent"}, Objects: true}, func(h ports.Target) bool {
				same(t, h)
				sights++
				return sights < 2 // The first comes from a list, the second from the watch.
			}))
		})
	})
	t.Run("outage", func(t *testing.T) {
		is := is.New(t)
		y := yard{cluster: cluster, namespace: "default"}
		y.Put(t, ports.Target{Name: "lasting"}, nil, "")
		client, err := operator.New(flags(cluster.AdminKubeconfig(), "", ""))
		is.NoErr(err)
		is.NoErr(client.Follow(t.Context(), ports.Selection{Names: []string{"lasting"}}, func(h ports.Target) bool {
			if h.Phase == "" {
				cluster.StopAPIServer()
				_, err := client.List(t.Context(), ports.Selection{Names: []string{"lasting"}})
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
	_, err := operator.New(flags("/nowhere", "", ""))
	is.True(err != nil && strings.Contains(err.Error(), "/nowhere"))
	path := t.TempDir() + "/kubeconfig"
	is.NoErr(os.WriteFile(path, []byte("apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\n"+
		"contexts: [{name: x, context: {cluster: c}}]\ncurrent-context: x\n"), 0o600))
	_, err = operator.New(flags(path, "y", ""))
	is.True(strings.Contains(fmt.Sprint(err), "context was not found for specified context: y"))
	client, err := operator.New(flags(path, "", ""))
	is.NoErr(err)
	_, err = client.List(t.Context(), ports.Selection{})
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

// mayOnly makes a user with a few rights on hosts, and returns the user's kubeconfig.
func (y yard) mayOnly(t *testing.T, user, verbs string) string {
	t.Helper()
	y.kubectl(t, "", "create", "clusterrole", user, "--verb="+verbs, "--resource=elementalhosts.infrastructure.cluster.x-k8s.io")
	y.kubectl(t, "", "create", "clusterrolebinding", user, "--clusterrole="+user, "--user="+user)
	kubeconfig, err := y.cluster.KubeconfigForUser(user)
	is.New(t).NoErr(err)
	client, err := operator.New(flags(kubeconfig, "", ""))
	is.New(t).NoErr(err)
	// Who may what takes a moment to be known.
	until(t, func() bool {
		_, err := client.List(t.Context(), ports.Selection{Names: []string{"nobody"}})
		return !errors.Is(err, ports.ErrDenied)
	})
	return kubeconfig
}

// until tries something until it is so.
func until(t *testing.T, so func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !so(); {
		if time.Now().After(end) {
			t.Fatal("it did not come to be so in time")
		}
	}
}

func (y yard) Put(t *testing.T, target ports.Target, labels map[string]string, document string) {
	t.Helper()
	is := is.New(t)
	if target.Namespace != "" {
		y.namespace = target.Namespace
		y.kubectl(t, `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"`+y.namespace+`"}}`, "apply")
	}
	all := map[string]string{}
	maps.Copy(all, labels)
	for label, value := range map[string]string{
		v1beta1.LabelElementalMachineName: target.Machine, v1beta1.LabelInPlaceUpdate: string(target.Label),
	} {
		if value != "" {
			all[label] = value
		}
	}
	if target.Bootstrapped {
		all[v1beta1.LabelBootstrapped] = v1beta1.LabelValueTrue
	}
	spec := map[string]any{}
	if document != "" {
		spec["osVersionManagement"] = json.RawMessage(document)
	}
	kind := "ElementalHost"
	if target.Kind == core.KindMachine {
		kind = "ElementalMachine"
		spec["hostRef"] = v1beta1.ObjectReference{Kind: "ElementalHost", Name: target.Host}
	}
	object, err := json.Marshal(map[string]any{
		"apiVersion": v1beta1.GroupVersion.String(), "kind": kind, "spec": spec,
		"metadata": map[string]any{"name": target.Name, "namespace": y.namespace, "labels": all},
	})
	is.NoErr(err)
	y.kubectl(t, string(object), "create")
	if kind == "ElementalHost" {
		y.status(t, target.Name, statusOf(target))
	}
}

// statusOf is what an agent would have reported.
func statusOf(target ports.Target) v1beta1.ElementalHostStatus {
	version := func(v core.Version) *v1beta1.Version {
		return &v1beta1.Version{Reference: v.Reference, Digest: v.Digest, Version: v.Version}
	}
	said := target.OSVersion
	status := v1beta1.OSVersionStatus{
		Requested: said.Requested, Applied: said.Applied, Outcome: string(said.Outcome), Armed: said.Armed, Retry: said.Retry, Attempts: int32(said.Attempts),
		Booted: version(said.Booted), Staged: version(said.Staged), Previous: version(said.Previous),
	}
	if !said.Last.IsZero() {
		status.LastAttemptTime = &metav1.Time{Time: said.Last}
	}
	if !said.Next.IsZero() {
		status.NextAttemptTime = &metav1.Time{Time: said.Next}
	}
	if f := said.Failure; f.Class != "" {
		status.Failure = &v1beta1.Failure{Class: string(f.Class), Reason: f.Reason, Message: f.Message, Path: f.Path}
	}
	if p := said.Progress; p.Step != "" {
		percent := int32(p.Percent)
		status.Progress = &v1beta1.Progress{Step: p.Step, Percent: &percent, Message: p.Message}
	}
	s := target.System
	return v1beta1.ElementalHostStatus{OSVersion: &status, System: &v1beta1.SystemStatus{
		BootID: s.BootID, MachineID: s.MachineID, OSImage: s.OSImage, KernelVersion: s.KernelVersion, Architecture: s.Architecture,
		AgentVersion: s.AgentVersion, Plugin: target.Plugin, PluginSchema: string(target.Schema),
	}}
}

func (y yard) status(t *testing.T, name string, status v1beta1.ElementalHostStatus) {
	t.Helper()
	patch, err := json.Marshal(map[string]any{"status": status})
	is.New(t).NoErr(err)
	y.kubectl(t, "", "patch", "elementalhost", name, "-n", y.namespace, "--subresource=status", "--type=merge", "-p", string(patch))
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
	y.status(t, name, status)
}

func (y yard) Document(t *testing.T, kind core.Kind, name string) string {
	t.Helper()
	return y.kubectl(t, "", "get", "elemental"+string(kind), name, "-n", y.namespace, "-o", "jsonpath={.spec.osVersionManagement}")
}

func (y yard) Delete(t *testing.T, name string) {
	t.Helper()
	y.kubectl(t, "", "delete", "elementalhost", name, "-n", y.namespace)
}

func (y yard) Happen(t *testing.T, name string, event ports.Event) {
	t.Helper()
	kind := "Normal"
	if event.Warning {
		kind = "Warning"
	}
	object, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Event", "type": kind, "reason": event.Reason, "message": event.Message, "count": event.Count,
		"lastTimestamp":  event.Last.Format(time.RFC3339),
		"involvedObject": map[string]any{"kind": "ElementalHost", "name": name, "namespace": y.namespace},
		"metadata":       map[string]any{"generateName": name + "-", "namespace": y.namespace},
	})
	is.New(t).NoErr(err)
	y.kubectl(t, string(object), "create")
}
