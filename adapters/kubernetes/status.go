package kubernetes

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// applyStatus makes these fields of an object's status the controller's own, and takes back what it had
// applied there and does not now. It is a conflict if the object changed since it was read.
func applyStatus(ctx context.Context, c client.Client, object client.Object, status map[string]any) error {
	kind, err := apiutil.GVKForObject(object, c.Scheme())
	if err != nil {
		return err
	}
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&struct {
		Status map[string]any `json:"status"`
	}{status})
	if err != nil {
		return fmt.Errorf("writing the status of %s %s: %w", kind.Kind, client.ObjectKeyFromObject(object), err)
	}
	applied := &unstructured.Unstructured{Object: fields}
	applied.SetGroupVersionKind(kind)
	applied.SetNamespace(object.GetNamespace())
	applied.SetName(object.GetName())
	applied.SetResourceVersion(object.GetResourceVersion())
	err = c.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(applied), client.FieldOwner(FieldManager), client.ForceOwnership)
	if err != nil {
		return fmt.Errorf("applying the status of %s %s: %w", kind.Kind, client.ObjectKeyFromObject(object), err)
	}
	return nil
}
