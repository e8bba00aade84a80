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

// fall stages a reference and boots it until the boot loader gives it up.
func fall(t *testing.T, h *host, reference string) (fallen string) {
	t.Helper()
	h.mustStage(reference)
	fallen = h.next()
	for range 4 {
		h.boot()
	}
	if verdict := h.observe(reference).Verdict; verdict != core.VerdictRolledBack {
		t.Fatalf("%s is %s", reference, verdict)
	}
	return fallen
}

func TestAFallenTrialMakesRoomForTheRepair(t *testing.T) {
	is := is.New(t)
	h := newHost(t)
	base := system(t, "0")
	with := func(tag string) string {
		return h.put(tag, base, layer(t, item{name: "usr/lib/version", content: tag}, item{name: "only-" + tag, content: noise(50_000 + len(tag))}))
	}
	v1, v2 := with("v1"), with("v20")
	h.install(v1)
	one := h.next()
	h.update(with("v300"))
	two := h.next()
	fallen := fall(t, h, v2)
	is.NoErr(h.Blame(fallen, "the disk is upside down"))
	root := h.path("deployments", fallen, "root")
	left, err := os.ReadDir(h.path("layers"))
	is.NoErr(err)
	is.Equal(len(left), 4)

	// There is room once what fell is gone, and only then.
	roomy := func(string) (uint64, error) {
		if exists(t, root) {
			return 0, nil
		}
		return 1 << 40, nil
	}
	h.Free = roomy
	v4 := with("v4000")
	h.mustStage(v4)
	is.Equal(h.observe(v4).Verdict, core.VerdictStaged)
	is.True(!exists(t, root))
	is.True(exists(t, h.path("deployments", one)) && exists(t, h.path("deployments", two)))
	objects, err := filepath.Glob(h.path("objects", "*", "*"))
	is.NoErr(err)
	for _, object := range objects {
		info, err := os.Stat(object)
		is.NoErr(err)
		is.True(info.Size() != 50_003) // What only the fallen one had.
	}
	seen := h.observe(v2)
	is.Equal(seen.Verdict, core.VerdictRolledBack) // It is still known to have fallen, and why.
	is.Equal(seen.Detail, "the disk is upside down")
	is.Equal(seen.Fallen.Reference, v2)

	// Asked for anew it is made from scratch.
	is.NoErr(h.Unstage(t.Context()))
	h.Free = func(string) (uint64, error) { return 1 << 40, nil }
	h.mustStage(v2)
	is.Equal(h.boot(), fallen)
	is.Equal(h.read(fallen, "root/usr/lib/version"), "v20")
	is.Equal(h.read(fallen, "etc/same"), "the same in all\n")
	h.confirm(v2)
}

func TestAFallenTrialMakesRoomOnTheBootPartition(t *testing.T) {
	at, _ := smallDisk(t, 16)
	is := is.New(t)
	h := newHost(t, func(c *deploy.Config) { c.Boot, c.Kernel = at, deploy.KernelRequired })
	with := func(tag string) string {
		return h.put(tag, system(t, tag, item{name: "usr/lib/modules/1/vmlinuz", content: noise(5<<20 + len(tag))}))
	}
	v1, v2, v3 := with("v1"), with("v20"), with("v300")
	h.install(v1)
	one := h.next()
	fall(t, h, v2)
	h.mustStage(v3)
	is.Equal(h.observe(v3).Verdict, core.VerdictStaged)
	is.Equal(h.observe(v2).Verdict, core.VerdictRolledBack)
	kernels, err := os.ReadDir(filepath.Join(at, "elemental"))
	is.NoErr(err)
	is.Equal(len(kernels), 2)
	is.True(exists(t, h.path("deployments", one, "root")))

	// While a trial waits nothing is collected: there is no room, and that is the answer.
	failure := failureOf(t, h.stage(with("v4000")))
	is.Equal(failure.Reason, deploy.ReasonDiskFull)
	is.Equal(h.observe(v3).Verdict, core.VerdictStaged)
}

func TestNoRoomAndNothingToCollect(t *testing.T) {
	is := is.New(t)
	h := newHost(t)
	v1, v2, v3 := h.put("v1", system(t, "1")), h.put("v2", system(t, "2")), h.put("v3", system(t, "3"))
	h.install(v1)
	one := h.next()
	h.update(v2)
	asked := 0
	h.Free = func(string) (uint64, error) { asked++; return 0, nil }
	is.Equal(failureOf(t, h.stage(v3)).Reason, deploy.ReasonDiskFull)
	is.Equal(asked, 1) // Nothing was gained, and nothing is tried again.
	is.True(exists(t, h.path("deployments", one, "root")))
	is.Equal(h.observe(v2).Previous.Version, "Test 1")
}
