package portstest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/matryer/is"

	"elemental/core"
	"elemental/ports"
)

// Yard puts hosts into the cluster that an operator sees, and changes them as an agent and a controller would.
type Yard interface {
	// Put makes a host that asks for a document, or for nothing if that is empty. Its namespace is the
	// operator's own when it is empty. The fields that say what is asked are ignored.
	Put(t *testing.T, host ports.Host, document string)
	// Say gives a host of the operator's namespace another phase and other conditions.
	Say(t *testing.T, name string, phase core.Phase, conditions ...core.Condition)
	// Document returns what is asked of a host of the operator's namespace.
	Document(t *testing.T, name string) string
	// Delete deletes a host of the operator's namespace.
	Delete(t *testing.T, name string)
}

// Operator is an in-memory ports.Operator, and its own Yard. Its own namespace is "default".
type Operator struct {
	Error error // what every call answers, when it is set before the call

	mutex     sync.Mutex
	hosts     map[string]*kept // by namespace/name
	followers map[chan struct{}]bool
}

type kept struct {
	host     ports.Host
	document map[string]any
}

var (
	_ ports.Operator = (*Operator)(nil)
	_ Yard           = (*Operator)(nil)
)

const ownNamespace = "default"

// Put makes a host.
func (o *Operator) Put(t *testing.T, host ports.Host, document string) {
	t.Helper()
	host.Namespace, host.Generation = cmp.Or(host.Namespace, ownNamespace), 1
	k := &kept{host: host}
	if document != "" {
		if err := json.Unmarshal([]byte(document), &k.document); err != nil {
			t.Fatal(err)
		}
	}
	k.hash()
	o.change(func() {
		if o.hosts == nil {
			o.hosts = map[string]*kept{}
		}
		o.hosts[host.Namespace+"/"+host.Name] = k
	})
}

// Change does something to a host of the operator's namespace.
func (o *Operator) Change(t *testing.T, name string, do func(*ports.Host)) {
	t.Helper()
	o.change(func() {
		if k := o.hosts[ownNamespace+"/"+name]; k != nil {
			do(&k.host)
		} else {
			t.Errorf("there is no host %s", name)
		}
	})
}

// Say changes a host's phase and conditions.
func (o *Operator) Say(t *testing.T, name string, phase core.Phase, conditions ...core.Condition) {
	t.Helper()
	o.Change(t, name, func(h *ports.Host) { h.Phase, h.Conditions = phase, conditions })
}

// Document returns what is asked of a host.
func (o *Operator) Document(t *testing.T, name string) string {
	t.Helper()
	o.mutex.Lock()
	defer o.mutex.Unlock()
	text, err := json.Marshal(o.hosts[ownNamespace+"/"+name].document)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Delete deletes a host.
func (o *Operator) Delete(_ *testing.T, name string) {
	o.change(func() { delete(o.hosts, ownNamespace+"/"+name) })
}

func (o *Operator) change(do func()) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	do()
	for follower := range o.followers {
		select {
		case follower <- struct{}{}:
		default:
		}
	}
}

// List returns the hosts.
func (o *Operator) List(ctx context.Context, everywhere bool) ([]ports.Host, error) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	if err := errors.Join(ctx.Err(), o.Error); err != nil {
		return nil, err
	}
	var hosts []ports.Host
	for _, k := range o.hosts {
		if everywhere || k.host.Namespace == ownNamespace {
			hosts = append(hosts, k.host)
		}
	}
	slices.SortFunc(hosts, func(a, b ports.Host) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return hosts, nil
}

// Get returns one host.
func (o *Operator) Get(ctx context.Context, name string) (ports.Host, error) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	if err := errors.Join(ctx.Err(), o.Error); err != nil {
		return ports.Host{}, err
	}
	k := o.hosts[ownNamespace+"/"+name]
	if k == nil {
		return ports.Host{}, fmt.Errorf("reading host %s/%s: %w", ownNamespace, name, ports.ErrNotFound)
	}
	return k.host, nil
}

