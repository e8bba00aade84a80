package portstest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/matryer/is"

	"elemental/core"
	"elemental/ports"
)

// Cluster is a management cluster in memory, with one host.
type Cluster struct {
	mutex    sync.Mutex
	wish     ports.Wish
	reports  []ports.Report
	beats    int
	away     error
	data     *ports.BootstrapData
	followed func(ports.Wish)
	showing  sync.Mutex // held while a wish is shown, so that the newest comes last
}

// show lets whoever follows see what is wished now.
func (c *Cluster) show() {
	c.showing.Lock()
	defer c.showing.Unlock()
	c.mutex.Lock()
	wish, followed := c.wish, c.followed
	c.mutex.Unlock()
	if followed != nil {
		followed(wish)
	}
}

// Wish changes what is wished of the host, and with it the generation of its spec.
func (c *Cluster) Wish(change func(*ports.Wish)) {
	c.mutex.Lock()
	before := c.wish
	change(&c.wish)
	if c.wish.Version != before.Version || c.wish.Generation == 0 {
		c.wish.Generation++
	}
	c.mutex.Unlock()
	c.show()
}

// Ask asks for a version, given as osVersionManagement.
func (c *Cluster) Ask(document string) {
	c.Wish(func(w *ports.Wish) {
		w.Registered, w.OSVersion = true, []byte(document)
		w.Version, _ = core.HashRequest(w.OSVersion)
	})
}

// Away lets every request end with an error from now on; nil brings the cluster back.
func (c *Cluster) Away(err error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.away = err
}

// Bootstrap lets data wait for the host.
func (c *Cluster) Bootstrap(data ports.BootstrapData) {
	c.mutex.Lock()
	c.data = &data
	c.mutex.Unlock()
	c.Wish(func(w *ports.Wish) { w.Desired.Bootstrap = true })
}

// Reports lists every report that changed something, the first first.
func (c *Cluster) Reports() []ports.Report {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return append([]ports.Report(nil), c.reports...)
}

// Beats counts the heartbeats.
func (c *Cluster) Beats() int {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.beats
}

// Follow shows the wish, and every change of it.
func (c *Cluster) Follow(ctx context.Context, wish func(ports.Wish)) error {
	c.mutex.Lock()
	c.followed = wish
	c.mutex.Unlock()
	c.show()
	<-ctx.Done()
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.followed = nil
	return nil
}

// Report keeps a report that is not the one before, and shows the wish again, as a real cluster does.
func (c *Cluster) Report(_ context.Context, report ports.Report) error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	switch {
	case c.away != nil:
		return c.away
	case report.Identity != "" && report.Identity != c.wish.Identity:
		return fmt.Errorf("reporting the status: %w", ports.ErrConflict)
	case !c.wish.Registered:
		return fmt.Errorf("reporting the status: %w", ports.ErrNotFound)
	}
	if n := len(c.reports); n > 0 && fmt.Sprint(c.reports[n-1]) == fmt.Sprint(report) {
		return nil
	}
	c.reports = append(c.reports, report)
	if bootstrapped, ok := core.Find(report.Conditions, core.BootstrapReady); ok && bootstrapped.Status == core.True {
		c.wish.Reported = true
	}
	go c.show()
	return nil
}

// Heartbeat counts.
func (c *Cluster) Heartbeat(context.Context) error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.beats++
	return c.away
}

// BootstrapData returns what waits.
func (c *Cluster) BootstrapData(context.Context) (ports.BootstrapData, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.data == nil {
		return ports.BootstrapData{}, fmt.Errorf("reading the bootstrap data: %w", ports.ErrNotFound)
	}
	return *c.data, c.away
}

// ClusterCase is a cluster to be tested, with a host that does not exist yet.
type ClusterCase struct {
	ports.Cluster
	Create func(osVersion string)                   // makes the host
	Ask    func(osVersion string)                   // changes its osVersionManagement; empty removes it
	Arm    func()                                   // sets its in-place-update label to pending
	Delete func()                                   // removes the host
	Writes func() int                               // counts the reports that changed something
	Shown  func(kind string) (core.Condition, bool) // a condition as others see it
}

// TestCluster holds a cluster against its port.
func TestCluster(t *testing.T, open func(t *testing.T) ClusterCase) {
	for name, check := range map[string]func(*testing.T, *is.I, ClusterCase){
		"shows the newest wish":          showsWishes,
		"shows a host that is not there": showsAbsence,
		"writes a report once":           writesOnce,
		"removes what is no longer said": removesConditions,
		"tells who has no host":          refusesUnknown,
		"has no bootstrap data at first": lacksBootstrapData,
	} {
		t.Run(name, func(t *testing.T) { check(t, is.New(t), open(t)) })
	}
}

