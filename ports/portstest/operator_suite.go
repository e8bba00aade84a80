package portstest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"elemental/core"
	"elemental/ports"
)

// TestOperator holds an operator against its port. Create makes one whose cluster has no hosts.
func TestOperator(t *testing.T, create func(t *testing.T) (ports.Operator, Yard)) {
	for name, check := range map[string]func(*testing.T, ports.Operator, Yard){
		"lists its own hosts and those of all": listsHosts,
		"lists what is selected":               listsSelected,
		"shows a host":                         showsHost,
		"shows a machine":                      showsMachine,
		"knows what is not there":              knowsWhatIsNotThere,
		"asks for an image and nothing else":   asksForImage,
		"asks for an image where nothing was":  asksForFirstImage,
		"asks for a whole document":            asksForDocument,
		"asks a machine":                       asksMachine,
		"asks without changing anything":       asksDry,
		"renews a request":                     renews,
		"follows a host":                       followsHost,
		"follows many":                         followsMany,
		"follows a host until it is gone":      followsUntilGone,
		"stops following with the context":     stopsFollowing,
		"tells what happened":                  tellsEvents,
	} {
		t.Run(name, func(t *testing.T) {
			operator, yard := create(t)
			check(t, operator, yard)
		})
	}
}

func host(name string) ports.Target {
	return ports.Target{Name: name, Standing: core.Standing{Kind: core.KindHost}}
}

func machine(name string) ports.Target {
	return ports.Target{Name: name, Standing: core.Standing{Kind: core.KindMachine}}
}

func hosts(names ...string) ports.Selection {
	return ports.Selection{Kind: core.KindHost, Names: names}
}

// one returns the one that is selected.
func one(t *testing.T, o ports.Operator, selection ports.Selection) ports.Target {
	t.Helper()
	targets, err := o.List(t.Context(), selection)
	if err != nil || len(targets) != 1 {
		t.Fatalf("%+v selects %d targets, and the error %v", selection, len(targets), err)
	}
	return targets[0]
}

func namesOf(t *testing.T, o ports.Operator, selection ports.Selection) (names []string) {
	t.Helper()
	targets, err := o.List(t.Context(), selection)
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range targets {
		if target.Namespace == "zoo" {
			target.Name = "zoo/" + target.Name
		}
		names = append(names, target.Name)
	}
	return names
}

func listsHosts(t *testing.T, o ports.Operator, yard Yard) {
	is := is.New(t)
	is.Equal(len(namesOf(t, o, hosts())), 0)
	yard.Put(t, host("b"), nil, "")
	yard.Put(t, host("a"), nil, "")
	yard.Put(t, machine("m"), nil, "")
	zoo := host("a")
	zoo.Namespace = "zoo"
	yard.Put(t, zoo, nil, "")
	is.Equal(namesOf(t, o, hosts()), []string{"a", "b"})
	is.Equal(namesOf(t, o, ports.Selection{Kind: core.KindHost, Everywhere: true}), []string{"a", "b", "zoo/a"})
	is.Equal(namesOf(t, o, ports.Selection{Kind: core.KindMachine}), []string{"m"})
}

func listsSelected(t *testing.T, o ports.Operator, yard Yard) {
	is := is.New(t)
	yard.Put(t, host("a"), map[string]string{"site": "north", "rack": "1"}, "")
	yard.Put(t, host("b"), map[string]string{"site": "north", "rack": "2"}, "")
	yard.Put(t, host("c"), map[string]string{"site": "south"}, "")
	is.Equal(namesOf(t, o, hosts("c", "a")), []string{"a", "c"})
	is.Equal(namesOf(t, o, ports.Selection{Labels: "site=north"}), []string{"a", "b"})
	is.Equal(namesOf(t, o, ports.Selection{Labels: "site=north,rack=2"}), []string{"b"})
	is.Equal(namesOf(t, o, ports.Selection{Fields: "metadata.name=c"}), []string{"c"})
	_, err := o.List(t.Context(), ports.Selection{Labels: "!!"})
	is.True(err != nil)
}

