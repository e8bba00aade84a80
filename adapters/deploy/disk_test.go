package deploy_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/matryer/is"

	"elemental/adapters/deploy"
	"elemental/core"
	"elemental/ports"
)

// smallDisk makes a disk of so many MiB, in a file, and mounts it.
func smallDisk(t *testing.T, size int64) (at, file string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can mount a small disk")
	}
	file = filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, size<<20); err != nil {
		t.Fatal(err)
	}
	run(t, "mkfs.ext4", "-q", "-m", "0", file)
	return mountDisk(t, file), file
}

func mountDisk(t *testing.T, file string) string {
	t.Helper()
	at := t.TempDir()
	run(t, "mount", "-o", "loop", file, at)
	t.Cleanup(func() {
		if err := syscall.Unmount(at, 0); err != nil {
			t.Error(err)
		}
	})
	return at
}

// run skips the test where the machine can't make disks at all.
func run(t *testing.T, program string, arguments ...string) {
	t.Helper()
	if output, err := exec.Command(program, arguments...).CombinedOutput(); err != nil {
		t.Skipf("no small disk can be made here: %s: %v: %s", program, err, output)
	}
}

func TestAPowerCutLeavesTheOldSystemOrTheNew(t *testing.T) {
	is := is.New(t)
	at, file := smallDisk(t, 48)
	h, f := crashHost(t, at)
	v1, v2 := h.put("v1", crashLayers(t, "1")...), h.put("v2", crashLayers(t, "2")...)
	is.NoErr(h.Install(t.Context(), request(v1), nil))
	one := f.Boot(t)
	is.NoErr(exec.Command("sync", "-f", at).Run())

	// What lies in the file is what a disk would have when the power goes: not what the kernel still holds.
	var cuts []string
	cut := func(name string) {
		to := filepath.Join(filepath.Dir(file), fmt.Sprintf("%02d-%s", len(cuts), name))
		is.NoErr(exec.Command("cp", "--sparse=always", file, to).Run())
		cuts = append(cuts, to)
	}
	step := ""
	is.NoErr(h.Stage(t.Context(), request(v2), func(p ports.Progress) {
		if p.Step != step {
			step = p.Step
			cut("begin-" + p.Step)
		} else if p.Step == deploy.StepPublish {
			cut("within-publish")
		}
	}))
	cut("end")
	is.True(len(cuts) >= 8)

	for n, disk := range cuts {
		t.Run(filepath.Base(disk), func(t *testing.T) {
			is := is.New(t)
			after, g := crashHost(t, mountDisk(t, disk))
			checkCrashTree(t, after, one, "1")
			seen := after.observe(v2)
			is.True(seen.Verdict == core.VerdictOutdated || seen.Verdict == core.VerdictStaged)
			if seen.Verdict == core.VerdictStaged {
				checkCrashTree(t, after, g.next(t), "2")
			} else {
				is.Equal(g.next(t), one)
				is.True(n < len(cuts)-1) // What was told to be staged is.
			}
			after.put("v1", crashLayers(t, "1")...)
			after.put("v2", crashLayers(t, "2")...)
			after.mustStage(v2)
			checkCrashTree(t, after, g.next(t), "2")
			checkObjects(t, after)
		})
	}
}

// checkObjects says that no object is empty that should not be: a power cut can leave files without content.
func checkObjects(t *testing.T, h *host) {
	t.Helper()
	objects, err := filepath.Glob(h.path("objects", "*", "*"))
	if err != nil || len(objects) < 100 {
		t.Fatalf("%d objects: %v", len(objects), err)
	}
	for _, object := range objects {
		if info, err := os.Stat(object); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v: it is empty", object, err)
		}
	}
}

func TestADiskThatFillsUpPublishesNothingAndGivesItsRoomBack(t *testing.T) {
	at, _ := smallDisk(t, 64)
	is := is.New(t)
	h := newHost(t, func(c *deploy.Config) { c.Root, c.Free = filepath.Join(at, "elemental"), nil })
	v1 := h.put("v1", system(t, "1"))
	h.install(v1)
	free := func() uint64 {
		var state syscall.Statfs_t
		is.NoErr(syscall.Statfs(at, &state))
		return state.Bavail * uint64(state.Bsize)
	}
	before := free()
	// It compresses so well that no plan could know.
	var items []item
	for n := range 40 {
		items = append(items, item{name: fmt.Sprint("zeros-", n), content: strings.Repeat(string(rune('a'+n%26)), 2<<20), time: testTime.Add(time.Duration(n) * time.Hour)})
	}
	failure := failureOf(t, h.stage(h.put("big", system(t, "2"), layer(t, items[:20]...), layer(t, items[20:]...))))
	is.Equal(failure.Class, core.FailureFailed)
	is.Equal(failure.Reason, deploy.ReasonDiskFull)
	is.Equal(h.observe(v1).Verdict, core.VerdictSatisfied)
	is.True(free()+1<<20 > before)
	h.update(h.put("v3", system(t, "3")))
	is.Equal(h.observe("fake://v3").Verdict, core.VerdictSatisfied)

	incompressible := h.put("noise", system(t, "4"), layer(t, item{name: "noise", content: noise(20 << 20)}))
	is.Equal(failureOf(t, h.stage(incompressible)).Reason, deploy.ReasonDiskFull) // This one the plan knows.
}

func TestMoreNamesThanAFileSystemAllows(t *testing.T) {
	at, _ := smallDisk(t, 48)
	is := is.New(t)
	h := newHost(t, func(c *deploy.Config) { c.Root = filepath.Join(at, "elemental") })
	base := system(t, "1")
	h.install(h.put("v1", base))
	object := h.path("deployments", h.next(), "root", "etc", "same")
	is.NoErr(os.Mkdir(filepath.Join(at, "links"), 0o755))
	links := 0
	for ; ; links++ { // ext4 gives one file 65,000 names. All but a few are taken here.
		if err := os.Link(object, filepath.Join(at, "links", fmt.Sprint(links))); err != nil {
			is.True(errors.Is(err, syscall.EMLINK))
			break
		}
	}
	for n := range 3 {
		is.NoErr(os.Remove(filepath.Join(at, "links", fmt.Sprint(n))))
	}
	var items []item
	for n := range 20 {
		items = append(items, item{name: fmt.Sprintf("many/%d", n), content: "the same in all\n"})
	}
	h.mustStage(h.put("v2", base, layer(t, items...)))
	for _, i := range items {
		is.Equal(h.read(h.next(), "root", i.name), "the same in all\n")
	}
}
