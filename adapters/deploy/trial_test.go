package deploy_test

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"elemental/adapters/deploy"
	"elemental/core"
	"elemental/ports"
)

// withChecks asks for a reference with health checks.
func withChecks(reference string, checks ...map[string]any) ports.Request {
	if checks == nil {
		checks = []map[string]any{}
	}
	document, err := json.Marshal(map[string]any{"osVersion": map[string]any{"imageUri": reference, "healthChecks": checks}})
	if err != nil {
		panic(err)
	}
	return ports.Request{OSVersion: document}
}

func TestATrialThatUsesUpItsTriesIsRolledBack(t *testing.T) {
	is := is.New(t)
	h := newHost(t)
	v1, v2 := h.put("v1", system(t, "1")), h.put("v2", system(t, "2"))
	h.install(v1)
	one := h.next()
	h.mustStage(v2)
	two := h.next()
	for range 3 {
		is.Equal(h.boot(), two)
		is.Equal(h.observe(v2).Verdict, core.VerdictUnconfirmed) // On its last try, too.
	}
	is.Equal(h.boot(), one)
	seen := h.observe(v2)
	is.Equal(seen.Verdict, core.VerdictRolledBack)
	is.Equal(seen.Fallen.Reference, v2)
	is.Equal(seen.Fallen.Version, "Test 2")
	is.Equal(seen.Current.Version, "Test 1")
	is.True(strings.Contains(seen.Detail, "3 boots"))
	is.True(!seen.NeedsRestart)
	is.Equal(seen.Staged, core.Version{})
	is.Equal(h.observe(v1).Verdict, core.VerdictSatisfied) // What runs is what this one asks for.

	is.NoErr(h.Unstage(t.Context()))
	is.Equal(h.observe(v2).Verdict, core.VerdictOutdated) // Forgotten.
	h.images.Opened()
	h.mustStage(v2)
	is.Equal(len(h.images.Opened()), 0) // Its tree was kept.
	is.Equal(h.observe(v2).Verdict, core.VerdictStaged)
}

func TestStagingAgainFromAFallbackReplacesTheFailedTrialOnly(t *testing.T) {
	is := is.New(t)
	h := newHost(t)
	v1, v2 := h.put("v1", system(t, "1")), h.put("v2", system(t, "2"))
	h.install(v1)
	h.mustStage(v2)
	for range 4 {
		h.boot()
	}
	is.Equal(h.observe(v2).Verdict, core.VerdictRolledBack)
	h.mustStage(v2)
	is.Equal(h.observe(v2).Verdict, core.VerdictStaged)
	entries, err := h.loader.Entries(t.Context())
	is.NoErr(err)
	is.Equal(len(entries), 2)
	is.Equal(entries[0].Tries, 3)
	is.True(!entries[1].Trial)
}

func TestWhyATrialFellSurvivesTheFall(t *testing.T) {
	is := is.New(t)
	h := newHost(t)
	v1, v2 := h.put("v1", system(t, "1")), h.put("v2", system(t, "2"))
	h.install(v1)
	asked := withChecks(v2, map[string]any{"command": []string{"sh", "-c", "yes | head -c 1000000; echo the disk is upside down; exit 3"}, "timeout": "150ms"})
	is.NoErr(h.Stage(t.Context(), asked, nil))
	for range 3 {
		h.boot()
		failure := failureOf(t, h.Confirm(t.Context(), asked))
		is.Equal(failure.Class, core.FailureFailed)
		is.Equal(failure.Reason, deploy.ReasonUnhealthy)
	}
	h.boot()
	seen, err := h.Observe(t.Context(), asked)
	is.NoErr(err)
	is.Equal(seen.Verdict, core.VerdictRolledBack)
	is.True(strings.Contains(seen.Detail, "upside down"))
	is.True(len(seen.Detail) < 1000) // Of all that a check says, the end is kept.

	is.NoErr(h.Stage(t.Context(), withChecks(v2), nil))
	for range 4 {
		h.boot()
	}
	seen, err = h.Observe(t.Context(), asked)
	is.NoErr(err)
	is.Equal(seen.Verdict, core.VerdictRolledBack)
	is.True(!strings.Contains(seen.Detail, "upside down")) // That was the time before.
}