func showsHost(t *testing.T, o ports.Operator, yard Yard) {
	is := is.New(t)
	document := `{"osVersion":{"imageUri":"oci://registry/os:1"}}`
	moment := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	want := ports.Target{
		Name: "a", Machine: "machine-a", Bootstrapped: true,
		OSVersion: ports.OSVersionStatus{
			Requested: "hash", Applied: "other", Outcome: core.OutcomeFailed, Attempts: 2, Armed: true, Retry: "again", Last: moment, Next: moment.Add(time.Minute),
			Booted: core.Version{Reference: "r", Digest: "d", Version: "v"}, Staged: core.Version{Version: "s"}, Previous: core.Version{Version: "p"},
			Failure:  core.Failure{Class: core.FailureFailed, Reason: "NoRoom", Message: "no room", Path: "osVersion"},
			Progress: ports.Progress{Step: "Fetching", Percent: 40, Message: "half of it"},
		},
		System: ports.Facts{BootID: "b", MachineID: "m", OSImage: "OS", KernelVersion: "6", Architecture: "amd64", AgentVersion: "v1"},
		Plugin: "image", Schema: []byte(`{"type":"object"}`),
		Standing: core.Standing{Kind: core.KindHost, Label: core.LabelPending, Outcome: core.OutcomeFailed, Armed: true, Again: true, Retried: "again"},
	}
	yard.Put(t, want, nil, document)
	condition := core.Condition{Type: core.OSVersionReady, Status: core.False, Reason: "WhyNot", Message: "because", Generation: 1}
	yard.Say(t, "a", core.PhaseRunning, condition)
	got := one(t, o, hosts("a"))
	var err error
	want.Requested, err = core.HashRequest([]byte(document))
	is.NoErr(err)
	want.Generation, want.Phase, want.Conditions = 1, core.PhaseRunning, []core.Condition{condition}
	is.True(got.Namespace != "")
	is.Equal(string(got.Asked), document)
	is.True(got.OSVersion.Last.Equal(moment))
	is.True(got.OSVersion.Next.Equal(moment.Add(time.Minute)))
	want.OSVersion.Last, want.OSVersion.Next = got.OSVersion.Last, got.OSVersion.Next
	want.Asked, want.Namespace, want.Created = got.Asked, got.Namespace, got.Created
	is.Equal(got, want)

	whole := one(t, o, ports.Selection{Names: []string{"a"}, Objects: true})
	is.True(strings.Contains(string(whole.Object), `"kind":"ElementalHost"`))
	is.True(strings.Contains(string(whole.Object), `"name":"a"`))
	is.True(strings.Contains(string(whole.Object), document))
}

func showsMachine(t *testing.T, o ports.Operator, yard Yard) {
	is := is.New(t)
	m := machine("m")
	m.Host = "a"
	yard.Put(t, m, nil, `{"osVersion":{}}`)
	got := one(t, o, ports.Selection{Kind: core.KindMachine, Names: []string{"m"}})
	is.Equal(got.Kind, core.KindMachine)
	is.Equal(got.Host, "a")
	is.Equal(string(got.Asked), `{"osVersion":{}}`)
	is.Equal(got.Generation, int64(1))
}

func knowsWhatIsNotThere(t *testing.T, o ports.Operator, yard Yard) {
	is := is.New(t)
	yard.Put(t, host("somebody"), nil, "")
	there, err := o.List(t.Context(), hosts("somebody", "nobody", "else"))
	is.True(errors.Is(err, ports.ErrNotFound))
	is.True(strings.Contains(err.Error(), "/nobody") && strings.Contains(err.Error(), "/else"))
	is.True(!strings.Contains(err.Error(), "somebody"))
	is.Equal(len(there), 1) // who is there comes with the error
	is.Equal(there[0].Name, "somebody")
	_, err = o.Ask(t.Context(), host("nobody"), ports.Change{Image: "oci://registry/os:1"})
	is.True(errors.Is(err, ports.ErrNotFound))
	err = o.Follow(t.Context(), hosts("nobody"), func(ports.Target) bool { return true })
	is.True(errors.Is(err, ports.ErrNotFound))
}

