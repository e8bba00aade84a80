package kubernetes

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemental/adapters/kubernetes/api/v1beta1"
)

func TestTheInPlaceUpdateLabelTakesThreeValues(t *testing.T) {
	w := newWorld(t)
	host := w.newHost("one")
	for _, value := range []string{"pending", "done", "failed"} {
		w.NoErr(w.patch(host, `{"metadata":{"labels":{"`+v1beta1.LabelInPlaceUpdate+`":"`+value+`"}}}`))
	}
	for _, value := range []string{"", "true", "Pending", "abort"} {
		w.eventually(func() error { // A policy is in force a moment after it was applied.
			return refused(w.patch(host, `{"metadata":{"labels":{"`+v1beta1.LabelInPlaceUpdate+`":"`+value+`"}}}`),
				v1beta1.LabelInPlaceUpdate+` cannot be "`+value+`"`, `"pending"`, "ElementalHost one")
		})
		born := &v1beta1.ElementalHost{ObjectMeta: metav1.ObjectMeta{
			Namespace: w.namespace, Name: "born", Labels: map[string]string{v1beta1.LabelInPlaceUpdate: value},
		}}
		w.NoErr(refused(w.admin.Create(t.Context(), born), `cannot be "`+value+`"`))
	}
	w.NoErr(w.patch(host, `{"metadata":{"labels":{"`+v1beta1.LabelInPlaceUpdate+`":null}}}`))
}

func TestAHostThatServesAMachineIsPatchedThere(t *testing.T) {
	certified, err := plane.KubeconfigForUser("controller", "elemental:controllers")
	if err != nil {
		t.Fatal(err)
	}
	for name, serves := range map[string]struct {
		change func(*v1beta1.ElementalHost)
		says   string
	}{
		"by reference": {func(h *v1beta1.ElementalHost) {
			h.Spec.MachineRef = &v1beta1.ObjectReference{Kind: "ElementalMachine", Name: "edge-1"}
		}, "ElementalMachine edge-1"},
		"by label": {func(h *v1beta1.ElementalHost) {
			h.Labels = map[string]string{v1beta1.LabelElementalMachineName: "edge-2"}
		}, "ElementalMachine edge-2"},
		"by what was forwarded": {func(h *v1beta1.ElementalHost) {
			h.Annotations = map[string]string{v1beta1.AnnotationForwardedFrom: "123/4"}
		}, "spec.hostRef"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			host := w.newHost("serving", serves.change, func(h *v1beta1.ElementalHost) { h.Spec.OSVersionManagement = osVersion("v1") })
			for _, patch := range []string{
				`{"spec":{"osVersionManagement":{"osVersion":{"imageUri":"oci://registry/os:v2"}}}}`,
				`{"spec":{"osVersionManagement":null}}`,
				`{"spec":{"osVersionManagement":{"extra":1}}}`,
				`{"metadata":{"labels":null,"annotations":null},"spec":{"machineRef":null,"osVersionManagement":{"extra":1}}}`,
			} {
				w.eventually(func() error {
					return refused(w.patch(host, patch), "ElementalHost serving serves", serves.says, "patch spec.osVersionManagement of that ElementalMachine")
				})
			}
			// Whatever else a user changes is theirs to change.
			w.NoErr(w.patch(host, `{"metadata":{"labels":{"rack":"7"}},"spec":{"pubKey":"key"}}`))
			w.NoErr(w.patch(host, `{"spec":{"osVersionManagement":{"osVersion":{"imageUri":"oci://registry/os:v1"}}}}`))

			// The controller may, by its account or by its group.
			_, err := w.kubectl("create", "rolebinding", "controllers", "--clusterrole=elemental-controller", "--group=elemental:controllers")
			w.NoErr(err)
			for i, identity := range []string{controllerIdentity, certified} {
				controller := clientOf(t, identity)
				patch := `{"spec":{"osVersionManagement":{"round":` + string(rune('0'+i)) + `}}}`
				w.eventually(func() error {
					return controller.Patch(t.Context(), host, client.RawPatch(types.MergePatchType, []byte(patch)))
				})
			}
		})
	}
	w := newWorld(t)
	free := w.newHost("free", func(h *v1beta1.ElementalHost) { h.Spec.OSVersionManagement = osVersion("v1") })
	w.NoErr(w.patch(free, `{"spec":{"osVersionManagement":{"osVersion":{"imageUri":"oci://registry/os:v2"}}}}`))
	w.NoErr(w.patch(free, `{"spec":{"osVersionManagement":null}}`))
}

func TestOSVersionManagementIsAnObject(t *testing.T) {
	w := newWorld(t)
	host := w.newHost("one")
	for _, bad := range []string{`["a"]`, `"a"`, `7`, `true`} {
		w.NoErr(refused(w.patch(host, `{"spec":{"osVersionManagement":`+bad+`}}`), "must be of type object"))
	}
	// What the plugin alone knows is kept as it was given.
	given := osVersionOf(`{"commands":["a",{"b":null}],"deep":{"er":[1,2.5],"none":null}}`)
	w.newHost("two", func(h *v1beta1.ElementalHost) { h.Spec.OSVersionManagement = given })
	w.True(sameVersion(w.host("two").Spec.OSVersionManagement, given))
}