func TestHealthChecks(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	late := filepath.Join(t.TempDir(), "late")
	time.AfterFunc(300*time.Millisecond, func() {
		if err := os.WriteFile(late, nil, 0o600); err != nil {
			t.Error(err)
		}
	})
	for what, c := range map[string]struct {
		check map[string]any
		holds bool
	}{
		"a command that succeeds":     {map[string]any{"command": []string{"true"}}, true},
		"a command that takes time":   {map[string]any{"command": []string{"test", "-e", late}, "timeout": "4s"}, true},
		"a command that hangs":        {map[string]any{"command": []string{"sh", "-c", "sleep 60 & sleep 60"}, "timeout": "200ms"}, false},
		"a command that is not there": {map[string]any{"command": []string{"/no/such/program"}, "timeout": "200ms"}, false},
		"a port that answers":         {map[string]any{"tcp": listener.Addr().String()}, true},
		"a port that does not":        {map[string]any{"tcp": "127.0.0.1:1", "timeout": "200ms"}, false},
		"a unit that is not there":    {map[string]any{"unit": "no-such-unit.service", "timeout": "200ms"}, false},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			is := is.New(t)
			h := newHost(t)
			h.install(h.put("v1", system(t, "1")))
			asked := withChecks(h.put("v2", system(t, "2")), c.check)
			is.NoErr(h.Stage(t.Context(), asked, nil))
			h.boot()
			began := time.Now()
			err := h.Confirm(t.Context(), asked)
			is.True(time.Since(began) < 4*time.Second)
			is.Equal(err == nil, c.holds)
			seen, errSeen := h.Observe(t.Context(), asked)
			is.NoErr(errSeen)
			want := core.VerdictSatisfied
			if !c.holds {
				want = core.VerdictUnconfirmed
			}
			is.Equal(seen.Verdict, want)
		})
	}
}

func TestHealthChecksThatWereCorrectedCount(t *testing.T) {
	is := is.New(t)
	h := newHost(t)
	h.install(h.put("v1", system(t, "1")))
	v2 := h.put("v2", system(t, "2"))
	wrong := withChecks(v2, map[string]any{"command": []string{"false"}, "timeout": "100ms"})
	is.NoErr(h.Stage(t.Context(), wrong, nil))
	h.boot()
	is.True(h.Confirm(t.Context(), wrong) != nil)
	is.True(h.Confirm(t.Context(), request("fake://other")) != nil) // Another version's checks say nothing of this one.
	is.NoErr(h.Confirm(t.Context(), withChecks(v2)))
	is.NoErr(h.Confirm(t.Context(), withChecks(v2))) // It is confirmed already.
	is.True(!exists(t, h.path("deployments", h.next(), "failure")))
}

func TestATagThatMoved(t *testing.T) {
	is := is.New(t)
	h := newHost(t)
	first, second := system(t, "1"), system(t, "2")
	latest := h.put("latest", first)
	h.install(latest)
	one := h.next()
	is.Equal(h.observe(latest).Verdict, core.VerdictSatisfied)
	h.put("latest", second)
	is.Equal(h.observe(latest).Verdict, core.VerdictSatisfied) // Observing asks no one.
	h.mustStage(latest)
	is.Equal(h.observe(latest).Verdict, core.VerdictStaged)
	h.boot()
	h.confirm(latest)
	is.Equal(h.observe(latest).Current.Version, "Test 2")

	h.put("latest", first)
	h.mustStage(latest)
	is.Equal(h.next(), one)
	is.Equal(h.observe(latest).Verdict, core.VerdictStaged)
	h.put("latest", second) // And back before it was booted: what is asked for runs already.
	h.mustStage(latest)
	seen := h.observe(latest)
	is.Equal(seen.Verdict, core.VerdictSatisfied)
	is.Equal(seen.Staged.Version, "Test 1") // The caller unstages it.
}