// wishesOf collects wishes until the test ends.
func wishesOf(t *testing.T, c ClusterCase) func(what string, wanted func(ports.Wish) bool) ports.Wish {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	wishes := make(chan ports.Wish, 1024)
	go func() { _ = c.Follow(ctx, func(w ports.Wish) { wishes <- w }) }() // It ends with the test.
	return func(what string, wanted func(ports.Wish) bool) ports.Wish {
		t.Helper()
		deadline := time.After(30 * time.Second)
		for {
			select {
			case w := <-wishes:
				if wanted(w) {
					return w
				}
			case <-deadline:
				t.Fatalf("no wish ever was %s", what)
			}
		}
	}
}

func showsWishes(t *testing.T, is *is.I, c ClusterCase) {
	c.Create(`{"a":1}`)
	until := wishesOf(t, c)
	first, err := core.HashRequest([]byte(`{"a":1}`))
	is.NoErr(err)
	w := until("the first", func(w ports.Wish) bool { return w.Registered && w.Version == first })
	is.True(!w.Armed)
	is.True(w.Generation > 0)
	c.Arm()
	armed := until("armed", func(w ports.Wish) bool { return w.Armed })
	is.Equal(armed.Generation, w.Generation) // A label is no change of the spec.
	c.Ask(`{"a":2}`)
	next := until("another version", func(w ports.Wish) bool { return w.Version != first })
	is.True(next.Generation > w.Generation)
	c.Ask("")
	gone := until("nothing", func(w ports.Wish) bool { return w.Version == "" })
	is.Equal(len(gone.OSVersion), 0)
}

func showsAbsence(t *testing.T, _ *is.I, c ClusterCase) {
	until := wishesOf(t, c)
	until("unregistered", func(w ports.Wish) bool { return !w.Registered })
	c.Create(`{}`)
	until("registered", func(w ports.Wish) bool { return w.Registered && w.Version == "" })
	c.Delete()
	until("unregistered again", func(w ports.Wish) bool { return !w.Registered })
}

// Saying is a report with conditions that are true.
func Saying(message string, kinds ...string) ports.Report {
	r := ports.Report{Phase: core.PhaseRunning, Generation: 1, OSVersion: ports.OSVersionStatus{Outcome: core.OutcomeApplied}}
	for _, kind := range kinds {
		r.Conditions = append(r.Conditions, core.Condition{Type: kind, Status: core.True, Reason: "Applied", Message: message, Generation: 1})
	}
	return r
}

func writesOnce(t *testing.T, is *is.I, c ClusterCase) {
	ctx := context.Background()
	c.Create(`{"a":1}`)
	until := wishesOf(t, c)
	until("registered", func(w ports.Wish) bool { return w.Registered })
	is.NoErr(c.Report(ctx, Saying("one", core.OSVersionReady)))
	before := c.Writes()
	is.NoErr(c.Report(ctx, Saying("one", core.OSVersionReady)))
	is.Equal(c.Writes(), before) // Nothing changed, so nothing is written.
	is.NoErr(c.Report(ctx, Saying("two", core.OSVersionReady)))
	is.Equal(c.Writes(), before+1)
	shown, found := c.Shown(core.OSVersionReady)
	is.True(found)
	is.Equal(shown, core.Condition{Type: core.OSVersionReady, Status: core.True, Reason: "Applied", Message: "two", Generation: 1})
}

func removesConditions(_ *testing.T, is *is.I, c ClusterCase) {
	ctx := context.Background()
	c.Create(`{"a":1}`)
	both := Saying("both", core.OSVersionReady, core.BootstrapReady)
	both.OSVersion.Progress = ports.Progress{Step: "Fetching", Percent: 40}
	is.NoErr(c.Report(ctx, both))
	one := Saying("one", core.OSVersionReady)
	one.OSVersion = ports.OSVersionStatus{} // A host that is being reset says nothing of its version.
	is.NoErr(c.Report(ctx, one))
	_, found := c.Shown(core.BootstrapReady)
	is.True(!found)
}

func refusesUnknown(_ *testing.T, is *is.I, c ClusterCase) {
	err := c.Report(context.Background(), Saying("one", core.OSVersionReady))
	is.True(errors.Is(err, ports.ErrNotFound) || errors.Is(err, ports.ErrDenied))
}

func lacksBootstrapData(_ *testing.T, is *is.I, c ClusterCase) {
	c.Create(`{"a":1}`)
	_, err := c.BootstrapData(context.Background())
	is.True(errors.Is(err, ports.ErrNotFound) || errors.Is(err, ports.ErrDenied))
}
