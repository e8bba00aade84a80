package operator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"elemental/core"
	"elemental/ports"
)

// errSeen ends a watch in which enough was seen.
var errSeen = errors.New("enough was seen")

// mostDenials is how often in a row a watch that was open may be denied: a cluster that starts again denies what it will
// allow as soon as it has read who may what.
const mostDenials = 8

// Follow watches what is selected. The reflector lists, watches, and connects again with a back-off.
func (c *Client) Follow(ctx context.Context, selection ports.Selection, seen func(ports.Target) bool) error {
	// What may not be read, or is not there, is an error at once.
	targets, err := c.List(ctx, selection)
	if err != nil {
		return err
	}
	options, err := optionsOf(selection)
	if err != nil {
		return err
	}
	watching, enough := context.WithCancelCause(ctx)
	defer enough(nil)
	from, k := c.source(selection)
	sight := &sight{
		kind: k, of: selection, seen: seen, enough: func() { enough(errSeen) },
		shown: map[cache.ObjectName]string{},
	}
	for _, t := range targets {
		sight.show(t, "")
	}
	if sight.ended {
		return nil
	}
	// What the reflector logs of a cluster that is away is for programs that run for ever.
	quiet := klog.NewContext(watching, logr.Discard())
	namespace := c.namespace
	if selection.Everywhere {
		namespace = metav1.NamespaceAll
	}
	some := cache.NewFilteredListWatchFromClient(from, sight.kind.resource, namespace, func(o *metav1.ListOptions) {
		o.LabelSelector, o.FieldSelector = options.LabelSelector, options.FieldSelector
	})
	some.WatchFuncWithContext = untilDenied(some.WatchFuncWithContext, func(err error) {
		enough(failure("watching "+sight.kind.resource, err))
	})
	cache.NewReflectorWithOptions(some, sight.kind.object(), sight, cache.ReflectorOptions{
		Name: sight.kind.resource, MinWatchTimeout: 10 * time.Minute,
	}).RunWithContext(quiet)
	switch cause := context.Cause(watching); {
	case errors.Is(cause, errSeen):
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	default:
		return cause
	}
}

// untilDenied tells of a watch that is denied, which the reflector would try for ever and in silence: at once where none
// was ever open, and else when it stays so.
func untilDenied(watch cache.WatchFuncWithContext, denied func(error)) cache.WatchFuncWithContext {
	left := 1
	return func(ctx context.Context, options metav1.ListOptions) (apiwatch.Interface, error) {
		opened, err := watch(ctx, options)
		switch {
		case err == nil:
			left = mostDenials
		case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
			if left--; left <= 0 {
				denied(err)
			}
		}
		return opened, err
	}
}

// sight is a store that shows each version of each object, and keeps nothing but their names and versions.
type sight struct {
	kind   kind
	of     ports.Selection
	seen   func(ports.Target) bool
	enough func()

	mutex sync.Mutex
	shown map[cache.ObjectName]string // the resource versions of what is there
	ended bool
}

// show shows an object, unless this very version of it was shown before.
func (s *sight) show(t ports.Target, version string) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	name := cache.NewObjectName(t.Namespace, t.Name)
	before, known := s.shown[name]
	switch {
	case t.Gone && version == "": // It is not merely being deleted.
		delete(s.shown, name)
	case known && before == version && version != "":
		return
	default:
		s.shown[name] = version
	}
	if !s.ended && !s.seen(t) {
		s.ended = true
		s.enough()
	}
}

// Add shows an object.
func (s *sight) Add(item any) error {
	o, ok := item.(object)
	if !ok {
		return fmt.Errorf("following the cluster's %s: it sent a %T", s.kind.resource, item)
	}
	if len(s.of.Names) == 0 || slices.Contains(s.of.Names, o.GetName()) {
		s.show(s.kind.target(o), o.GetResourceVersion())
	}
	return nil
}

// Update shows an object.
func (s *sight) Update(item any) error { return s.Add(item) }

// Delete shows that an object is gone.
func (s *sight) Delete(item any) error {
	name, err := cache.DeletionHandlingObjectToName(item)
	if err != nil {
		return fmt.Errorf("following the cluster's %s: %w", s.kind.resource, err)
	}
	s.gone(name)
	return nil
}

func (s *sight) gone(name cache.ObjectName) {
	if len(s.of.Names) == 0 || slices.Contains(s.of.Names, name.Name) {
		s.show(ports.Target{Namespace: name.Namespace, Name: name.Name, Standing: core.Standing{Kind: s.of.Kind, Gone: true}}, "")
	}
}

// Replace shows the objects as a new list has them, and that those are gone that it has not.
func (s *sight) Replace(items []any, _ string) error {
	there := map[cache.ObjectName]bool{}
	for _, item := range items {
		name, err := cache.ObjectToName(item)
		if err != nil {
			return fmt.Errorf("following the cluster's %s: %w", s.kind.resource, err)
		}
		there[name] = true
		if err := s.Add(item); err != nil {
			return err
		}
	}
	s.mutex.Lock()
	var lost []cache.ObjectName
	for name := range s.shown {
		if !there[name] {
			lost = append(lost, name)
		}
	}
	s.mutex.Unlock()
	for _, name := range lost {
		s.gone(name)
	}
	return nil
}

// Resync has nothing to do.
func (s *sight) Resync() error { return nil }
