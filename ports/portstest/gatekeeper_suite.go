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

// TestGatekeeper holds a gatekeeper against its port. Create makes one whose cluster has none of its objects.
func TestGatekeeper(t *testing.T, create func(t *testing.T) (ports.Gatekeeper, Gate)) {
	for name, check := range map[string]func(*testing.T, ports.Gatekeeper, Gate){
		"lists registrations":              listsRegistrations,
		"shows a registration":             showsRegistration,
		"shows one without a bundle":       showsWithoutBundle,
		"lists requests":                   listsRequests,
		"shows a request":                  showsRequest,
		"changes its mind":                 rules,
		"gives a request another's place":  replaces,
		"rules on what it has seen alone":  rulesOnWhatWasSeen,
		"follows requests":                 followsRequests,
		"stops following with its context": stopsFollowingRequests,
		"revokes":                          revokes,
		"says that it is not over":         revokesInVain,
	} {
		t.Run(name, func(t *testing.T) {
			gatekeeper, gate := create(t)
			check(t, gatekeeper, gate)
		})
	}
}

func listsRegistrations(t *testing.T, g ports.Gatekeeper, gate Gate) {
	is := is.New(t)
	gate.Register(t, ports.Registration{Name: "b", Approval: core.ApprovalManual})
	gate.Register(t, ports.Registration{Name: "a", Approval: core.ApprovalAuto, Bundle: &ports.Bundle{Server: "https://a", Token: "secret"}})
	gate.Register(t, ports.Registration{Name: "c", Namespace: "zoo", Approval: core.ApprovalAuto})
	found, err := g.Registrations(t.Context(), "")
	is.NoErr(err)
	is.Equal(len(found), 2)
	is.Equal([]string{found[0].Name, found[1].Name}, []string{"a", "b"})
	is.Equal(found[1].Approval, core.ApprovalManual)
	is.True(found[0].Bundle == nil) // a list tells no secrets
}

func showsRegistration(t *testing.T, g ports.Gatekeeper, gate Gate) {
	is := is.New(t)
	want := ports.Registration{
		Name: "field", Approval: core.ApprovalAuto, Hosts: 3, Lasting: true, Expires: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC),
		Ready: core.Condition{Type: core.Ready, Status: core.True, Reason: "Ready", Message: "hosts can join", Generation: 1},
		Agent: ports.AgentSettings{
			WorkDir: "/var/lib/else", OSPlugin: "dummy", Naming: core.NamingRule{UseExisting: true, Prefix: "edge-"}, NoSMBIOS: true, Debug: true,
			PostInstall: core.EndingPowerOff, PostReset: core.EndingReboot,
		},
		Bundle: &ports.Bundle{Server: "https://10.0.0.1:6443", CA: "-----BEGIN", Namespace: "n", Registration: "field", Token: "secret"},
	}
	gate.Register(t, want)
	found, err := g.Registrations(t.Context(), "field")
	is.NoErr(err)
	is.Equal(len(found), 1)
	got := found[0]
	is.True(got.Namespace != "")
	is.True(got.Expires.Equal(want.Expires))
	is.Equal(*got.Bundle, *want.Bundle)
	want.Namespace, want.Expires, want.Bundle = got.Namespace, got.Expires, got.Bundle
	is.Equal(got, want)
	_, err = g.Registrations(t.Context(), "nobody")
	is.True(errors.Is(err, ports.ErrNotFound))
	is.True(strings.Contains(err.Error(), "nobody"))
}

func showsWithoutBundle(t *testing.T, g ports.Gatekeeper, gate Gate) {
	is := is.New(t)
	gate.Register(t, ports.Registration{Name: "field"})
	found, err := g.Registrations(t.Context(), "field")
	is.NoErr(err)
	is.True(found[0].Bundle == nil)
	is.Equal(found[0].Ready, core.Condition{})
}