func TestTwoNamesOfOneImageAreOneDeployment(t *testing.T) {
	is := is.New(t)
	h := newHost(t)
	content := system(t, "1")
	v1, stable := h.put("v1", content), h.put("stable", content)
	h.install(v1)
	is.Equal(h.observe(stable).Verdict, core.VerdictOutdated)
	h.mustStage(stable)
	is.Equal(h.observe(stable).Verdict, core.VerdictSatisfied) // No restart.
	is.Equal(h.observe(v1).Verdict, core.VerdictSatisfied)
	debug := ports.Request{OSVersion: []byte(`{"osVersion":{"imageUri":"` + v1 + `","debug":true}}`)}
	seen, err := h.Observe(t.Context(), debug)
	is.NoErr(err)
	is.Equal(seen.Verdict, core.VerdictSatisfied)
}

func TestADigestInTheRequestIsTheLastWord(t *testing.T) {
	is := is.New(t)
	h := newHost(t)
	v1 := h.put("v1", system(t, "1"))
	h.install(v1)
	image, err := h.images.Resolve(t.Context(), v1, "amd64")
	is.NoErr(err)
	ask := func(digest string) ports.Request {
		return ports.Request{OSVersion: []byte(`{"osVersion":{"imageUri":"` + v1 + `","digest":"` + digest + `"}}`)}
	}
	seen, err := h.Observe(t.Context(), ask(image.Digest))
	is.NoErr(err)
	is.Equal(seen.Verdict, core.VerdictSatisfied)
	other := "sha256:" + strings.Repeat("0", 64)
	seen, err = h.Observe(t.Context(), ask(other))
	is.NoErr(err)
	is.Equal(seen.Verdict, core.VerdictOutdated)
	failure := failureOf(t, h.Stage(t.Context(), ask(other), nil))
	is.Equal(failure.Class, core.FailureFailed)
	is.Equal(failure.Reason, deploy.ReasonBadDigest)
	is.Equal(failure.Path, "osVersion.digest")
}

func TestUnstagingTakesTheRunningSystemForTheNext(t *testing.T) {
	is := is.New(t)
	h := newHost(t)
	v1, v2 := h.put("v1", system(t, "1")), h.put("v2", system(t, "2"))
	h.install(v1)
	h.mustStage(v2)
	is.NoErr(h.Do(t.Context(), core.VerbUnstage, ports.Request{}, nil))
	is.Equal(h.observe(v2).Verdict, core.VerdictOutdated)
	is.Equal(h.observe(v1).Staged, core.Version{})
	h.boot()
	is.Equal(h.observe(v1).Verdict, core.VerdictSatisfied)
	h.mustStage(v2)
	h.boot()
	is.NoErr(h.Unstage(t.Context())) // The running trial is not touched.
	is.Equal(h.observe(v2).Verdict, core.VerdictUnconfirmed)
}

func TestNothingIsStagedOverARunningTrial(t *testing.T) {
	is := is.New(t)
	h := newHost(t)
	v1, v2, v3 := h.put("v1", system(t, "1")), h.put("v2", system(t, "2")), h.put("v3", system(t, "3"))
	h.install(v1)
	h.mustStage(v2)
	h.boot()
	is.Equal(failureOf(t, h.stage(v3)).Reason, deploy.ReasonOnTrial)
	h.mustStage(v2) // The same again changes nothing.
	is.Equal(h.observe(v2).Verdict, core.VerdictUnconfirmed)
}