// Follow shows a host and its changes.
func (o *Operator) Follow(ctx context.Context, name string, seen func(ports.Host) bool) error {
	changed := make(chan struct{}, 1)
	o.change(func() {
		if o.followers == nil {
			o.followers = map[chan struct{}]bool{}
		}
		o.followers[changed] = true
	})
	defer o.change(func() { delete(o.followers, changed) })
	host, err := o.Get(ctx, name)
	if err != nil {
		return err
	}
	for seen(host) {
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
		switch next, err := o.Get(ctx, name); {
		case err == nil:
			host = next
		case errors.Is(err, ports.ErrNotFound):
			host = ports.Host{Namespace: ownNamespace, Name: name, Standing: core.Standing{Gone: true}}
		case ctx.Err() != nil:
			return ctx.Err()
		}
	}
	return nil
}

// RequestImage changes what is asked of a host.
func (o *Operator) RequestImage(ctx context.Context, name, reference string) (ports.Host, error) {
	if _, err := o.Get(ctx, name); err != nil {
		return ports.Host{}, err
	}
	o.change(func() {
		k := o.hosts[ownNamespace+"/"+name]
		before := k.host.Requested
		if k.document == nil {
			k.document = map[string]any{}
		}
		version, ok := k.document["osVersion"].(map[string]any)
		if !ok {
			version = map[string]any{}
			k.document["osVersion"] = version
		}
		version["imageUri"] = reference
		if k.hash(); k.host.Requested != before {
			k.host.Generation++
		}
	})
	return o.Get(ctx, name)
}

func (k *kept) hash() {
	text, err := json.Marshal(k.document)
	if err == nil {
		k.host.Requested, err = core.HashRequest(text)
	}
	if err != nil {
		panic(err) // What came out of JSON goes back into it.
	}
}

// TestOperator holds an operator against its port. Create makes one whose cluster has no hosts.
func TestOperator(t *testing.T, create func(t *testing.T) (ports.Operator, Yard)) {
	for name, check := range map[string]func(*testing.T, ports.Operator, Yard){
		"lists its own hosts and those of all": listsHosts,
		"shows a host":                         showsHost,
		"knows what is not there":              knowsWhatIsNotThere,
		"asks for an image and nothing else":   asksForImage,
		"asks for an image where nothing was":  asksForFirstImage,
		"follows a host":                       followsHost,
		"follows a host until it is gone":      followsUntilGone,
		"stops following with the context":     stopsFollowing,
	} {
		t.Run(name, func(t *testing.T) {
			operator, yard := create(t)
			check(t, operator, yard)
		})
	}
}

func listsHosts(t *testing.T, o ports.Operator, yard Yard) {
	is := is.New(t)
	hosts, err := o.List(t.Context(), false)
	is.NoErr(err)
	is.Equal(len(hosts), 0)
	yard.Put(t, ports.Host{Name: "b"}, "")
	yard.Put(t, ports.Host{Name: "a"}, "")
	yard.Put(t, ports.Host{Name: "a", Namespace: "zoo"}, "")
	names := func(everywhere bool) (names []string) {
		hosts, err := o.List(t.Context(), everywhere)
		is.NoErr(err)
		for _, h := range hosts {
			if h.Namespace == "zoo" {
				h.Name = "zoo/" + h.Name
			}
			names = append(names, h.Name)
		}
		return names
	}
	is.Equal(names(false), []string{"a", "b"})
	is.Equal(names(true), []string{"a", "b", "zoo/a"})
}

func showsHost(t *testing.T, o ports.Operator, yard Yard) {
	is := is.New(t)
	document := `{"osVersion":{"imageUri":"oci://registry/os:1"}}`
	yard.Put(t, ports.Host{
		Name: "a", Machine: "machine-a", Bootstrapped: true, Booted: core.Version{Reference: "r", Digest: "d", Version: "v"},
		Progress: ports.Progress{Step: "Fetching", Percent: 40, Message: "half of it"},
		Standing: core.Standing{Label: core.LabelPending, Outcome: core.OutcomeFailed, Armed: true, Again: true},
	}, document)
	condition := core.Condition{Type: core.OSVersionReady, Status: core.False, Reason: "WhyNot", Message: "because", Generation: 1}
	yard.Say(t, "a", core.PhaseRunning, condition)
	got, err := o.Get(t.Context(), "a")
	is.NoErr(err)
	hash, err := core.HashRequest([]byte(document))
	is.NoErr(err)
	is.True(got.Namespace != "")
	got.Namespace, got.Created = "", time.Time{}
	is.Equal(got, ports.Host{
		Name: "a", Machine: "machine-a", Bootstrapped: true, Booted: core.Version{Reference: "r", Digest: "d", Version: "v"},
		Progress: ports.Progress{Step: "Fetching", Percent: 40, Message: "half of it"},
		Standing: core.Standing{
			Generation: 1, Requested: hash, Phase: core.PhaseRunning, Conditions: []core.Condition{condition},
			Label: core.LabelPending, Outcome: core.OutcomeFailed, Armed: true, Again: true,
		},
	})
}

