package hostclient

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// source is where a reflector gets this host's object from. After a watch that was cut short it lets the reflector read
// the object anew, whatever version that has: the cluster may have been restored from a backup meanwhile, and would
// then say nothing of a host that waits for versions which have never been. It is used by one reflector, in turns.
type source struct {
	*cache.ListWatch
	ends  time.Time // when the watch is to end that was begun last
	cut   bool      // it ended before
	whole bool      // what is shown next was read anew for that reason
}

// early is by how much a watch may end before its time.
const early = 5 * time.Second

func (s *source) wasCut() bool {
	s.cut = s.cut || time.Now().Before(s.ends.Add(-early))
	return s.cut
}

// ListWithContext reads the object.
func (s *source) ListWithContext(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	if s.whole = s.wasCut(); s.whole {
		options.ResourceVersion, options.ResourceVersionMatch = "", ""
	}
	list, err := s.ListWatch.ListWithContext(ctx, options)
	if err == nil {
		s.cut, s.ends = false, time.Time{}
	}
	return list, err
}

// WatchWithContext watches the object, from a version on or as it is.
func (s *source) WatchWithContext(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	reads := options.SendInitialEvents != nil && *options.SendInitialEvents
	if s.wasCut() && !reads {
		return nil, apierrors.NewResourceExpired("the watch of the host was cut short")
	}
	if reads {
		if s.whole = s.cut; s.whole {
			options.ResourceVersion = ""
		}
	}
	begins := time.Now()
	events, err := s.ListWatch.WatchWithContext(ctx, options)
	switch {
	case err != nil:
		s.cut = true
	case options.TimeoutSeconds != nil:
		s.cut, s.ends = false, begins.Add(time.Duration(*options.TimeoutSeconds)*time.Second)
	}
	return events, err
}
