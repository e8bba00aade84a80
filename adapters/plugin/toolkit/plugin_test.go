package toolkit

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"elemental/core"
	"elemental/ports"
)

func TestUpgrade(t *testing.T) {
	b := newBench(t)
	b.is.Equal(b.observe(ports.Request{}).Verdict, core.VerdictSatisfied)
	request := b.request("v2")
	v := b.observe(request)
	b.is.Equal(v.Verdict, core.VerdictOutdated)
	b.is.Equal(v.Current, core.Version{Reference: "dir:///run/rootfsbase", Version: "snapshot 1"})

	b.is.NoErr(b.stage(request))
	b.is.Equal(b.read("asked"), "arguments upgrade\nELEMENTAL_POWEROFF=false\nELEMENTAL_REBOOT=false\nELEMENTAL_UPGRADE_RECOVERY=false\n"+
		"ELEMENTAL_UPGRADE_SNAPSHOT_LABELS=correlationID="+request.Hash+"\nELEMENTAL_UPGRADE_SYSTEM=oci:127.0.0.1:5000/os:v2")
	v = b.observe(request)
	b.is.Equal(v.Verdict, core.VerdictStaged)
	b.is.True(v.NeedsRestart)
	b.is.Equal(v.Current.Version, "snapshot 1") // What the toolkit calls active does not run.
	b.is.Equal(v.Staged.Version, "snapshot 2")

	b.restart(modeActive)
	v = b.observe(request)
	b.is.Equal(v.Verdict, core.VerdictSatisfied)
	b.is.Equal(v.Current.Reference, "oci://127.0.0.1:5000/os:v2")
	b.is.Equal(v.Previous.Version, "snapshot 1")
	b.is.NoErr(b.do(core.VerbConfirm, request))
	b.booted = time.Now().Add(-time.Hour) // A clock that went wrong changes nothing.
	b.is.Equal(b.observe(request).Verdict, core.VerdictSatisfied)

	// Renewed, the request is upgraded to anew.
	b.is.NoErr(b.stage(request))
	b.is.Equal(b.observe(request).Verdict, core.VerdictStaged)
	b.restart(modeActive)
	b.is.Equal(b.observe(request).Verdict, core.VerdictSatisfied)
}

func TestRecoveryAndDebug(t *testing.T) {
	b := newBench(t)
	request := b.request("v2")
	request.OSVersion = []byte(`{"osVersion":{"imageUri":"oci://r/os:v2","upgradeRecovery":true,"debug":true}}`)
	b.is.NoErr(b.stage(request))
	b.is.True(strings.Contains(b.read("asked"), "ELEMENTAL_UPGRADE_RECOVERY=true\n"))

	b.restart(modeRecovery)
	f := b.failure(b.stage(request))
	b.is.Equal(f.Reason, ReasonInRecovery)
}

func TestFallback(t *testing.T) {
	b := newBench(t)
	b.is.NoErr(b.stage(b.request("v2")))
	b.restart(modeActive)
	bad := b.request("v3")
	b.is.NoErr(b.stage(bad))
	for _, image := range []string{"", "elemental.image=/.snapshots/2/snapshot.img"} {
		b.restart(modePassive, image)
		v := b.observe(bad)
		b.is.Equal(v.Verdict, core.VerdictRolledBack)
		b.is.Equal(v.Fallen.Reference, "oci://127.0.0.1:5000/os:v3")
		b.is.Equal(v.Current.Reference, "oci://127.0.0.1:5000/os:v2")
		b.is.True(strings.Contains(v.Detail, "passive"))
	}
	// With another active snapshot before it, the host is brought back to what it should start.
	b.is.Equal(b.observe(b.request("v2")).Verdict, core.VerdictOutdated)

	// Forgotten, it may be tried again, and fall again.
	b.is.NoErr(b.do(core.VerbUnstage, bad))
	b.is.Equal(b.observe(bad).Verdict, core.VerdictOutdated)
	b.is.NoErr(b.stage(bad))
	v := b.observe(bad)
	b.is.Equal(v.Verdict, core.VerdictStaged) // It was upgraded from the passive one, which still runs.
	b.is.Equal(v.Current.Version, "snapshot 2")
	b.is.Equal(v.Staged.Version, "snapshot 4")
	b.restart(modePassive, "elemental.image=@/.snapshots/2/snapshot")
	b.is.Equal(b.observe(bad).Verdict, core.VerdictRolledBack)

	// The recovery system is no version that anyone asked for.
	b.restart(modeRecovery)
	v = b.observe(bad)
	b.is.Equal(v.Verdict, core.VerdictRolledBack)
	b.is.Equal(v.Current, core.Version{Version: "the recovery system"})
	b.is.True(strings.Contains(v.Detail, "recovery"))
	b.is.Equal(b.observe(ports.Request{}).Verdict, core.VerdictSatisfied)

	good := b.request("v4")
	b.is.NoErr(b.stage(good))
	b.is.Equal(b.observe(good).Verdict, core.VerdictStaged)
	b.restart(modeActive)
	b.is.Equal(b.observe(good).Verdict, core.VerdictSatisfied)
}