// same says whether two documents mean the same.
func same(t *testing.T, got, want string) bool {
	t.Helper()
	a, err := core.CanonicalJSON([]byte(got))
	if err != nil {
		t.Fatal(err)
	}
	b, err := core.CanonicalJSON([]byte(want))
	if err != nil {
		t.Fatal(err)
	}
	return string(a) == string(b)
}

func asksForImage(t *testing.T, o ports.Operator, yard Yard) {
	is := is.New(t)
	yard.Put(t, host("a"), nil, `{"osVersion":{"imageUri":"oci://registry/os:1","debug":true},"other":1}`)
	before := one(t, o, hosts("a"))
	asked, err := o.Ask(t.Context(), before, ports.Change{Image: "oci://registry/os:2"})
	is.NoErr(err)
	is.Equal(asked.Generation, before.Generation+1)
	is.True(asked.Requested != before.Requested)
	want := `{"other":1,"osVersion":{"debug":true,"imageUri":"oci://registry/os:2"}}`
	is.True(same(t, string(asked.Asked), want))
	is.True(same(t, yard.Document(t, core.KindHost, "a"), want))
	again, err := o.Ask(t.Context(), before, ports.Change{Image: "oci://registry/os:2"})
	is.NoErr(err)
	is.Equal(again.Generation, asked.Generation) // nothing has changed
}

func asksForFirstImage(t *testing.T, o ports.Operator, yard Yard) {
	is := is.New(t)
	yard.Put(t, host("a"), nil, "")
	before := one(t, o, hosts("a"))
	is.Equal(before.Requested, "")
	_, err := o.Ask(t.Context(), before, ports.Change{Image: "oci://registry/os:1"})
	is.NoErr(err)
	is.Equal(yard.Document(t, core.KindHost, "a"), `{"osVersion":{"imageUri":"oci://registry/os:1"}}`)
}

func asksForDocument(t *testing.T, o ports.Operator, yard Yard) {
	is := is.New(t)
	yard.Put(t, host("a"), nil, `{"osVersion":{"imageUri":"oci://registry/os:1"}}`)
	yard.Put(t, host("new"), nil, "")
	for _, name := range []string{"a", "new"} {
		before := one(t, o, hosts(name))
		asked, err := o.Ask(t.Context(), before, ports.Change{Document: []byte(`{"packages":{"install":["vim"]}}`)})
		is.NoErr(err)
		is.Equal(asked.Generation, before.Generation+1)
		is.Equal(yard.Document(t, core.KindHost, name), `{"packages":{"install":["vim"]}}`) // and nothing of what was
	}
}

func asksMachine(t *testing.T, o ports.Operator, yard Yard) {
	is := is.New(t)
	yard.Put(t, machine("m"), nil, "")
	asked, err := o.Ask(t.Context(), machine("m"), ports.Change{Image: "oci://registry/os:1"})
	is.NoErr(err)
	is.Equal(asked.Kind, core.KindMachine)
	is.Equal(asked.Generation, int64(2))
	is.Equal(yard.Document(t, core.KindMachine, "m"), `{"osVersion":{"imageUri":"oci://registry/os:1"}}`)
}

func asksDry(t *testing.T, o ports.Operator, yard Yard) {
	is := is.New(t)
	yard.Put(t, host("a"), nil, `{"osVersion":{"imageUri":"oci://registry/os:1"}}`)
	asked, err := o.Ask(t.Context(), host("a"), ports.Change{Image: "oci://registry/os:2", DryRun: true})
	is.NoErr(err)
	is.Equal(string(asked.Asked), `{"osVersion":{"imageUri":"oci://registry/os:2"}}`)
	is.Equal(asked.Generation, int64(2))
	is.Equal(yard.Document(t, core.KindHost, "a"), `{"osVersion":{"imageUri":"oci://registry/os:1"}}`)
}

