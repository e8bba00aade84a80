package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/matryer/is"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"elemental/adapters/kubernetes/api/v1beta1"
	"elemental/core"
	"elemental/e2e/controlplane"
)

// One control plane serves all tests of the package; each test has a namespace of its own.
var (
	plane              *controlplane.ControlPlane
	controllerIdentity string // kubeconfig of the controller's own service account
)

func TestMain(m *testing.M) {
	os.Exit(func() int {
		ctrllog.SetLogger(logr.Discard())
		if err := startPlane(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer plane.Stop()
		return m.Run()
	}())
}

func startPlane(ctx context.Context) (err error) {
	plane, err = controlplane.Start(ctx, controlplane.Options{CRDs: []string{"../../packaging/crds"}})
	if err != nil {
		return err
	}
	for _, args := range [][]string{
		{"create", "namespace", "elemental-system"},
		{"apply", "-k", "../../packaging/rbac"},
		{"apply", "-k", "../../packaging/admission"},
	} {
		if _, err := plane.Kubectl(ctx, args...); err != nil {
			return err
		}
	}
	controllerIdentity, err = plane.KubeconfigForServiceAccount(ctx, "elemental-system", "elemental-controller-manager")
	return err
}

// world is one test's corner of the cluster.
type world struct {
	*is.I
	t         *testing.T
	namespace string
	admin     client.Client
}

func newWorld(t *testing.T) *world {
	w := &world{I: is.New(t), t: t, admin: clientOf(t, plane.AdminKubeconfig())}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	w.NoErr(w.admin.Create(t.Context(), namespace))
	w.namespace = namespace.Name
	return w
}

func configOf(t *testing.T, kubeconfig string) *rest.Config {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	return config
}

func clientOf(t *testing.T, kubeconfig string) client.Client {
	t.Helper()
	scheme, err := newScheme()
	if err != nil {
		t.Fatal(err)
	}
	for _, add := range []func(*runtime.Scheme) error{eventsv1.AddToScheme, authorizationv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	c, err := client.New(configOf(t, kubeconfig), client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// controller runs the controller, as itself, until the test ends.
func (w *world) controller() {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	config := configOf(w.t, controllerIdentity)
	go func() {
		ended <- Run(ctx, config, Options{Namespace: w.namespace, MetricsAddress: "0", HealthAddress: "0", Log: logr.Discard()})
	}()
	w.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("the controller ended with %v", err)
		}
	})
}

func (w *world) kubectl(args ...string) (string, error) {
	return plane.Kubectl(w.t.Context(), append([]string{"-n", w.namespace}, args...)...)
}

// eventually waits until the check succeeds.
func (w *world) eventually(check func() error) {
	w.t.Helper()
	w.within(20*time.Second, check)
}

func (w *world) within(most time.Duration, check func() error) {
	w.t.Helper()
	var err error
	for deadline := time.Now().Add(most); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	w.t.Fatalf("not within %s: %v", most, err)
}

// newHost makes a host, as a user does.
func (w *world) newHost(name string, change ...func(*v1beta1.ElementalHost)) *v1beta1.ElementalHost {
	w.t.Helper()
	host := &v1beta1.ElementalHost{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}}
	for _, c := range change {
		c(host)
	}
	w.NoErr(w.admin.Create(w.t.Context(), host))
	return host
}

// newMachine makes a machine; the UID is that of the Machine which owns it, where there is one.
func (w *world) newMachine(name, host, version string, owner ...string) *v1beta1.ElementalMachine {
	w.t.Helper()
	machine := &v1beta1.ElementalMachine{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: w.namespace, Name: name,
			Labels:          map[string]string{v1beta1.LabelClusterName: "edge"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "cluster.x-k8s.io/v1beta2", Kind: "Machine", Name: name + "-owner", UID: types.UID(append(owner, "1")[0])}},
		},
		Spec: v1beta1.ElementalMachineSpec{
			HostRef:             &v1beta1.ObjectReference{Name: host},
			OSVersionManagement: osVersion(version),
		},
	}
	w.NoErr(w.admin.Create(w.t.Context(), machine))
	return machine
}

func osVersion(tag string) *runtime.RawExtension {
	if tag == "" {
		return nil
	}
	return &runtime.RawExtension{Raw: []byte(`{"osVersion":{"imageUri":"oci://registry/os:` + tag + `"}}`)}
}

func (w *world) host(name string) *v1beta1.ElementalHost {
	w.t.Helper()
	host := &v1beta1.ElementalHost{}
	w.NoErr(w.admin.Get(w.t.Context(), types.NamespacedName{Namespace: w.namespace, Name: name}, host))
	return host
}

func (w *world) machine(name string) *v1beta1.ElementalMachine {
	w.t.Helper()
	machine := &v1beta1.ElementalMachine{}
	w.NoErr(w.admin.Get(w.t.Context(), types.NamespacedName{Namespace: w.namespace, Name: name}, machine))
	return machine
}

// patch changes an object as kubectl patch --type=merge does.
func (w *world) patch(object client.Object, patch string) error {
	return w.admin.Patch(w.t.Context(), object, client.RawPatch(types.MergePatchType, []byte(patch)))
}

