package main

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemental/adapters/kubernetes/api/v1beta1"
)

// patience is how long anything may take that is waited for, on a machine that others use too.
const patience = 10 * time.Minute

// watcher is a watch that is taken up again when the API server ends it, as it does when it has much to do.
type watcher struct {
	*bench
	namespace, name string
	events          watch.Interface
}

// watchHosts shows all hosts of a namespace, or the one of that name, as they are and whenever they change, until
// seen says that it is enough.
func (b *bench) watchHosts(ctx context.Context, namespace, name string, seen func(*v1beta1.ElementalHost) (enough bool)) error {
	w, err := b.beginWatch(ctx, namespace, name)
	if err != nil {
		return err
	}
	defer w.stop()
	return w.follow(ctx, seen)
}

// beginWatch returns when the API server has taken up the watch: no later change is missed.
func (b *bench) beginWatch(ctx context.Context, namespace, name string) (*watcher, error) {
	w := &watcher{bench: b, namespace: namespace, name: name}
	return w, w.open(ctx)
}

func (w *watcher) open(ctx context.Context) error {
	options := []client.ListOption{client.InNamespace(w.namespace)}
	if w.name != "" {
		options = append(options, client.MatchingFields{metav1.ObjectNameField: w.name})
	}
	var err error
	if w.events, err = w.cluster.Watch(ctx, &v1beta1.ElementalHostList{}, options...); err != nil {
		return fmt.Errorf("watching ElementalHosts of namespace %s: %w", w.namespace, err)
	}
	return nil
}

func (w *watcher) stop() { w.events.Stop() }

// follow shows changes until seen says that it is enough. It may be called again to go on.
func (w *watcher) follow(ctx context.Context, seen func(*v1beta1.ElementalHost) (enough bool)) error {
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for ElementalHosts: %w", ctx.Err())
		case <-late.C:
			return fmt.Errorf("waiting for ElementalHosts: what is waited for did not happen in %s", patience)
		case event, open := <-w.events.ResultChan():
			if !open {
				if err := w.open(ctx); err != nil {
					return err
				}
				continue
			}
			if host, ok := event.Object.(*v1beta1.ElementalHost); ok && event.Type != watch.Deleted && seen(host) {
				return nil
			}
		}
	}
}

// ready is what kubectl wait concludes.
func ready(host *v1beta1.ElementalHost) bool {
	c := meta.FindStatusCondition(host.Status.Conditions, "Ready")
	return c != nil && c.Status == metav1.ConditionTrue && c.ObservedGeneration == host.Generation
}

// ask patches what a host is to run, and returns the generation that asks for it.
func (b *bench) ask(ctx context.Context, namespace, name, osVersion string) (generation int64, err error) {
	host := &v1beta1.ElementalHost{}
	host.Namespace, host.Name = namespace, name
	err = b.cluster.Patch(ctx, host, mergePatch(`{"spec":{"osVersionManagement":`+osVersion+`}}`))
	if err != nil {
		return 0, fmt.Errorf("patching host %s: %w", name, err)
	}
	return host.Generation, nil
}
