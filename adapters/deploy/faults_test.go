package deploy_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/matryer/is"

	"elemental/adapters/deploy"
	"elemental/core"
	"elemental/ports"
)

// noise does not compress, and is the same every time.
func noise(n int) string {
	content := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{}).Read(content) // It never fails.
	return string(content)
}

func TestDamagedBlobsAreNeverPublished(t *testing.T) {
	for what, damage := range map[string]func([]byte) []byte{
		"truncated": func(b []byte) []byte { return b[:len(b)/2] },
		"empty":     func([]byte) []byte { return nil },
		"longer":    func(b []byte) []byte { return append(bytes.Clone(b), 'x') },
		"swapped": func(b []byte) []byte {
			other := bytes.Clone(b)
			other[len(other)/2] ^= 1
			return other
		},
	} {
		t.Run(what, func(t *testing.T) {
			is := is.New(t)
			h := newHost(t)
			v1 := h.put("v1", system(t, "1"))
			h.install(v1)
			content := layer(t, item{name: "payload", content: noise(200_000)})
			v2 := h.put("v2", system(t, "2"), content)
			image, err := h.images.Resolve(t.Context(), v2, "amd64")
			is.NoErr(err)
			blob, err := h.images.Blob(t.Context(), image, image.Layers[1], 0)
			is.NoErr(err)
			var whole bytes.Buffer
			_, err = whole.ReadFrom(blob)
			is.NoErr(err)
			before := snapshot(t, h.Root)

			h.images.Swap(image.Layers[1].Digest, damage(whole.Bytes()))
			failure := failureOf(t, h.stage(v2))
			is.Equal(failure.Class, core.FailureFailed)
			is.Equal(failure.Reason, deploy.ReasonBadDigest)
			is.Equal(h.observe(v2).Verdict, core.VerdictOutdated)
			is.Equal(snapshot(t, h.Root), before) // Not one object of it.

			h.images.Swap(image.Layers[1].Digest, whole.Bytes())
			h.mustStage(v2)
			is.Equal(h.read(h.next(), "root/payload"), noise(200_000))
		})
	}
}