func (w *world) label(host, value string) {
	w.t.Helper()
	_, err := w.kubectl("label", "--overwrite", "elementalhost", host, v1beta1.LabelInPlaceUpdate+"="+value)
	w.NoErr(err)
}

// agent speaks for a host, with the identity that the controller made for it.
type agent struct {
	*world
	client client.Client
	name   string
}

func (w *world) agent(host string) agent {
	w.t.Helper()
	var kubeconfig string
	w.eventually(func() (err error) {
		kubeconfig, err = plane.KubeconfigForServiceAccount(w.t.Context(), w.namespace, HostAccount(host))
		return err
	})
	a := agent{w, clientOf(w.t, kubeconfig), host}
	w.eventually(func() error { // The authorizer learns of a new role a moment later.
		return a.client.Get(w.t.Context(), types.NamespacedName{Namespace: w.namespace, Name: host}, &v1beta1.ElementalHost{})
	})
	return a
}

// says reports what an agent would: OSVersionReady for a generation, and the outcome.
func (a agent) says(generation int64, status core.ConditionStatus, reason string, version v1beta1.OSVersionStatus, more ...core.Condition) {
	a.t.Helper()
	conditions := append(more, core.Condition{
		Type: core.OSVersionReady, Status: status, Reason: reason, Message: "the agent says " + reason, Generation: generation,
	})
	now := time.Now()
	for i := range conditions {
		conditions[i].Generation = generation
		if conditions[i].Reason == "" {
			conditions[i].Reason = "Because"
		}
	}
	a.NoErr(a.apply(map[string]any{
		"status": map[string]any{
			"observedGeneration": generation,
			"phase":              string(core.PhaseRunning),
			"conditions":         toConditions(nil, conditions, now),
			"osVersion":          version,
		},
	}))
}

// apply writes the status of the host as its agent does.
func (a agent) apply(content map[string]any) error {
	raw, err := json.Marshal(content)
	if err != nil {
		return err
	}
	object := &unstructured.Unstructured{}
	if err := json.Unmarshal(raw, &object.Object); err != nil {
		return err
	}
	object.SetGroupVersionKind(v1beta1.GroupVersion.WithKind("ElementalHost"))
	object.SetNamespace(a.namespace)
	object.SetName(a.name)
	return a.client.Status().Apply(a.t.Context(), client.ApplyConfigurationFromUnstructured(object), client.FieldOwner("elemental-agent"), client.ForceOwnership)
}

// renews says that the agent is alive, as at the time given.
func (a agent) renews(at time.Time) {
	a.t.Helper()
	patch := fmt.Sprintf(`{"spec":{"holderIdentity":%q,"renewTime":%q}}`, a.name, at.UTC().Format(metav1.RFC3339Micro))
	lease := &unstructured.Unstructured{}
	lease.SetAPIVersion("coordination.k8s.io/v1")
	lease.SetKind("Lease")
	lease.SetNamespace(a.namespace)
	lease.SetName(a.name)
	a.NoErr(a.client.Patch(a.t.Context(), lease, client.RawPatch(types.MergePatchType, []byte(patch))))
}

// alive makes a host and an agent that renews its Lease.
func (w *world) alive(name string, change ...func(*v1beta1.ElementalHost)) agent {
	w.t.Helper()
	w.newHost(name, change...)
	a := w.agent(name)
	a.renews(time.Now())
	return a
}

func bootstrapped() core.Condition {
	return core.Condition{Type: core.BootstrapReady, Status: core.True}
}

// condition checks one condition; an empty reason stands for any.
func condition(conditions []metav1.Condition, kind string, status metav1.ConditionStatus, reason string, generation int64) error {
	c := meta.FindStatusCondition(conditions, kind)
	if c == nil {
		return fmt.Errorf("there is no condition %s", kind)
	}
	if c.Status != status || reason != "" && c.Reason != reason || c.ObservedGeneration != generation {
		return fmt.Errorf("%s is %s (%s, generation %d: %s); wanted %s (%s, generation %d)",
			kind, c.Status, c.Reason, c.ObservedGeneration, c.Message, status, reason, generation)
	}
	return nil
}

func (w *world) hostSays(name, kind string, status metav1.ConditionStatus, reason string) func() error {
	return func() error {
		host := w.host(name)
		return condition(host.Status.Conditions, kind, status, reason, host.Generation)
	}
}

func (w *world) labelIs(name, label, value string) func() error {
	return func() error {
		if got := w.host(name).Labels[label]; got != value {
			return fmt.Errorf("the label %s is %q; wanted %q", label, got, value)
		}
		return nil
	}
}

// refused checks that an error is there and says something.
func refused(err error, words ...string) error {
	if err == nil {
		return errors.New("it was not refused")
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			return fmt.Errorf("the refusal does not say %q: %w", word, err)
		}
	}
	return nil
}

func osVersionOf(document string) *runtime.RawExtension {
	return &runtime.RawExtension{Raw: []byte(document)}
}