func TestCollectionKeepsTheRunningAndTheOneBefore(t *testing.T) {
	is := is.New(t)
	h := newHost(t)
	var ids []string
	base := system(t, "0")
	for n, tag := range []string{"v1", "v2", "v3", "v4"} {
		reference := h.put(tag, base, layer(t, item{name: "only-" + tag, content: noise(5000 + n)}, item{name: "usr/lib/version", content: tag}))
		if n == 0 {
			h.install(reference)
		} else {
			h.mustStage(reference)
			before, err := os.ReadDir(h.path("deployments"))
			is.NoErr(err)
			h.boot()
			is.Equal(len(before), min(n+1, 3)) // Nothing goes between publishing and confirming.
			h.confirm(reference)
		}
		ids = append(ids, h.next())
	}
	for n, id := range ids {
		is.Equal(exists(t, h.path("deployments", id)), n >= 2)
	}
	entries, err := h.loader.Entries(t.Context())
	is.NoErr(err)
	is.Equal(len(entries), 2)
	layers, err := os.ReadDir(h.path("layers"))
	is.NoErr(err)
	is.Equal(len(layers), 3) // The base, and one each.
	objects, err := filepath.Glob(h.path("objects", "*", "*"))
	is.NoErr(err)
	for _, object := range objects {
		info, err := os.Stat(object)
		is.NoErr(err)
		is.True(info.Size() != 5000 && info.Size() != 5001) // What only the first two had.
	}
	is.Equal(h.read(ids[3], "root/usr/lib/version"), "v4")
	is.Equal(h.read(ids[2], "root/usr/lib/version"), "v3")

	// A layer that is kept is complete, what other layers cover included: it is not fetched again.
	h.images.Opened()
	h.mustStage(h.put("v5", base, layer(t, item{name: "x", content: "5"})))
	is.Equal(len(h.images.Opened()), 1)
	is.Equal(h.read(h.next(), "root/usr/lib/version"), "0")
}

func TestTheRecoverySystemIsKeptAsTheLastChoice(t *testing.T) {
	is := is.New(t)
	h := newHost(t)
	recoverable := func(tag string) (string, ports.Request) {
		reference := h.put(tag, system(t, tag))
		return reference, ports.Request{OSVersion: []byte(`{"osVersion":{"imageUri":"` + reference + `","upgradeRecovery":true,"debug":true}}`)}
	}
	_, first := recoverable("v1")
	is.NoErr(h.Install(t.Context(), first, nil))
	one := h.boot()
	for _, tag := range []string{"v2", "v3", "v4"} {
		h.update(h.put(tag, system(t, tag)))
	}
	last := func() string {
		entries, err := h.loader.Entries(t.Context())
		is.NoErr(err)
		is.Equal(len(entries), 3)
		is.True(!entries[2].Trial)
		return entries[2].Deployment
	}
	is.Equal(last(), one)
	is.Equal(h.read(one, "root/usr/lib/version"), "v1")
	is.Equal(h.observe("fake://v4").Previous.Version, "Test v3") // It is not taken for the one before.

	five, renewing := recoverable("v5")
	is.NoErr(h.Stage(t.Context(), renewing, nil))
	two := h.boot()
	is.True(exists(t, h.path("deployments", one))) // Not before the new one has proved itself.
	h.confirm(five)
	is.True(!exists(t, h.path("deployments", one)))
	for _, tag := range []string{"v6", "v7"} {
		h.update(h.put(tag, system(t, tag)))
	}
	is.Equal(last(), two)
}

func TestStatusTellsWhatIsOnTheDisk(t *testing.T) {
	is := is.New(t)
	h := newHost(t)
	v1, v2 := h.put("v1", system(t, "1")), h.put("v2", system(t, "2"))
	h.install(v1)
	h.mustStage(v2)
	status, err := h.Status(t.Context())
	is.NoErr(err)
	is.Equal(len(status.Deployments), 2)
	is.True(status.Deployments[0].Next && status.Deployments[0].Trial)
	is.Equal(status.Deployments[0].Tries, 3)
	is.Equal(status.Deployments[1].ID, status.Booted)
	is.NoErr(h.Unstage(t.Context()))
	status, err = h.Status(t.Context())
	is.NoErr(err)
	is.Equal(len(status.Deployments), 2)
	is.True(!status.Deployments[1].Entry)
}

func TestAVerbThatIsUnknownIsRefused(t *testing.T) {
	is := is.New(t)
	h := newHost(t)
	var failure core.Failure
	is.True(errors.As(h.Do(t.Context(), core.Verb("explode"), ports.Request{}, nil), &failure))
	is.Equal(failure.Class, core.FailureInvalid)
}
