package kubernetes

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"elemental/adapters/kubernetes/api/v1beta1"
	"elemental/core"
)

func TestWhatKubectlShows(t *testing.T) {
	w := newWorld(t)
	w.controller()
	a := w.alive("one")
	w.newMachine("edge-1", "one", "v1")
	w.eventually(w.forwards("one", osVersion("v1")))
	version := applied
	version.Booted = &v1beta1.Version{Reference: "oci://registry/os:v1", Digest: "sha256:abcdef", Version: "Elemental 1.2.3"}
	a.says(w.host("one").Generation, core.True, core.ReasonApplied, version, bootstrapped())
	w.eventually(w.machineSays("edge-1", core.Ready, "True", ""))
	for _, row := range []struct {
		args  []string
		shown []string
	}{
		{[]string{"get", "elementalhost"}, []string{"CLUSTER", "edge", "edge-1-owner", "edge-1 ", "Running", "True", "Elemental 1.2.3"}},
		{[]string{"get", "elementalhost", "-o", "wide"}, []string{"sha256:abcdef", "Applied", "the agent says Applied"}},
		{[]string{"get", "elementalmachine", "-o", "wide"}, []string{"edge-1-owner", "one", "True", "Elemental 1.2.3", "the agent says Applied"}},
		{[]string{"get", "cluster-api"}, []string{"elementalhost.infrastructure.cluster.x-k8s.io/one", "elementalmachine.infrastructure.cluster.x-k8s.io/edge-1"}},
	} {
		out, err := w.kubectl(row.args...)
		w.NoErr(err)
		for _, s := range row.shown {
			if !strings.Contains(out, s) {
				t.Errorf("kubectl %v does not show %q:\n%s", row.args, s, out)
			}
		}
	}
}

// The template of the documentation, applied as users and as Cluster API do.
func TestATemplateCanBeEdited(t *testing.T) {
	w := newWorld(t)
	file := filepath.Join(t.TempDir(), "template.yaml")
	template := `
apiVersion: infrastructure.cluster.x-k8s.io/v1beta1
kind: ElementalMachineTemplate
metadata:
  name: kubeadm-md-0
spec:
  template:
    metadata:
      labels: {rack: "7"}
    spec:
      selector:
        matchLabels: {rack: "7"}
      inPlaceUpdate: {drain: Manual, drainTimeout: 10m, stageFirst: true}
      osVersionManagement:
        osVersion:
          imageUri: oci://my-registry/my-image:v1.2.3
          upgradeRecovery: false
          debug: false
`
	w.NoErr(os.WriteFile(file, []byte(template), 0o600))
	for _, args := range [][]string{
		{"apply", "-f", file},
		{"apply", "-f", file, "--server-side", "--force-conflicts", "--dry-run=server"},
		{"patch", "elementalmachinetemplate", "kubeadm-md-0", "--type=merge", "-p", `{"spec":{"template":{"spec":{"osVersionManagement":{"osVersion":{"imageUri":"oci://my-registry/my-image:v1.2.4"}}}}}}`},
	} {
		_, err := w.kubectl(args...)
		w.NoErr(err)
	}
	out, err := w.kubectl("get", "emt", "kubeadm-md-0", "-o", "jsonpath={.spec.template.spec.osVersionManagement}")
	w.NoErr(err)
	w.True(strings.Contains(out, "v1.2.4"))
	w.True(strings.Contains(out, `"upgradeRecovery":false`))
	err = w.admin.Create(t.Context(), &v1beta1.ElementalMachine{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "bad"}, Spec: v1beta1.ElementalMachineSpec{InPlaceUpdate: &v1beta1.InPlaceUpdate{Drain: "Maybe"}},
	})
	w.NoErr(refused(err, "spec.inPlaceUpdate.drain", "Auto", "Manual"))
}

// Cluster API finds the version that implements its contract by the labels of the definitions.
func TestDefinitionsBearTheLabelsOfTheContract(t *testing.T) {
	w := newWorld(t)
	out, err := w.kubectl("get", "crd", "-o", "json")
	w.NoErr(err)
	var definitions struct {
		Items []struct {
			Metadata struct {
				Name   string
				Labels map[string]string
			}
		}
	}
	w.NoErr(json.Unmarshal([]byte(out), &definitions))
	w.True(len(definitions.Items) >= 3)
	for _, d := range definitions.Items {
		if !strings.HasSuffix(d.Metadata.Name, "."+v1beta1.GroupVersion.Group) {
			continue // Another test needs it.
		}
		w.Equal(d.Metadata.Labels["cluster.x-k8s.io/v1beta2"], "v1beta1")
		w.Equal(d.Metadata.Labels["cluster.x-k8s.io/provider"], "infrastructure-elemental")
	}
}
