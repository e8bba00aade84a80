package operator

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"elemental/adapters/kubernetes/api/v1beta1"
	"elemental/core"
	"elemental/ports"
)

// Ask changes what is asked of one host or machine.
func (c *Client) Ask(ctx context.Context, of ports.Target, change ports.Change) (ports.Target, error) {
	k, namespace := kindOf(of.Kind), cmp.Or(of.Namespace, c.namespace)
	doing := fmt.Sprintf("asking %s %s/%s for an OS version", cmp.Or(of.Kind, core.KindHost), namespace, of.Name)
	body, how, err := patchOf(change)
	if err != nil {
		return ports.Target{}, fmt.Errorf("%s: %w", doing, err)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	patch := c.objects.Patch(how).Namespace(namespace).Resource(k.resource).Name(of.Name).Param("fieldManager", fieldManager).Body(body)
	if change.DryRun {
		patch = patch.Param("dryRun", metav1.DryRunAll)
	}
	object := k.object()
	if err := patch.Do(ctx).Into(object); err != nil {
		return ports.Target{}, failure(doing, err)
	}
	return k.target(object), nil
}

// patchOf merges an image or a renewal into an object, and replaces a document as a whole.
func patchOf(change ports.Change) ([]byte, types.PatchType, error) {
	switch {
	case change.Document != nil:
		// An added member replaces the one that is there, all of it.
		body, err := json.Marshal([]map[string]any{{"op": "add", "path": "/spec/osVersionManagement", "value": json.RawMessage(change.Document)}})
		return body, types.JSONPatchType, err
	case change.Retry != "":
		body, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{v1beta1.AnnotationRetry: change.Retry}}})
		return body, types.MergePatchType, err
	default:
		body, err := json.Marshal(map[string]any{"spec": map[string]any{
			"osVersionManagement": map[string]any{"osVersion": map[string]any{"imageUri": change.Image}},
		}})
		return body, types.MergePatchType, err
	}
}

// Events returns what happened to a host or machine.
func (c *Client) Events(ctx context.Context, of ports.Target) ([]ports.Event, error) {
	k, namespace := kindOf(of.Kind), cmp.Or(of.Namespace, c.namespace)
	doing := fmt.Sprintf("reading the events of %s %s/%s", cmp.Or(of.Kind, core.KindHost), namespace, of.Name)
	client, err := typedcorev1.NewForConfig(c.config)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	list, err := client.Events(namespace).List(ctx, metav1.ListOptions{FieldSelector: fields.Set{
		"involvedObject.kind": k.name, "involvedObject.name": of.Name,
	}.String()})
	if err != nil {
		return nil, failure(doing, err)
	}
	events := make([]ports.Event, 0, len(list.Items))
	for i := range list.Items {
		events = append(events, eventOf(&list.Items[i]))
	}
	slices.SortStableFunc(events, func(a, b ports.Event) int { return a.Last.Compare(b.Last) })
	return events, nil
}

// eventOf reads an event in either of the two forms that there are.
func eventOf(e *corev1.Event) ports.Event {
	event := ports.Event{
		Last: e.LastTimestamp.Time, Count: int(max(1, e.Count)), Warning: e.Type == corev1.EventTypeWarning,
		Reason: e.Reason, Message: e.Message,
	}
	if event.Last.IsZero() {
		event.Last = e.EventTime.Time
	}
	if event.Last.IsZero() {
		event.Last = e.CreationTimestamp.Time
	}
	if s := e.Series; s != nil {
		event.Last, event.Count = s.LastObservedTime.Time, int(s.Count)
	}
	return event
}