func listsRequests(t *testing.T, g ports.Gatekeeper, gate Gate) {
	is := is.New(t)
	a, b := gate.Knock(t, ports.JoinRequest{Registration: "field"}), gate.Knock(t, ports.JoinRequest{Registration: "field"})
	c := gate.Knock(t, ports.JoinRequest{Registration: "field", Namespace: "zoo"})
	names := func(selection ports.RequestSelection) (names []string) {
		found, err := g.Requests(t.Context(), selection)
		is.NoErr(err)
		for _, r := range found {
			names = append(names, r.Name)
			is.Equal(len(r.Object) > 0, selection.Objects)
		}
		slices.Sort(names)
		return names
	}
	own := slices.Sorted(slices.Values([]string{a, b}))
	is.Equal(names(ports.RequestSelection{}), own)
	is.Equal(names(ports.RequestSelection{Objects: true}), own)
	is.Equal(names(ports.RequestSelection{Everywhere: true}), slices.Sorted(slices.Values([]string{a, b, c})))
}

// find returns the request of a name.
func find(t *testing.T, g ports.Gatekeeper, name string) ports.JoinRequest {
	t.Helper()
	found, err := g.Requests(t.Context(), ports.RequestSelection{})
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(found, func(r ports.JoinRequest) bool { return r.Name == name })
	if i < 0 {
		t.Fatalf("there is no request %s", name)
	}
	return found[i]
}

func showsRequest(t *testing.T, g ports.Gatekeeper, gate Gate) {
	is := is.New(t)
	name := gate.Knock(t, ports.JoinRequest{Registration: "field", Hostname: "edge-1", Serial: "ABC 1"})
	got := find(t, g, name)
	is.Equal(got.Registration, "field")
	is.Equal(got.Hostname, "edge-1")
	is.Equal(got.Serial, "ABC 1")
	is.Equal(got.Ruling, core.RulingNone)
	is.Equal(got.Admitted, core.Condition{})
	is.True(got.UID != "" && got.Namespace != "")
	admitted := core.Condition{Type: "Admitted", Status: core.True, Reason: core.ReasonOnAllowList, Message: "it is welcome", Generation: 1}
	gate.Answer(t, name, "edge-1", admitted)
	got = find(t, g, name)
	is.Equal(got.Host, "edge-1")
	is.Equal(got.Admitted, admitted)
}

func rules(t *testing.T, g ports.Gatekeeper, gate Gate) {
	is := is.New(t)
	name := gate.Knock(t, ports.JoinRequest{Registration: "field"})
	waits := core.Condition{Type: "Admitted", Status: core.False, Reason: core.ReasonWaitingForApproval, Message: "it waits", Generation: 1}
	gate.Answer(t, name, "", waits)
	is.NoErr(g.Rule(t.Context(), find(t, g, name), ports.Verdict{Ruling: core.RulingDenied, Why: "not in rack 7"}))
	got := find(t, g, name)
	is.Equal(got.Ruling, core.RulingDenied)
	is.True(strings.HasPrefix(got.Ruled, "denied by "))
	is.True(strings.HasSuffix(got.Ruled, ": not in rack 7"))
	is.Equal(got.Admitted, waits) // The controller's word is its own.
	is.NoErr(g.Rule(t.Context(), find(t, g, name), ports.Verdict{Ruling: core.RulingApproved}))
	got = find(t, g, name)
	is.Equal(got.Ruling, core.RulingApproved)
	is.True(strings.HasPrefix(got.Ruled, "approved by "))
	is.Equal(got.Admitted, waits)
}

func replaces(t *testing.T, g ports.Gatekeeper, gate Gate) {
	is := is.New(t)
	name := gate.Knock(t, ports.JoinRequest{Registration: "field"})
	is.NoErr(g.Rule(t.Context(), find(t, g, name), ports.Verdict{Ruling: core.RulingApproved, Replaces: "old"}))
	is.Equal(find(t, g, name).Replaces, "old")
	is.NoErr(g.Rule(t.Context(), find(t, g, name), ports.Verdict{Ruling: core.RulingApproved}))
	is.Equal(find(t, g, name).Replaces, "") // A ruling takes the place of the one before as a whole.
}

