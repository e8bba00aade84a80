package hostclient

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"elemental/adapters/kubernetes/api/v1beta1"
	"elemental/ports"
)

// asked remembers what a source was asked for.
type asked struct {
	options metav1.ListOptions
	fails   error
}

func newSource(a *asked) *source {
	return &source{ListWatch: &cache.ListWatch{
		ListWithContextFunc: func(_ context.Context, options metav1.ListOptions) (runtime.Object, error) {
			a.options = options
			return &v1beta1.ElementalHostList{}, a.fails
		},
		WatchFuncWithContext: func(_ context.Context, options metav1.ListOptions) (watch.Interface, error) {
			a.options = options
			return watch.NewFake(), a.fails
		},
	}}
}

func TestAWatchThatWasCutShortIsFollowedByAReading(t *testing.T) {
	minutes, initial := int64(600), true
	on := metav1.ListOptions{ResourceVersion: "100", TimeoutSeconds: &minutes}
	reading := metav1.ListOptions{ResourceVersion: "100", TimeoutSeconds: &minutes, SendInitialEvents: &initial}
	story := func(name string, tell func(is *is.I, s *source, a *asked)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &asked{}
				tell(is.New(t), newSource(a), a)
			})
		})
	}
	watched := func(s *source, options metav1.ListOptions) error {
		_, err := s.WatchWithContext(context.Background(), options)
		return err
	}
	story("one that came to its end goes on", func(is *is.I, s *source, _ *asked) {
		is.NoErr(watched(s, on))
		time.Sleep(10 * time.Minute)
		is.NoErr(watched(s, on))
	})
	story("one that was cut is not taken up again", func(is *is.I, s *source, a *asked) {
		is.NoErr(watched(s, on))
		time.Sleep(time.Minute)
		is.True(apierrors.IsResourceExpired(watched(s, on)))
		_, err := s.ListWithContext(context.Background(), on)
		is.NoErr(err)
		is.Equal(a.options.ResourceVersion, "") // As it is, and not as someone remembers it.
		is.True(s.whole)
		is.NoErr(watched(s, on))
		_, err = s.ListWithContext(context.Background(), on)
		is.NoErr(err)
		is.True(s.whole) // That one was cut, too.
	})
	story("a watch that reads first reads anew, too", func(is *is.I, s *source, a *asked) {
		is.NoErr(watched(s, reading))
		is.Equal(a.options.ResourceVersion, "100")
		is.True(!s.whole)
		time.Sleep(time.Minute)
		is.NoErr(watched(s, reading))
		is.Equal(a.options.ResourceVersion, "")
		is.True(s.whole)
	})
	story("one that could not be begun counts as cut", func(is *is.I, s *source, a *asked) {
		a.fails = errors.New("the cluster is away")
		is.Equal(watched(s, on), a.fails)
		_, err := s.ListWithContext(context.Background(), on)
		is.Equal(err, a.fails)
		a.fails = nil
		_, err = s.ListWithContext(context.Background(), on)
		is.NoErr(err)
		is.Equal(a.options.ResourceVersion, "")
		is.True(s.whole)
		_, err = s.ListWithContext(context.Background(), on)
		is.NoErr(err)
		is.Equal(a.options.ResourceVersion, "100")
		is.True(!s.whole)
	})
}

func TestARevokedHostIsToldNothing(t *testing.T) {
	is := is.New(t)
	host := &v1beta1.ElementalHost{ObjectMeta: metav1.ObjectMeta{UID: "1", Generation: 3, Annotations: map[string]string{v1beta1.AnnotationRevoked: ""}}}
	host.Spec.OSVersionManagement = &runtime.RawExtension{Raw: []byte(`{"a":1}`)}
	wish := wishOf(host)
	is.True(wish.Revoked)
	is.True(!wish.Registered)
	is.Equal(wish.OSVersion, nil)
	delete(host.Annotations, v1beta1.AnnotationRevoked)
	is.True(wishOf(host).Registered)
}

func TestAFailureIsSaidInOneLine(t *testing.T) {
	leases := schema.GroupResource{Resource: "leases"}
	c := &Client{namespace: "field", name: "edge"}
	for name, told := range map[string]struct{ err, kind error }{
		"away":     {errors.New("no route"), ports.ErrNotReady},
		"missing":  {apierrors.NewNotFound(leases, "edge"), ports.ErrNotFound},
		"denied":   {apierrors.NewForbidden(leases, "edge", errors.New("no")), ports.ErrDenied},
		"conflict": {apierrors.NewConflict(leases, "edge", errors.New("old")), ports.ErrConflict},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			err := c.failure("renewing the lease of", told.err)
			is.Equal(err.Error(), "renewing the lease of host field/edge: "+told.err.Error()+" ("+told.kind.Error()+")")
			is.True(errors.Is(err, told.kind))
			is.True(errors.Is(err, told.err))
		})
	}
}