func TestBackBeforeTheRestart(t *testing.T) {
	b := newBench(t)
	first, second := b.request("v2"), b.request("v3")
	b.is.NoErr(b.stage(first))
	b.restart(modeActive)
	b.is.NoErr(b.stage(second))
	b.is.NoErr(b.do(core.VerbUnstage, first))
	v := b.observe(first)
	b.is.Equal(v.Verdict, core.VerdictOutdated) // It runs, and the next restart would start another.
	b.is.True(strings.Contains(v.Detail, "os:v3"))
	b.is.True(strings.Contains(b.observe(ports.Request{}).Detail, "os:v3"))
	b.is.NoErr(b.stage(first))
	b.restart(modeActive)
	b.is.Equal(b.observe(first).Verdict, core.VerdictSatisfied)
}

func TestFailures(t *testing.T) {
	for fault, want := range map[string]core.Failure{
		"33":    {Class: core.FailureInvalid, Reason: ReasonBadSpec, Path: "osVersion"},
		"66":    {Class: core.FailureRetryable, Reason: ReasonPullFailed, Path: "osVersion.imageUri"},
		"18":    {Class: core.FailureRetryable, Reason: ReasonPullFailed, Path: "osVersion.imageUri"},
		"89":    {Class: core.FailureFailed, Reason: ReasonNoState},
		"1":     {Class: core.FailureFailed, Reason: ReasonUpgradeFailed},
		"stale": {Class: core.FailureFailed, Reason: ReasonNotUpgraded},
	} {
		t.Run(fault, func(t *testing.T) {
			b := newBench(t)
			first := b.request("v1")
			b.is.NoErr(b.stage(first))
			b.restart(modeActive)

			request := b.request("v2")
			b.fault(fault)
			f := b.failure(b.stage(request))
			b.is.True(f.Message != "")
			f.Message = ""
			b.is.Equal(f, want)
			b.is.Equal(b.observe(request).Verdict, core.VerdictOutdated)
			b.is.Equal(b.observe(ports.Request{}).Detail, "") // There is nothing that waits for a restart.
			// What runs is still what starts next where the toolkit is known not to have come so far.
			untouched := core.VerdictOutdated
			if fault == "33" || fault == "66" || fault == "18" {
				untouched = core.VerdictSatisfied
			}
			b.is.Equal(b.observe(first).Verdict, untouched)

			b.fault("")
			b.is.NoErr(b.stage(request))
			b.is.Equal(b.observe(request).Verdict, core.VerdictStaged)
		})
	}
}

func TestRenewedAndNotUpgraded(t *testing.T) {
	b := newBench(t)
	request := b.request("v1")
	b.is.NoErr(b.stage(request))
	b.restart(modeActive)
	b.fault("stale") // The snapshot of the first time bears the right label.
	b.is.Equal(b.failure(b.stage(request)).Reason, ReasonNotUpgraded)
}

func TestTakenBackByHand(t *testing.T) {
	b := newBench(t)
	first := b.request("v1")
	b.is.NoErr(b.stage(first))
	b.restart(modeActive)
	b.is.NoErr(b.stage(b.request("v2")))
	b.write("active", "2")
	b.restart(modeActive)
	b.is.Equal(b.observe(first).Verdict, core.VerdictSatisfied)
}

func TestFullDisk(t *testing.T) {
	b := newBench(t)
	request := b.request("v2")
	b.config.MinFree = 1 << 60
	f := b.failure(b.stage(request))
	b.is.Equal(f.Reason, ReasonDiskTooSmall)
	b.is.True(strings.Contains(f.Message, b.config.StatePath) && strings.Contains(f.Message, b.config.File))
	b.is.Equal(b.read("upgrades"), "") // It is not even begun.

	b.config.StatePath = "/no/such/mount"
	b.is.True(strings.Contains(b.failure(b.stage(request)).Message, "/no/such/mount"))

	// Where it fills up on the way, success is not believed.
	b.config.MinFree, b.config.StatePath = 1, b.folder
	b.fault("full")
	f = b.failure(b.stage(request))
	b.is.Equal(f.Reason, ReasonNotUpgraded)
	b.is.True(strings.Contains(f.Message, "disk full"))
	_, err := New(b.config).Observe(t.Context(), request)
	b.is.Equal(b.failure(err).Reason, ReasonNoState)
}

func TestHang(t *testing.T) {
	b := newBench(t)
	b.config.Timeout = 300 * time.Millisecond
	b.fault("hang")
	f := b.failure(b.stage(b.request("v2")))
	b.is.Equal(f.Class, core.FailureFailed)
	b.is.Equal(f.Reason, ReasonTimedOut)
	b.is.True(strings.Contains(f.Message, "300ms"))
}