func knowsWhatIsNotThere(t *testing.T, o ports.Operator, _ Yard) {
	is := is.New(t)
	_, err := o.Get(t.Context(), "nobody")
	is.True(errors.Is(err, ports.ErrNotFound))
	_, err = o.RequestImage(t.Context(), "nobody", "oci://registry/os:1")
	is.True(errors.Is(err, ports.ErrNotFound))
	err = o.Follow(t.Context(), "nobody", func(ports.Host) bool { return true })
	is.True(errors.Is(err, ports.ErrNotFound))
}

func asksForImage(t *testing.T, o ports.Operator, yard Yard) {
	is := is.New(t)
	yard.Put(t, ports.Host{Name: "a"}, `{"osVersion":{"imageUri":"oci://registry/os:1","debug":true},"other":1}`)
	before, err := o.Get(t.Context(), "a")
	is.NoErr(err)
	asked, err := o.RequestImage(t.Context(), "a", "oci://registry/os:2")
	is.NoErr(err)
	is.Equal(asked.Generation, before.Generation+1)
	is.True(asked.Requested != before.Requested)
	want, err := core.CanonicalJSON([]byte(`{"other":1,"osVersion":{"debug":true,"imageUri":"oci://registry/os:2"}}`))
	is.NoErr(err)
	got, err := core.CanonicalJSON([]byte(yard.Document(t, "a")))
	is.NoErr(err)
	is.Equal(string(got), string(want))
	again, err := o.RequestImage(t.Context(), "a", "oci://registry/os:2")
	is.NoErr(err)
	is.Equal(again.Generation, asked.Generation) // nothing has changed
}

func asksForFirstImage(t *testing.T, o ports.Operator, yard Yard) {
	is := is.New(t)
	yard.Put(t, ports.Host{Name: "a"}, "")
	before, err := o.Get(t.Context(), "a")
	is.NoErr(err)
	is.Equal(before.Requested, "")
	_, err = o.RequestImage(t.Context(), "a", "oci://registry/os:1")
	is.NoErr(err)
	is.Equal(yard.Document(t, "a"), `{"osVersion":{"imageUri":"oci://registry/os:1"}}`)
}

// following is how long a change may take to be seen.
const following = 30 * time.Second

func followsHost(t *testing.T, o ports.Operator, yard Yard) {
	is := is.New(t)
	yard.Put(t, ports.Host{Name: "a"}, "")
	yard.Put(t, ports.Host{Name: "b"}, "")
	ctx, cancel := context.WithTimeout(t.Context(), following)
	defer cancel()
	var phases []core.Phase
	is.NoErr(o.Follow(ctx, "a", func(h ports.Host) bool {
		is.Equal(h.Name, "a")
		phases = append(phases, h.Phase)
		switch h.Phase {
		case "":
			yard.Say(t, "b", core.PhaseResetting) // No one looks at that one.
			yard.Say(t, "a", core.PhaseReconcilingOSVersion)
		case core.PhaseReconcilingOSVersion:
			yard.Say(t, "a", core.PhaseRunning)
		}
		return h.Phase != core.PhaseRunning
	}))
	is.Equal(slices.Compact(phases), []core.Phase{"", core.PhaseReconcilingOSVersion, core.PhaseRunning})
}

func followsUntilGone(t *testing.T, o ports.Operator, yard Yard) {
	is := is.New(t)
	yard.Put(t, ports.Host{Name: "a"}, "")
	ctx, cancel := context.WithTimeout(t.Context(), following)
	defer cancel()
	deleted := false
	is.NoErr(o.Follow(ctx, "a", func(h ports.Host) bool {
		if !deleted {
			yard.Delete(t, "a")
			deleted = true
		}
		return !h.Gone
	}))
}

func stopsFollowing(t *testing.T, o ports.Operator, yard Yard) {
	is := is.New(t)
	yard.Put(t, ports.Host{Name: "a"}, "")
	ctx, cancel := context.WithCancel(t.Context())
	err := o.Follow(ctx, "a", func(ports.Host) bool { cancel(); return true })
	is.True(errors.Is(err, context.Canceled))
}
