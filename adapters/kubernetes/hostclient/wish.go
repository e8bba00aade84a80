package hostclient

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/tools/cache"

	"elemental/adapters/kubernetes/api/v1beta1"
	"elemental/core"
	"elemental/ports"
)

// Follow watches this host's own object, and nothing else. The reflector lists, watches, and connects again
// with a spread-out back-off of up to half a minute.
func (c *Client) Follow(ctx context.Context, wish func(ports.Wish)) error {
	own := &source{ListWatch: cache.NewListWatchFromClient(c.hosts, "elementalhosts", c.namespace, fields.OneTermEqualSelector(metav1.ObjectNameField, c.name))}
	show := func(host *v1beta1.ElementalHost, whole bool) {
		w := wishOf(host)
		w.Forgotten = c.remember(host, whole)
		wish(w)
	}
	reflector := cache.NewReflectorWithOptions(own, &v1beta1.ElementalHost{}, &latest{
		changed: func(host *v1beta1.ElementalHost) { show(host, false) },
		read:    func(host *v1beta1.ElementalHost) { show(host, own.whole) },
	}, cache.ReflectorOptions{Name: "elementalhost", MinWatchTimeout: 10 * time.Minute})
	reflector.RunWithContext(ctx)
	return nil
}

// latest is a store of one object: it shows each version of it, and keeps none.
type latest struct{ changed, read func(*v1beta1.ElementalHost) }

func (l *latest) Add(obj any) error { return show(obj, l.changed) }

func show(obj any, to func(*v1beta1.ElementalHost)) error {
	host, ok := obj.(*v1beta1.ElementalHost)
	if !ok {
		return fmt.Errorf("watching the host: the cluster sent a %T", obj)
	}
	to(host)
	return nil
}

func (l *latest) Update(obj any) error { return l.Add(obj) }

func (l *latest) Delete(any) error {
	l.changed(nil)
	return nil
}

func (l *latest) Replace(list []any, _ string) error {
	if len(list) == 0 {
		l.read(nil)
		return nil
	}
	return show(list[0], l.read)
}

func (l *latest) Resync() error { return nil }

// wishOf says what a host's object wishes; nil is a host that is not there. To one whose identity was revoked nothing is
// said: it may still have a watch open, but no rights.
func wishOf(host *v1beta1.ElementalHost) ports.Wish {
	if host == nil {
		return ports.Wish{}
	}
	if _, revoked := host.Annotations[v1beta1.AnnotationRevoked]; revoked {
		return ports.Wish{Revoked: true}
	}
	wish := ports.Wish{
		Registered: true, Identity: string(host.UID),
		Reported: host.Labels[v1beta1.LabelBootstrapped] == v1beta1.LabelValueTrue || meta.IsStatusConditionTrue(host.Status.Conditions, core.BootstrapReady),
		Desired: core.Desired{
			Generation: host.Generation,
			Retry:      core.Renewal(host.Annotations[v1beta1.AnnotationRetry]),
			Reset:      host.ResetAsked(),
			Paused:     paused(host),
			Armed:      host.Labels[v1beta1.LabelInPlaceUpdate] == string(core.LabelPending),
			Judged:     host.Annotations[v1beta1.AnnotationJudged],
			Drained:    drained(host),
			Bootstrap:  host.BootstrapWaits(),
		},
	}
	if host.Spec.OSVersionManagement == nil {
		return wish
	}
	hash, err := core.HashRequest(host.Spec.OSVersionManagement.Raw)
	if err != nil {
		wish.Invalid = err.Error()
		return wish
	}
	if hash != "" {
		wish.Version, wish.OSVersion = hash, host.Spec.OSVersionManagement.Raw
	}
	return wish
}

func paused(host *v1beta1.ElementalHost) bool {
	return host.IsPaused() || meta.IsStatusConditionTrue(host.Status.Conditions, core.Paused)
}

// drained holds for one generation only: a drain for another version says nothing of this one.
func drained(host *v1beta1.ElementalHost) bool {
	c := meta.FindStatusCondition(host.Status.Conditions, core.NodeDrained)
	return c != nil && c.Status == metav1.ConditionTrue && c.ObservedGeneration == host.Generation
}

// remember keeps the conditions' transition times, which a report carries on. It says whether the cluster does not
// show what was last reported: the object is another one of this name, or its status was restored from long ago. What is
// whole can't be from before the last report, even if its version says so: then the cluster counts anew.
func (c *Client) remember(host *v1beta1.ElementalHost, whole bool) (forgotten bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if host == nil {
		c.uid, c.current, c.written = "", nil, written{}
		return false
	}
	reported := c.written.said != ""
	shown, err := strconv.ParseUint(host.ResourceVersion, 10, 64)
	late := err == nil && shown < c.written.version && !whole // What is shown is from before the last report.
	if host.UID != c.uid || !late && !shows(host.Status, c.written.status) {
		c.uid, c.written, forgotten = host.UID, written{}, reported
	}
	c.current = host.Status.Conditions
	return forgotten
}

// shows says whether a status still says what was reported.
func shows(status, reported v1beta1.ElementalHostStatus) bool {
	if status.Phase != reported.Phase || !equality.Semantic.DeepEqual(status.OSVersion, reported.OSVersion) {
		return false
	}
	for _, c := range reported.Conditions {
		now := meta.FindStatusCondition(status.Conditions, c.Type)
		if now == nil || now.Status != c.Status || now.Reason != c.Reason || now.ObservedGeneration != c.ObservedGeneration {
			return false
		}
	}
	return true
}