// killed stages until the stand-in hangs, and is killed there.
func (b *bench) killed(fault string, request ports.Request) {
	b.Helper()
	b.fault(fault)
	b.is.NoErr(os.RemoveAll(filepath.Join(b.folder, "hangs")))
	ctx, kill := context.WithCancel(b.Context())
	ended := make(chan error)
	go func() { ended <- New(b.config).Do(ctx, core.VerbStage, request, func(ports.Progress) {}) }()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(b.folder, "hangs")); err == nil {
			break
		}
		b.is.True(time.Now().Before(end)) // The stand-in hangs.
	}
	kill()
	b.is.True(errors.Is(<-ended, context.Canceled))
	b.fault("")
}

func TestKilledInTheMiddle(t *testing.T) {
	b := newBench(t)
	request := b.request("v2")
	b.killed("hang", request)
	b.is.Equal(b.observe(request).Verdict, core.VerdictOutdated)
	b.is.NoErr(b.stage(request))
	b.restart(modeActive)
	b.is.Equal(b.observe(request).Verdict, core.VerdictSatisfied)

	// The snapshot of the same request that runs already is not taken for the one that was to be made.
	b.killed("hang", request)
	b.is.Equal(b.observe(request).Verdict, core.VerdictOutdated)
	b.restart(modeActive)
	b.is.Equal(b.observe(request).Verdict, core.VerdictOutdated)
	b.is.NoErr(b.stage(request))
	b.restart(modeActive)
	b.is.Equal(b.observe(request).Verdict, core.VerdictSatisfied)
}

func TestKilledAtTheEnd(t *testing.T) {
	b := newBench(t)
	request := b.request("v2")
	b.killed("late", request)
	b.is.Equal(b.observe(request).Verdict, core.VerdictStaged) // It is whole, and does not run.
	b.booted = time.Now().Add(-time.Hour)                      // The host's clock goes wrong, and does not matter.
	b.restart(modeActive)
	b.is.Equal(b.observe(request).Verdict, core.VerdictSatisfied)
}

func TestLostMemory(t *testing.T) {
	b := newBench(t)
	request := b.request("v2")
	b.is.NoErr(b.stage(request))
	b.is.NoErr(os.WriteFile(filepath.Join(b.config.WorkDir, remembered), []byte("{"), 0o600))
	b.booted = time.Now().Add(-time.Hour)
	b.is.Equal(b.observe(request).Verdict, core.VerdictStaged) // The snapshot is younger than this boot.
	b.booted = time.Now().Add(time.Hour)
	b.is.Equal(b.observe(request).Verdict, core.VerdictSatisfied)
	// What no restart makes certain asks for none: it is staged anew.
	for _, date := range []string{"yesterday", time.Now().Add(time.Hour).Format(time.RFC3339)} {
		b.write("snapshots/2", "            labels:\n                correlationID: "+request.Hash+"\n            date: \""+date+"\"\n")
		view := b.observe(request)
		b.is.Equal(view.Verdict, core.VerdictOutdated)
		b.is.True(strings.Contains(view.Detail, date))
	}
	b.is.NoErr(b.stage(request))
	b.is.Equal(b.observe(request).Verdict, core.VerdictStaged)
	b.restart(modeActive)
	b.is.Equal(b.observe(request).Verdict, core.VerdictSatisfied)
}

func TestState(t *testing.T) {
	for fault, reason := range map[string]string{"garbage": ReasonBadState, "exits": ReasonBadState, "nostate": ReasonNoState} {
		b := newBench(t)
		b.fault(fault)
		_, err := New(b.config).Observe(t.Context(), ports.Request{})
		f := b.failure(err)
		b.is.Equal(f.Reason, reason)
		b.is.Equal(f.Class, core.FailureFailed)
		b.is.True(!strings.ContainsAny(f.Message, "\x01\t\n"))
	}
}

func TestWrongHosts(t *testing.T) {
	b := newBench(t)
	b.is.NoErr(os.Remove(filepath.Join(b.run, "active_mode")))
	_, err := New(b.config).Observe(t.Context(), ports.Request{})
	b.is.Equal(b.failure(err).Reason, ReasonNotBooted)

	b.restart(modeActive)
	b.config.Command, err = os.Executable() // This program, under whatever name.
	b.is.NoErr(err)
	_, err = New(b.config).Observe(t.Context(), ports.Request{})
	b.is.Equal(b.failure(err).Reason, ReasonOwnProgram)

	b.config.Command = "/no/such/elemental"
	_, err = New(b.config).Observe(t.Context(), ports.Request{})
	f := b.failure(err)
	b.is.Equal(f.Reason, ReasonCommandMissing)
	b.is.True(strings.Contains(f.Message, b.config.File))
}

func TestBadRequests(t *testing.T) {
	b := newBench(t)
	for _, document := range []string{`["a list"]`, `{"osVersion":{"imageUri":7}}`, `{"osVersion":{"imageUrl":"a"}}`} {
		_, err := New(b.config).Observe(t.Context(), ports.Request{OSVersion: []byte(document), Hash: "0123"})
		b.is.Equal(b.failure(err).Class, core.FailureInvalid)
	}
	b.is.True(b.do(core.VerbReset, ports.Request{}) != nil)
	d, err := New(b.config).Describe(t.Context())
	b.is.NoErr(err)
	b.is.True(d.Restarts && json.Valid(d.Schema))
}