func renews(t *testing.T, o ports.Operator, yard Yard) {
	is := is.New(t)
	yard.Put(t, host("a"), nil, `{"osVersion":{}}`)
	before := one(t, o, hosts("a"))
	asked, err := o.Ask(t.Context(), before, ports.Change{Retry: "now"})
	is.NoErr(err)
	is.Equal(asked.Retry, "now")
	is.Equal(asked.Retried, "")
	is.Equal(asked.Generation, before.Generation)
	is.Equal(asked.Requested, before.Requested)
}

// following is how long a change may take to be seen.
const following = 30 * time.Second

func followsHost(t *testing.T, o ports.Operator, yard Yard) {
	is := is.New(t)
	yard.Put(t, host("a"), nil, "")
	yard.Put(t, host("b"), nil, "")
	ctx, cancel := context.WithTimeout(t.Context(), following)
	defer cancel()
	var phases []core.Phase
	is.NoErr(o.Follow(ctx, hosts("a"), func(h ports.Target) bool {
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

func followsMany(t *testing.T, o ports.Operator, yard Yard) {
	is := is.New(t)
	north := map[string]string{"site": "north"}
	yard.Put(t, host("b"), north, "")
	yard.Put(t, host("a"), north, "")
	yard.Put(t, host("c"), nil, "")
	ctx, cancel := context.WithTimeout(t.Context(), following)
	defer cancel()
	var seen []string
	is.NoErr(o.Follow(ctx, ports.Selection{Labels: "site=north"}, func(h ports.Target) bool {
		if !slices.Contains(seen, h.Name) {
			seen = append(seen, h.Name)
			if h.Name == "b" {
				yard.Put(t, host("d"), nil, "") // No one looks at that one.
				yard.Put(t, host("e"), north, "")
			}
		}
		return h.Name != "e"
	}))
	is.Equal(seen, []string{"a", "b", "e"})
}

func followsUntilGone(t *testing.T, o ports.Operator, yard Yard) {
	is := is.New(t)
	yard.Put(t, host("a"), nil, "")
	yard.Put(t, host("b"), nil, "")
	ctx, cancel := context.WithTimeout(t.Context(), following)
	defer cancel()
	deleted := false
	is.NoErr(o.Follow(ctx, hosts(), func(h ports.Target) bool {
		if h.Name == "a" && !deleted {
			yard.Delete(t, "a")
			deleted = true
		}
		is.True(!h.Gone || h.Name == "a")
		return !h.Gone
	}))
}

func stopsFollowing(t *testing.T, o ports.Operator, yard Yard) {
	is := is.New(t)
	yard.Put(t, host("a"), nil, "")
	ctx, cancel := context.WithCancel(t.Context())
	err := o.Follow(ctx, hosts("a"), func(ports.Target) bool { cancel(); return true })
	is.True(errors.Is(err, context.Canceled))
}

func tellsEvents(t *testing.T, o ports.Operator, yard Yard) {
	is := is.New(t)
	yard.Put(t, host("a"), nil, "")
	yard.Put(t, host("b"), nil, "")
	noon := time.Date(2030, 1, 2, 12, 0, 0, 0, time.UTC)
	late := ports.Event{Last: noon.Add(time.Minute), Count: 3, Warning: true, Reason: "RolledBack", Message: "it fell back"}
	early := ports.Event{Last: noon, Count: 1, Reason: "Applied", Message: "it runs"}
	yard.Happen(t, "a", late)
	yard.Happen(t, "b", late)
	yard.Happen(t, "a", early)
	events, err := o.Events(t.Context(), one(t, o, hosts("a")))
	is.NoErr(err)
	is.Equal(len(events), 2)
	for i := range events {
		events[i].Last = events[i].Last.UTC()
	}
	is.Equal(events, []ports.Event{early, late})
}
