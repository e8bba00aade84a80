package kubernetes

import (
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemental/adapters/kubernetes/api/v1beta1"
)

// TestLifeAHostThatIsMovedIsNotReset takes a host away as clusterctl move does: it lives on in another cluster.
func TestLifeAHostThatIsMovedIsNotReset(t *testing.T) {
	w := newWorld(t)
	w.let()
	r, left := w.mortalHosts()
	left.Store(1 << 30)
	request := ctrl.Request{NamespacedName: client.ObjectKey{Namespace: w.namespace, Name: "host-1"}}
	reconcile := func() {
		t.Helper()
		_, err := r.Reconcile(t.Context(), request)
		w.NoErr(err)
	}
	w.newHost("host-1", func(h *v1beta1.ElementalHost) { h.Annotations = map[string]string{v1beta1.AnnotationPaused: ""} })
	host := &v1beta1.ElementalHost{}
	read := func() error { return w.admin.Get(t.Context(), request.NamespacedName, host) }
	patch := func(kind types.PatchType, text string) {
		t.Helper()
		w.NoErr(w.admin.Patch(t.Context(), host, client.RawPatch(kind, []byte(text))))
	}
	w.NoErr(read())
	patch(types.MergePatchType, `{"metadata":{"finalizers":["`+v1beta1.Finalizer+`"]}}`)
	patch(types.JSONPatchType, `[{"op":"add","path":"/metadata/annotations","value":{"`+v1beta1.AnnotationDeleteForMove+`":""}}]`)
	w.True(host.IsPaused())
	reconcile()
	patch(types.MergePatchType, `{"metadata":{"finalizers":[]}}`)
	reconcile()
	w.NoErr(read())
	w.Equal(len(host.Finalizers), 0) // It is not put back.
	w.NoErr(w.admin.Delete(t.Context(), host))
	w.True(apierrors.IsNotFound(read()))
}