// snapshot lists everything below a folder, but for the lock and empty folders of the engine's own.
func snapshot(t *testing.T, root string) []string {
	t.Helper()
	var found []string
	if err := filepath.WalkDir(root, func(at string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.IsDir() && d.Name() != "lock" {
			found = append(found, at)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return found
}

func TestAnInterruptedDownloadGoesOnWhereItStopped(t *testing.T) {
	is := is.New(t)
	h := newHost(t)
	reference := h.put("v1", system(t, "1", item{name: "payload", content: noise(300_000)}))
	image, err := h.images.Resolve(t.Context(), reference, "amd64")
	is.NoErr(err)
	h.images.Break(image.Layers[0].Digest, 100_000)
	var offsets []int64
	h.images.OnBlob = func(_ ports.Layer, offset int64) error { offsets = append(offsets, offset); return nil }
	h.mustStage(reference)
	is.Equal(offsets, []int64{0, 100_000})
	is.Equal(h.read(h.next(), "root/payload"), noise(300_000))
}

func TestARegistryThatCanNotResumeIsAskedFromTheStart(t *testing.T) {
	is := is.New(t)
	h := newHost(t)
	reference := h.put("v1", system(t, "1", item{name: "payload", content: noise(300_000)}))
	image, err := h.images.Resolve(t.Context(), reference, "amd64")
	is.NoErr(err)
	h.images.Break(image.Layers[0].Digest, 100_000)
	var offsets []int64
	h.images.OnBlob = func(_ ports.Layer, offset int64) error {
		offsets = append(offsets, offset)
		if offset > 0 {
			return core.Failure{Class: core.FailureRetryable, Reason: ports.ReasonNoResume, Message: "no"}
		}
		return nil
	}
	h.mustStage(reference)
	is.Equal(offsets, []int64{0, 100_000, 0})
	is.Equal(h.read(h.next(), "root/payload"), noise(300_000))
}

func TestARegistryThatComesBackIsWaitedForAndOneThatDoesNotIsRetryable(t *testing.T) {
	is := is.New(t)
	h := newHost(t, func(c *deploy.Config) { c.FetchTimeout = 500 * time.Millisecond })
	reference := h.put("v1", system(t, "1"))
	away := core.Failure{Class: core.FailureRetryable, Reason: ports.ReasonRegistryUnavailable, Message: "away"}
	times := 0
	h.images.OnBlob = func(ports.Layer, int64) error {
		if times++; times < 3 {
			return away
		}
		return nil
	}
	h.mustStage(reference)
	is.Equal(times, 3)

	h.images.OnBlob = func(ports.Layer, int64) error { return away }
	failure := failureOf(t, h.stage(h.put("v2", system(t, "2"))))
	is.Equal(failure.Class, core.FailureRetryable)

	denied := core.Failure{Class: core.FailureFailed, Reason: ports.ReasonRegistryDenied, Message: "no"}
	times = 0
	h.images.OnBlob = func(ports.Layer, int64) error { times++; return denied }
	is.Equal(failureOf(t, h.stage(h.put("v2", system(t, "2")))), denied)
	is.Equal(times, 1) // Asking again would not help.
}

func TestADiskThatIsTooSmallIsRefusedBeforeAnythingIsWritten(t *testing.T) {
	is := is.New(t)
	h := newHost(t)
	h.install(h.put("v1", system(t, "1")))
	before := snapshot(t, h.Root)
	h.free = 1 << 20
	v2 := h.put("v2", system(t, "2"))
	opened := false
	h.images.OnBlob = func(ports.Layer, int64) error { opened = true; return nil }
	failure := failureOf(t, h.stage(v2))
	is.Equal(failure.Class, core.FailureFailed)
	is.Equal(failure.Reason, deploy.ReasonDiskFull)
	is.True(strings.Contains(failure.Message, "(1048576 bytes) is free")) // And what is needed stands before it.
	is.True(strings.Contains(failure.Message, "needs "))
	is.True(!opened)
	is.Equal(snapshot(t, h.Root), before)
	h.free = 1 << 40
	h.mustStage(v2)
}

func TestAStagingInterruptedAtAnyStepConverges(t *testing.T) {
	for _, step := range []string{deploy.StepResolve, deploy.StepPlan, deploy.StepFetch, deploy.StepUnpack, deploy.StepBuild, deploy.StepPublish} {
		t.Run(step, func(t *testing.T) {
			is := is.New(t)
			h := newHost(t)
			v1, v2 := h.put("v1", system(t, "1")), h.put("v2", system(t, "2"), layer(t, item{name: "payload", content: noise(50_000)}))
			h.install(v1)
			ctx, cancel := context.WithCancel(t.Context())
			err := h.Stage(ctx, request(v2), func(p ports.Progress) {
				if p.Step == step {
					cancel()
				}
			})
			is.True(errors.Is(err, context.Canceled))
			is.Equal(h.observe(v2).Verdict, core.VerdictOutdated)
			is.Equal(h.observe(v1).Verdict, core.VerdictSatisfied)
			is.True(!exists(t, h.path("staging")))
			h.update(v2)
			is.Equal(h.read(h.next(), "root/payload"), noise(50_000))
			is.Equal(h.observe(v2).Verdict, core.VerdictSatisfied)
		})
	}
}

func TestAnErrorOfTheBootLoaderLeavesTheOldSystem(t *testing.T) {
	is := is.New(t)
	h := newHost(t)
	v1, v2 := h.put("v1", system(t, "1")), h.put("v2", system(t, "2"))
	h.install(v1)
	h.loader.OnAdd = func(ports.BootEntry) error { return errors.New("the partition is read-only") }
	is.True(h.stage(v2) != nil)
	is.Equal(h.observe(v2).Verdict, core.VerdictOutdated)
	h.loader.OnAdd = nil
	h.images.Opened()
	h.mustStage(v2)
	is.Equal(len(h.images.Opened()), 0) // All but the entry was there.
	is.Equal(h.observe(v2).Verdict, core.VerdictStaged)
}

func TestDebrisOfACrashIsRemoved(t *testing.T) {
	is := is.New(t)
	h := newHost(t)
	is.NoErr(os.MkdirAll(h.path("staging", "objects", "ab"), 0o700))
	is.NoErr(os.WriteFile(h.path("staging", "objects", "ab", "half"), nil, 0o600))
	h.mustStage(h.put("v1", system(t, "1")))
	is.True(!exists(t, h.path("staging")))
}

func TestADamagedDeploymentIsBuiltAnew(t *testing.T) {
	is := is.New(t)
	h := newHost(t)
	v1, v2 := h.put("v1", system(t, "1")), h.put("v2", system(t, "2"))
	h.install(v1)
	h.mustStage(v2)
	two := h.next()
	is.NoErr(os.WriteFile(h.path("deployments", two, "deployment.json"), []byte("{"), 0o600))
	is.Equal(h.observe(v2).Verdict, core.VerdictOutdated)
	h.mustStage(v2)
	is.Equal(h.next(), two)
	is.Equal(h.observe(v2).Verdict, core.VerdictStaged)
}

func TestALayerWhoseObjectsAreGoneIsFetchedAnew(t *testing.T) {
	is := is.New(t)
	h := newHost(t)
	base := system(t, "1")
	h.install(h.put("v1", base))
	is.NoErr(os.RemoveAll(h.path("objects")))
	h.mustStage(h.put("v2", base, layer(t, item{name: "x", content: "2"})))
	is.Equal(h.read(h.next(), "root/usr/lib/version"), "1")
}

func TestTwoStagingsDoNotMeet(t *testing.T) {
	is := is.New(t)
	h := newHost(t)
	v1, v2 := h.put("v1", system(t, "1")), h.put("v2", system(t, "2"))
	var inside, most atomic.Int64
	h.loader.OnAdd = func(ports.BootEntry) error { inside.Add(-1); return nil } // The last thing that a staging does.
	done := make(chan error, 2)
	for _, reference := range []string{v1, v2} {
		go func() {
			done <- h.Stage(t.Context(), request(reference), func(p ports.Progress) {
				if p.Step == deploy.StepResolve {
					most.Store(max(most.Load(), inside.Add(1)))
				}
			})
		}()
	}
	is.NoErr(<-done)
	is.NoErr(<-done)
	is.Equal(most.Load(), int64(1))
	entries, err := h.loader.Entries(t.Context())
	is.NoErr(err)
	is.Equal(len(entries), 1) // The later one takes back the earlier.
	deployments, err := os.ReadDir(h.path("deployments"))
	is.NoErr(err)
	is.Equal(len(deployments), 2)
}
