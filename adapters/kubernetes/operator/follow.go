package operator

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"elemental/adapters/kubernetes/api/v1beta1"
	"elemental/core"
	"elemental/ports"
)

// errSeen ends a watch in which enough was seen.
var errSeen = errors.New("enough was seen")

// Follow watches one host. The reflector lists, watches, and connects again with a back-off.
func (c *Client) Follow(ctx context.Context, name string, seen func(ports.Host) bool) error {
	// A host that may not be read, or is not there, is an error at once.
	host, err := c.Get(ctx, name)
	if err != nil {
		return err
	}
	if !seen(host) {
		return nil
	}
	watching, enough := context.WithCancelCause(ctx)
	defer enough(nil)
	gone := ports.Host{Namespace: c.namespace, Name: name, Standing: core.Standing{Gone: true}}
	sight := &sight{gone: gone, seen: seen, enough: func() { enough(errSeen) }}
	// What the reflector logs of a cluster that is away is for programs that run for ever.
	quiet := klog.NewContext(watching, logr.Discard())
	one := cache.NewListWatchFromClient(c.hosts, resource, c.namespace, fields.OneTermEqualSelector(metav1.ObjectNameField, name))
	cache.NewReflectorWithOptions(one, &v1beta1.ElementalHost{}, sight, cache.ReflectorOptions{
		Name: resource, MinWatchTimeout: 10 * time.Minute,
	}).RunWithContext(quiet)
	if errors.Is(context.Cause(watching), errSeen) {
		return nil
	}
	return ctx.Err()
}

// sight is a store of one object that shows each version of it, and keeps none.
type sight struct {
	gone   ports.Host
	seen   func(ports.Host) bool
	enough func()

	mutex sync.Mutex
	ended bool
}

func (s *sight) show(host ports.Host) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if !s.ended && !s.seen(host) {
		s.ended = true
		s.enough()
	}
}

// Add shows a host.
func (s *sight) Add(object any) error {
	host, ok := object.(*v1beta1.ElementalHost)
	if !ok {
		return fmt.Errorf("following host %s: the cluster sent a %T", s.gone.Name, object)
	}
	s.show(hostOf(host))
	return nil
}

// Update shows a host.
func (s *sight) Update(object any) error { return s.Add(object) }

// Delete shows that the host is gone.
func (s *sight) Delete(any) error {
	s.show(s.gone)
	return nil
}

// Replace shows the host as a new list has it.
func (s *sight) Replace(list []any, _ string) error {
	if len(list) == 0 {
		return s.Delete(nil)
	}
	return s.Add(list[0])
}

// Resync has nothing to do.
func (s *sight) Resync() error { return nil }