func rulesOnWhatWasSeen(t *testing.T, g ports.Gatekeeper, gate Gate) {
	is := is.New(t)
	name := gate.Knock(t, ports.JoinRequest{Registration: "field"})
	seen := find(t, g, name)
	another := seen
	another.UID = "00000000-0000-0000-0000-000000000000"
	err := g.Rule(t.Context(), another, ports.Verdict{Ruling: core.RulingApproved})
	t.Log(err)
	is.True(errors.Is(err, ports.ErrConflict))
	is.Equal(find(t, g, name).Ruling, core.RulingNone)
	gate.Withdraw(t, name)
	err = g.Rule(t.Context(), seen, ports.Verdict{Ruling: core.RulingApproved})
	t.Log(err)
	is.True(errors.Is(err, ports.ErrNotFound))
	is.True(strings.Contains(err.Error(), name))
}

func followsRequests(t *testing.T, g ports.Gatekeeper, gate Gate) {
	is := is.New(t)
	first := gate.Knock(t, ports.JoinRequest{Registration: "field", Hostname: "first"})
	ctx, cancel := context.WithTimeout(t.Context(), following)
	defer cancel()
	second := ""
	var saw []string
	is.NoErr(g.FollowRequests(ctx, ports.RequestSelection{}, func(r ports.JoinRequest) bool {
		switch {
		case r.Name == first && r.Gone:
			saw = append(saw, "first is gone")
		case r.Name == first && r.Host == "":
			saw = append(saw, "first asks")
			gate.Answer(t, first, "edge-1", core.Condition{Type: "Admitted", Status: core.True, Reason: core.ReasonApproved, Message: "-", Generation: 1})
		case r.Name == first && second == "":
			saw = append(saw, "first is in")
			second = gate.Knock(t, ports.JoinRequest{Registration: "field", Hostname: "second"})
		case r.Name == second:
			saw = append(saw, "second asks")
			gate.Withdraw(t, first)
		}
		return !r.Gone
	}))
	is.Equal(slices.Compact(saw), []string{"first asks", "first is in", "second asks", "first is gone"})
}

func stopsFollowingRequests(t *testing.T, g ports.Gatekeeper, gate Gate) {
	gate.Knock(t, ports.JoinRequest{Registration: "field"})
	ctx, cancel := context.WithCancel(t.Context())
	err := g.FollowRequests(ctx, ports.RequestSelection{}, func(ports.JoinRequest) bool { cancel(); return true })
	is.New(t).True(errors.Is(err, context.Canceled))
}

func revokes(t *testing.T, g ports.Gatekeeper, gate Gate) {
	is := is.New(t)
	gate.Settle(t, "edge-1", false)
	end, err := g.Revoke(t.Context(), "edge-1", "it was stolen", following)
	is.NoErr(err)
	is.Equal(end, ports.RevocationDone)
	is.True(strings.Contains(gate.Mark(t, "edge-1"), " by "))
	is.True(strings.HasSuffix(gate.Mark(t, "edge-1"), ": it was stolen"))
	_, err = g.Revoke(t.Context(), "nobody", "", following)
	is.True(errors.Is(err, ports.ErrNotFound))
	is.True(strings.Contains(err.Error(), "nobody"))
}

func revokesInVain(t *testing.T, g ports.Gatekeeper, gate Gate) {
	is := is.New(t)
	gate.Settle(t, "edge-1", true)
	end, err := g.Revoke(t.Context(), "edge-1", "", 300*time.Millisecond)
	is.NoErr(err)
	is.Equal(end, ports.RevocationAsked)
	is.True(gate.Mark(t, "edge-1") != "")
}
