package deploy_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"

	"elemental/adapters/deploy"
	"elemental/core"
)

// bootByHand is an operator who chooses a deployment in the boot menu.
func bootByHand(t *testing.T, f firmware, id string) {
	t.Helper()
	if err := os.WriteFile(f.BootedFile, []byte(id+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestATrialThatWasWithdrawnIsNeverBooted(t *testing.T) {
	is := is.New(t)
	h, f := crashHost(t, scratch(t))
	v1, v2, v3 := h.put("v1", system(t, "1")), h.put("v2", system(t, "2")), h.put("v3", system(t, "3"))
	is.NoErr(h.Install(t.Context(), request(v1), nil))
	one := f.Boot(t)
	h.mustStage(v2)
	h.mustStage(v3) // The request changed before the restart.
	three := f.next(t)
	is.Equal(h.observe(v2).Verdict, core.VerdictOutdated)
	for range 3 {
		is.Equal(f.Boot(t), three)
	}
	is.Equal(f.Boot(t), one)
	is.Equal(h.observe(v3).Verdict, core.VerdictRolledBack)

	h.mustStage(v2)
	entries, err := f.Entries(t.Context())
	is.NoErr(err)
	is.Equal(len(entries), 3)
	is.Equal(h.observe(v3).Verdict, core.VerdictRolledBack) // One that fell by itself is not forgotten.
}

func TestTheFallbackIsTheSystemThatRan(t *testing.T) {
	is := is.New(t)
	h, f := crashHost(t, scratch(t))
	v1, v2, v3 := h.put("v1", system(t, "1")), h.put("v2", system(t, "2")), h.put("v3", system(t, "3"))
	is.NoErr(h.Install(t.Context(), request(v1), nil))
	one := f.Boot(t)
	h.mustStage(v2)
	two := f.Boot(t)
	h.confirm(v2)
	bootByHand(t, f, one)
	h.mustStage(v3)
	three := f.Boot(t)
	is.True(three != one && three != two)
	is.Equal(h.observe(v3).Previous.Version, "Test 1")
	f.Boot(t)
	f.Boot(t)
	is.Equal(f.Boot(t), one) // Not version 2, which the operator had left.

	h.mustStage(v3)
	is.Equal(f.Boot(t), three)
	h.confirm(v3)
	is.Equal(h.observe(v3).Previous.Version, "Test 1")
	is.True(exists(t, h.path("deployments", one)))
	is.True(!exists(t, h.path("deployments", two)))
}

func TestAHostWhoseBootEntryIsNotSeenSaysSo(t *testing.T) {
	is := is.New(t)
	h, f := crashHost(t, scratch(t))
	v1, v2 := h.put("v1", system(t, "1")), h.put("v2", system(t, "2"))
	is.NoErr(h.Install(t.Context(), request(v1), nil))
	f.Boot(t)
	h.mustStage(v2)
	two := f.Boot(t)
	entries := filepath.Join(h.Boot, "loader", "entries")
	is.NoErr(os.Rename(entries, entries+"-not-mounted"))

	refused := func(err error) {
		t.Helper()
		failure := failureOf(t, err)
		is.Equal(failure.Class, core.FailureFailed)
		is.Equal(failure.Reason, deploy.ReasonNoBootEntry)
		is.True(strings.Contains(failure.Message, two) && strings.Contains(failure.Message, entries))
	}
	_, err := h.Observe(t.Context(), request(v2))
	refused(err)
	refused(h.Confirm(t.Context(), request(v2)))
	refused(h.stage(v1))
	refused(h.Rollback(t.Context()))
	status, err := h.Status(t.Context())
	refused(err)
	is.Equal(status.Booted, two) // Whose boot it is is known all the same.
	is.True(!exists(t, entries)) // Nothing was written where the boot partition belongs.

	is.NoErr(os.Rename(entries+"-not-mounted", entries))
	is.Equal(h.observe(v2).Verdict, core.VerdictUnconfirmed)
	h.confirm(v2)
}

func TestAClockThatWentBackDoesNotHideATagThatMoved(t *testing.T) {
	is := is.New(t)
	h := newHost(t)
	latest := h.put("latest", system(t, "1"))
	h.clock.Store(1_000_000)
	h.install(latest)
	h.clock.Store(0) // The battery is empty.
	h.put("latest", system(t, "2"))
	h.mustStage(latest)
	seen := h.observe(latest)
	is.Equal(seen.Verdict, core.VerdictStaged)
	is.Equal(seen.Staged.Version, "Test 2")
	h.clock.Store(0)
	h.boot()
	h.confirm(latest)
	is.Equal(h.observe(latest).Verdict, core.VerdictSatisfied)
	h.clock.Store(0)
	h.put("latest", system(t, "1"))
	h.mustStage(latest) // And back, to the record that has the name already.
	is.Equal(h.observe(latest).Verdict, core.VerdictStaged)
	is.Equal(h.observe(latest).Staged.Version, "Test 1")
}
