package deploy_test

import (
	"errors"
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

func TestRollingBackByHand(t *testing.T) {
	is := is.New(t)
	h := newHost(t)
	v1, v2 := h.put("v1", system(t, "1")), h.put("v2", system(t, "2"))
	h.install(v1)
	is.Equal(failureOf(t, h.Rollback(t.Context())).Reason, deploy.ReasonNoPrevious)
	h.update(v2)
	is.NoErr(h.Rollback(t.Context()))
	h.boot()
	is.Equal(h.observe(v1).Verdict, core.VerdictSatisfied)

	v3 := h.put("v3", system(t, "3"))
	h.mustStage(v3)
	h.boot()
	is.NoErr(h.Do(t.Context(), core.VerbRollback, ports.Request{}, nil)) // From a trial.
	h.boot()
	seen := h.observe(v3)
	is.Equal(seen.Verdict, core.VerdictRolledBack)
	is.True(strings.Contains(seen.Detail, "by hand"))
	is.Equal(seen.Current.Version, "Test 1")
}

func TestARunningTrialThatWasRolledBackIsNotConfirmed(t *testing.T) {
	for _, boots := range []int{1, 3} { // On its last try no tries are left, as after a rollback.
		is := is.New(t)
		h := newHost(t)
		v1, v2 := h.put("v1", system(t, "1")), h.put("v2", system(t, "2"))
		h.install(v1)
		one := h.next()
		is.NoErr(h.Stage(t.Context(), withChecks(v2), nil))
		for range boots {
			h.boot()
		}
		is.NoErr(h.Rollback(t.Context()))
		is.NoErr(h.Rollback(t.Context())) // Twice is no error.
		for range 2 {
			failure := failureOf(t, h.Confirm(t.Context(), withChecks(v2)))
			is.Equal(failure.Class, core.FailureRetryable)
			is.Equal(failure.Reason, deploy.ReasonRolledBack)
			is.True(strings.Contains(failure.Message, "restart the host"))
			is.Equal(h.observe(v2).Verdict, core.VerdictUnconfirmed)
		}
		is.Equal(h.boot(), one)
		seen := h.observe(v2)
		is.Equal(seen.Verdict, core.VerdictRolledBack)
		is.True(strings.Contains(seen.Detail, "by hand"))
		is.NoErr(h.Stage(t.Context(), withChecks(v2), nil)) // Asked for anew, it has all its chances again.
		h.boot()
		is.NoErr(h.Confirm(t.Context(), withChecks(v2)))
	}
}

func TestATrialOnItsLastTryIsConfirmed(t *testing.T) {
	is := is.New(t)
	h := newHost(t)
	h.install(h.put("v1", system(t, "1")))
	v2 := h.put("v2", system(t, "2"))
	h.mustStage(v2)
	for range 3 {
		h.boot()
	}
	h.confirm(v2)
	is.Equal(h.observe(v2).Verdict, core.VerdictSatisfied)
}

func TestARollbackDuringTheHealthChecksStands(t *testing.T) {
	for what, code := range map[string]string{"that hold": "0", "that do not": "1"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			is := is.New(t)
			h := newHost(t)
			v1, v2 := h.put("v1", system(t, "1")), h.put("v2", system(t, "2"))
			h.install(v1)
			one := h.next()
			begun, done := filepath.Join(t.TempDir(), "begun"), filepath.Join(t.TempDir(), "done")
			script := "touch " + begun + "; until test -e " + done + "; do sleep 0.01; done; exit " + code
			asked := withChecks(v2, map[string]any{"command": []string{"sh", "-c", script}, "timeout": "1s"})
			is.NoErr(h.Stage(t.Context(), asked, nil))
			h.boot()
			confirmed := make(chan error, 1)
			go func() { confirmed <- h.Confirm(t.Context(), asked) }()
			for deadline := time.Now().Add(5 * time.Second); !exists(t, begun); time.Sleep(5 * time.Millisecond) {
				is.True(time.Now().Before(deadline))
			}
			is.NoErr(h.Rollback(t.Context()))
			is.NoErr(os.WriteFile(done, nil, 0o600))
			is.Equal(failureOf(t, <-confirmed).Reason, deploy.ReasonRolledBack)
			is.Equal(h.boot(), one)
			is.True(strings.Contains(h.observe(v2).Detail, "by hand"))
		})
	}
}

func TestARollbackThatIsCutShortLeavesASpentTrial(t *testing.T) {
	is := is.New(t)
	h := newHost(t)
	v1, v2 := h.put("v1", system(t, "1")), h.put("v2", system(t, "2"))
	h.install(v1)
	one := h.next()
	h.mustStage(v2)
	h.boot()
	h.loader.OnAdd = func(entry ports.BootEntry) error {
		if entry.Deployment == one {
			return errors.New("the power went")
		}
		return nil
	}
	is.True(h.Rollback(t.Context()) != nil)
	is.Equal(h.next(), one) // Whatever happens now, the trial is not booted again.
	h.loader.OnAdd = nil
	is.NoErr(h.Rollback(t.Context()))
	is.Equal(failureOf(t, h.Confirm(t.Context(), request(v2))).Reason, deploy.ReasonRolledBack)
	is.Equal(h.boot(), one)
	seen := h.observe(v2)
	is.Equal(seen.Verdict, core.VerdictRolledBack)
	is.True(strings.Contains(seen.Detail, "by hand"))
}
