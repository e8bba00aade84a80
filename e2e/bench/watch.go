package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemental/adapters/kubernetes/api/v1beta1"
)

// patience is how long anything may take that is waited for.
const patience = 3 * time.Minute

// watchHosts shows all hosts of a namespace, or the one of that name, as they are and whenever they change, until
// seen says that it is enough.
func (b *bench) watchHosts(ctx context.Context, namespace, name string, seen func(*v1beta1.ElementalHost) (enough bool)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	all, err := b.beginWatch(ctx, namespace, name)
	if err != nil {
		return err
	}
	defer all.Stop()
	return follow(ctx, all, seen)
}

// beginWatch returns when the API server has taken up the watch: no later change is missed.
func (b *bench) beginWatch(ctx context.Context, namespace, name string) (watch.Interface, error) {
	options := []client.ListOption{client.InNamespace(namespace)}
	if name != "" {
		options = append(options, client.MatchingFields{metav1.ObjectNameField: name})
	}
	all, err := b.cluster.Watch(ctx, &v1beta1.ElementalHostList{}, options...)
	if err != nil {
		return nil, fmt.Errorf("watching ElementalHosts of namespace %s: %w", namespace, err)
	}
	return all, nil
}

func follow(ctx context.Context, all watch.Interface, seen func(*v1beta1.ElementalHost) (enough bool)) error {
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for ElementalHosts: %w", ctx.Err())
		case event, open := <-all.ResultChan():
			if !open {
				return errors.New("waiting for ElementalHosts: the watch ended")
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
