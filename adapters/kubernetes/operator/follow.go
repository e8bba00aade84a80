package operator

import (
	"cmp"
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
	_, k := c.source(selection)
	return c.follow(ctx, following{
		doing:    fmt.Sprintf("following the %ss", cmp.Or(selection.Kind, core.KindHost)),
		whole:    selection.Objects,
		resource: k.resource, object: k.object, everywhere: selection.Everywhere, options: options,
		begin: func(s *sight) {
			for _, t := range targets {
				s.show(cache.NewObjectName(t.Namespace, t.Name), "", func() bool { return seen(t) })
			}
		},
		means: func(name string) bool { return len(selection.Names) == 0 || slices.Contains(selection.Names, name) },
		seen:  func(o object) bool { return seen(k.target(o)) },
		gone: func(namespace, name string) bool {
			return seen(ports.Target{Namespace: namespace, Name: name, Standing: core.Standing{Kind: selection.Kind, Gone: true}})
		},
	})
}

// following is what is followed, and who looks.
type following struct {
	doing      string // for an error
	whole      bool   // objects are wanted as the API server sends them
	resource   string
	object     func() object
	everywhere bool
	options    metav1.ListOptions
	begin      func(*sight)           // shows what is there already
	means      func(name string) bool // an object of that name is meant
	seen       func(object) bool      // false: enough was seen
	gone       func(namespace, name string) bool
}

func (c *Client) follow(ctx context.Context, f following) error {
	watching, enough := context.WithCancelCause(ctx)
	defer enough(nil)
	sight := &sight{following: f, enough: func() { enough(errSeen) }, shown: map[cache.ObjectName]string{}}
	if f.begin(sight); sight.ended {
		return nil
	}
	// What the reflector logs of a cluster that is away is for programs that run for ever.
	quiet := klog.NewContext(watching, logr.Discard())
	namespace := c.namespace
	if f.everywhere {
		namespace = metav1.NamespaceAll
	}
	from := c.objects
	if f.whole {
		from = c.wholes
	}
	some := cache.NewFilteredListWatchFromClient(from, f.resource, namespace, func(o *metav1.ListOptions) {
		o.LabelSelector, o.FieldSelector = f.options.LabelSelector, f.options.FieldSelector
	})
	some.WatchFuncWithContext = untilDenied(some.WatchFuncWithContext, func(err error) { enough(failure(f.doing, err)) })
	cache.NewReflectorWithOptions(some, f.object(), sight, cache.ReflectorOptions{
		Name: f.resource, MinWatchTimeout: 10 * time.Minute,
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
	following
	enough func()

	mutex sync.Mutex
	shown map[cache.ObjectName]string // the resource versions of what is there
	ended bool
}

// show shows an object, unless this very version of it was shown before.
func (s *sight) show(name cache.ObjectName, version string, show func() bool) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if before, known := s.shown[name]; known && before == version && version != "" {
		return
	}
	s.shown[name] = version
	s.tell(show)
}

func (s *sight) tell(show func() bool) {
	if !s.ended && !show() {
		s.ended = true
		s.enough()
	}
}

// Add shows an object.
func (s *sight) Add(item any) error {
	o, ok := item.(object)
	if !ok {
		return fmt.Errorf("following the cluster's %s: it sent a %T", s.resource, item)
	}
	if s.means(o.GetName()) {
		s.show(cache.MetaObjectToName(o), o.GetResourceVersion(), func() bool { return s.seen(o) })
	}
	return nil
}

// Update shows an object.
func (s *sight) Update(item any) error { return s.Add(item) }

// Delete shows that an object is gone.
func (s *sight) Delete(item any) error {
	name, err := cache.DeletionHandlingObjectToName(item)
	if err != nil {
		return fmt.Errorf("following the cluster's %s: %w", s.resource, err)
	}
	s.lose(name)
	return nil
}

func (s *sight) lose(name cache.ObjectName) {
	if !s.means(name.Name) {
		return
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	delete(s.shown, name)
	s.tell(func() bool { return s.gone(name.Namespace, name.Name) })
}

// Replace shows the objects as a new list has them, and that those are gone that it has not.
func (s *sight) Replace(items []any, _ string) error {
	there := map[cache.ObjectName]bool{}
	for _, item := range items {
		name, err := cache.ObjectToName(item)
		if err != nil {
			return fmt.Errorf("following the cluster's %s: %w", s.resource, err)
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
		s.lose(name)
	}
	return nil
}

// Resync has nothing to do.
func (s *sight) Resync() error { return nil }
