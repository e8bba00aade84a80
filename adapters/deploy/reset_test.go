package deploy_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"
	"golang.org/x/sys/unix"

	"elemental/adapters/deploy"
	"elemental/adapters/deploy/reset"
	"elemental/core"
	"elemental/ports"
)

// lived is a host that runs v2, with v1 to fall back to, and on which someone has lived.
func lived(t *testing.T, change ...func(*deploy.Config)) *host {
	t.Helper()
	h := newHost(t, change...)
	more := []item{
		folder("home/"), folder("root/"), {name: "var/lib/seeded", content: "image"}, {name: "root/.profile", content: "image"},
		{name: "etc/elemental/image.yaml", content: "image"},
	}
	h.install(h.put("v1", system(t, "1", more...)))
	h.update(h.put("v2", system(t, "2", more...)))
	h.write("var/lib/elemental/agent/identity/key", "me")
	h.write("var/lib/elemental/agent/journal.json", "{}")
	h.write("var/lib/mine/data", "mine")
	h.write("var/home/me/letter", "Dear")
	h.write("var/lib/seeded", "changed")
	for name, text := range map[string]string{"elemental/agent.yaml": "agent", "hostname": "host-1\n", "ssh/ssh_host_key": "host key", "ssh/sshd_config": "mine", "passwd": "mine"} {
		h.write(filepath.Join("deployments", h.next(), "etc", name), text)
	}
	return h
}

// write puts a file below the engine's root.
func (h *host) write(name, text string) {
	h.t.Helper()
	if err := os.MkdirAll(filepath.Dir(h.path(name)), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(h.path(name), []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

// resetRequest is what the agent asks with, in a boot.
func resetRequest(boot, options string) ports.Request {
	r := ports.Request{Boot: boot, Keep: []string{
		"/etc/elemental", "/var/lib/elemental/agent/identity", "/var/lib/elemental/agent/journal.json", "/opt/elemental/kubeconfig",
	}}
	if options != "" {
		r.Options = []byte(options)
	}
	return r
}

func (h *host) stageOf(boot string) (core.ResetStage, bool) {
	h.t.Helper()
	seen, err := h.Observe(h.t.Context(), ports.Request{Boot: boot})
	if err != nil {
		h.t.Fatalf("observing: %v", err)
	}
	if !seen.Installed || seen.Verdict != core.VerdictSatisfied {
		h.t.Fatalf("the host is %+v", seen)
	}
	return seen.Reset, seen.NeedsRestart
}

func (h *host) expectStage(boot string, stage core.ResetStage, needsRestart bool) {
	h.t.Helper()
	if s, n := h.stageOf(boot); s != stage || n != needsRestart {
		h.t.Fatalf("the reset is %q, needing a restart: %v; it should be %q, %v", s, n, stage, needsRestart)
	}
}

// restart starts the host as its first process does.
func (h *host) restart() {
	h.t.Helper()
	if _, err := reset.CarryOut(h.Root, h.boot()); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) expectFresh(id string) {
	h.t.Helper()
	for name, want := range map[string]string{
		"var/lib/elemental/agent/identity/key": "me", "var/lib/elemental/agent/journal.json": "{}", "var/lib/seeded": "image", "var/roothome/.profile": "image",
		"var/lib/mine": "", "var/home/me": "",
	} {
		h.expectFile(h.path(name), want)
	}
	for name, want := range map[string]string{
		"elemental/agent.yaml": "agent", "hostname": "host-1\n", "ssh/ssh_host_key": "host key", "ssh/sshd_config": "", "passwd": "", "same": "the same in all\n",
	} {
		h.expectFile(h.path("deployments", id, "etc", name), want)
	}
}

// expectFile says that a file has a content; nothing: that there is none.
func (h *host) expectFile(at, want string) {
	h.t.Helper()
	if want == "" {
		if exists(h.t, at) {
			h.t.Errorf("%s is still there", at)
		}
		return
	}
	if text, err := os.ReadFile(at); err != nil || string(text) != want {
		h.t.Errorf("%s is %q, and should be %q: %v", at, text, want, err)
	}
}

func TestAResetFromBeginningToEnd(t *testing.T) {
	h := lived(t)
	is := h.is
	two := h.next()
	h.mustStage(h.put("v3", system(t, "3")))
	h.expectStage("a", core.ResetNone, false)
	is.Equal(failureOf(t, h.Reset(t.Context(), resetRequest("a", ""), nil)).Reason, deploy.ReasonResetUntriggered)

	mask := unix.Umask(0o077)
	err := h.Do(t.Context(), core.VerbTriggerReset, resetRequest("a", ""), nil)
	unix.Umask(mask)
	is.NoErr(err)
	h.expectStage("a", core.ResetUnderWay, true)
	is.Equal(h.next(), two) // Nothing staged is booted instead.
	h.expectFile(h.path("var/lib/mine/data"), "mine")
	mask = unix.Umask(0o077)
	err = h.Do(t.Context(), core.VerbTriggerReset, resetRequest("a", ""), nil) // Whoever was killed asks again.
	unix.Umask(mask)
	is.NoErr(err)
	h.expectStage("a", core.ResetUnderWay, true)
	is.Equal(failureOf(t, h.Reset(t.Context(), resetRequest("a", ""), nil)).Class, core.FailureRetryable)
	is.Equal(failureOf(t, h.stage("fake://v3")).Reason, deploy.ReasonResetUnderWay)
	is.Equal(failureOf(t, h.Rollback(t.Context())).Reason, deploy.ReasonResetUnderWay)

	h.restart()
	h.expectStage("b", core.ResetUnderWay, false)
	h.expectFresh(two)
	for name, mode := range map[string]os.FileMode{"var": 0o755, "var/home": 0o755, "var/roothome": 0o700, "var/lib": 0o755, "deployments/" + two + "/etc": 0o755} {
		info, err := os.Stat(h.path(name))
		is.NoErr(err)
		is.Equal(info.Mode().Perm(), mode) // Whatever mask the plugin ran with.
	}
	is.NoErr(h.TriggerReset(t.Context(), resetRequest("b", ""), nil)) // It is carried out, and not begun anew.
	h.expectStage("b", core.ResetUnderWay, false)
}

func TestTheEndOfAReset(t *testing.T) {
	h := lived(t)
	is := h.is
	two := h.next()
	h.put("v3", system(t, "3"))
	is.NoErr(h.TriggerReset(t.Context(), resetRequest("a", ""), nil))
	h.restart()
	for range 2 {
		is.NoErr(h.Do(t.Context(), core.VerbReset, resetRequest("b", ""), nil))
		h.expectStage("b", core.ResetDone, false)
		h.expectFresh(two)
	}
	deployments, err := os.ReadDir(h.path("deployments"))
	is.NoErr(err)
	is.Equal(len(deployments), 1)
	is.True(!exists(t, h.path("staging")))
	is.True(!exists(t, h.path("reset/var")))
	is.True(!exists(t, h.path("reset/etc")))
	h.restart() // What is done is not done again.
	h.expectStage("c", core.ResetDone, false)
	h.update("fake://v3")
	h.expectStage("d", core.ResetDone, false)

	is.NoErr(h.Do(t.Context(), core.VerbBootstrap, ports.Request{}, nil))
	h.expectStage("d", core.ResetNone, false)
	is.NoErr(h.Do(t.Context(), core.VerbBootstrap, ports.Request{}, nil))
	is.NoErr(h.TriggerReset(t.Context(), resetRequest("d", ""), nil))
	h.expectStage("d", core.ResetUnderWay, true)
	is.Equal(failureOf(t, h.Bootstrap(t.Context())).Reason, deploy.ReasonResetUnderWay)
	h.restart()
	is.NoErr(h.Reset(t.Context(), resetRequest("e", ""), nil))
	h.expectStage("e", core.ResetDone, false)
	is.NoErr(h.TriggerReset(t.Context(), resetRequest("e", ""), nil)) // A second life ends without a bootstrapping.
	h.expectStage("e", core.ResetUnderWay, true)
}

func TestWhatAResetKeeps(t *testing.T) {
	h := lived(t, func(c *deploy.Config) { c.ResetKeeps = []string{"/etc/pass*", "/home/*"} })
	is := h.is
	two := h.next()
	is.NoErr(h.TriggerReset(t.Context(), resetRequest("a", `{"keep":["/var/lib/mine","/root"]}`), nil))
	h.write("var/roothome/later", "until the restart")
	h.restart()
	for name, want := range map[string]string{
		"var/lib/mine/data": "mine", "var/home/me/letter": "Dear", "var/roothome/later": "until the restart", "var/lib/seeded": "image",
		"deployments/" + two + "/etc/passwd": "mine", "deployments/" + two + "/etc/hostname": "image-2\n", "deployments/" + two + "/etc/elemental/image.yaml": "image",
	} {
		h.expectFile(h.path(name), want)
	}
}

func TestAResetKeepsWhatTheDisksNeed(t *testing.T) {
	h := lived(t)
	etc := filepath.Join("deployments", h.next(), "etc")
	names := []string{"fstab", "crypttab", "cryptsetup-keys.d/data.key", "iscsi/initiatorname.iscsi", "nvme/hostnqn", "mdadm.conf", "mdadm/mdadm.conf", "multipath.conf", "multipath/wwids"}
	for _, name := range names {
		h.write(filepath.Join(etc, name), name)
	}
	h.is.NoErr(h.TriggerReset(t.Context(), resetRequest("a", ""), nil))
	h.restart()
	for _, name := range names {
		h.expectFile(h.path(etc, name), name)
	}
}

func TestResetsThatAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		request ports.Request
		class   core.FailureClass
		path    string
	}{
		"an option that is not known":    {resetRequest("a", `{"kep":[]}`), core.FailureInvalid, "kep"},
		"options that are a list":        {resetRequest("a", `[]`), core.FailureInvalid, ""},
		"a keep that is a text":          {resetRequest("a", `{"keep":"/var/lib/x"}`), core.FailureInvalid, "keep"},
		"a keep that climbs":             {resetRequest("a", `{"keep":["/var/lib/x","/var/../usr"]}`), core.FailureInvalid, "keep[1]"},
		"a keep that is not whole":       {resetRequest("a", `{"keep":["var/lib"]}`), core.FailureInvalid, "keep[0]"},
		"a keep that is never reset":     {resetRequest("a", `{"keep":["/usr/lib"]}`), core.FailureInvalid, "keep[0]"},
		"a keep of all":                  {resetRequest("a", `{"keep":["/var/"]}`), core.FailureInvalid, "keep[0]"},
		"an agent's keep that climbs":    {ports.Request{Keep: []string{"/etc/../x"}}, core.FailureInvalid, "keep[0]"},
		"an agent's keep of all":         {ports.Request{Keep: []string{"/etc"}}, core.FailureInvalid, "keep[0]"},
		"more keeps than anyone can say": {ports.Request{Keep: slices.Repeat([]string{"/etc/x"}, 257)}, core.FailureInvalid, "keep"},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			h := newHost(t)
			h.install(h.put("v1", system(t, "1")))
			failure := failureOf(t, h.TriggerReset(t.Context(), c.request, nil))
			is.Equal(failure.Class, c.class)
			is.Equal(failure.Path, c.path)
			h.expectStage("a", core.ResetNone, false)
		})
	}
	_, err := deploy.New(deploy.Config{
		Root: t.TempDir(), Boot: t.TempDir(), Architecture: "amd64", Images: newHost(t).Images, Loader: newHost(t).Loader, ResetKeeps: []string{"/usr/[a-"},
	})
	is.New(t).True(err != nil && strings.Contains(err.Error(), "what a reset keeps"))
}

func TestATrialIsNotReset(t *testing.T) {
	h := newHost(t)
	h.install(h.put("v1", system(t, "1")))
	h.mustStage(h.put("v2", system(t, "2")))
	h.boot()
	failure := failureOf(t, h.TriggerReset(t.Context(), resetRequest("a", ""), nil))
	h.is.Equal(failure.Class, core.FailureRetryable)
	h.is.Equal(failure.Reason, deploy.ReasonOnTrial)
	h.confirm("fake://v2")
	h.is.NoErr(h.TriggerReset(t.Context(), resetRequest("a", ""), nil))
}

func TestWhatWasChosenInsteadIsNotBooted(t *testing.T) {
	h := lived(t)
	two := h.next()
	h.is.NoErr(h.Rollback(t.Context()))
	h.is.True(h.next() != two)
	h.is.NoErr(h.TriggerReset(t.Context(), resetRequest("a", ""), nil))
	h.is.Equal(h.next(), two) // It is this system that is reset.
}

// chooseAnother makes the deployment that does not run the next to be booted, as someone does in the boot menu.
func (h *host) chooseAnother() {
	h.t.Helper()
	entries, err := h.loader.Entries(h.t.Context())
	h.is.NoErr(err)
	another := entries[1]
	another.Order = entries[0].Order + 1
	h.is.NoErr(h.loader.Add(h.t.Context(), another))
}

func TestAResetIsDroppedByTheBootOfAnotherDeployment(t *testing.T) {
	h := lived(t)
	is := h.is
	h.put("v3", system(t, "3"))
	is.NoErr(h.TriggerReset(t.Context(), resetRequest("a", ""), nil))
	h.chooseAnother()
	h.restart()
	h.expectStage("b", core.ResetNone, false)
	h.write("var/lib/mine/data", "newer")
	h.chooseAnother() // The one that was to be reset.
	h.restart()
	h.expectStage("c", core.ResetNone, false)
	h.expectFile(h.path("var/lib/mine/data"), "newer")
	h.mustStage("fake://v3")
	is.True(!exists(t, h.path("reset"))) // What was prepared takes no room for ever.
}

func TestADroppedResetIsTriggeredAnew(t *testing.T) {
	h := lived(t)
	is := h.is
	is.NoErr(h.TriggerReset(t.Context(), resetRequest("a", ""), nil))
	h.chooseAnother()
	h.restart()
	is.NoErr(h.TriggerReset(t.Context(), resetRequest("b", ""), nil))
	h.expectStage("b", core.ResetUnderWay, true)
	h.restart()
	is.NoErr(h.Reset(t.Context(), resetRequest("c", ""), nil))
	h.expectStage("c", core.ResetDone, false)
}

func TestAResetThatWasCarriedOutIsEndedByAnotherDeployment(t *testing.T) {
	h := lived(t)
	is := h.is
	is.NoErr(h.TriggerReset(t.Context(), resetRequest("a", ""), nil))
	h.restart()
	h.chooseAnother()
	h.restart()
	h.expectStage("c", core.ResetUnderWay, false)
	is.Equal(failureOf(t, h.Bootstrap(t.Context())).Reason, deploy.ReasonResetUnderWay)
	is.NoErr(h.Reset(t.Context(), resetRequest("c", ""), nil))
	h.expectStage("c", core.ResetDone, false)
	is.True(!exists(t, h.path("reset/var"))) // The secrets of the former life.
	is.True(!exists(t, h.path("reset/etc")))
}

func TestAResetThatWasNotCarriedOutSaysWhy(t *testing.T) {
	h := lived(t)
	is := h.is
	is.NoErr(h.TriggerReset(t.Context(), resetRequest("a", ""), nil))
	h.boot() // By a first process that knows nothing of resets.
	h.expectStage("b", core.ResetUnderWay, false)
	failure := failureOf(t, h.Reset(t.Context(), resetRequest("b", ""), nil))
	is.Equal(failure.Class, core.FailureFailed)
	is.Equal(failure.Reason, deploy.ReasonResetNotDone)
	is.True(strings.Contains(failure.Message, "it is older than the image plugin"))
	h.write("reset/failure", "the disk says no\n")
	is.True(strings.Contains(failureOf(t, h.Reset(t.Context(), resetRequest("b", ""), nil)).Message, "the disk says no"))
	status, err := h.Status(t.Context())
	is.NoErr(err)
	is.Equal(status.Reset.Stage, core.ResetUnderWay)
	h.restart() // The next one can.
	is.NoErr(h.Reset(t.Context(), resetRequest("c", ""), nil))
	h.expectStage("c", core.ResetDone, false)
}

func TestAResetThatLostItsTreesIsNone(t *testing.T) {
	for _, gone := range []string{"reset/var", "reset/etc", "reset/reset.json", "reset"} {
		h := lived(t)
		h.is.NoErr(h.TriggerReset(t.Context(), resetRequest("a", ""), nil))
		h.is.NoErr(os.RemoveAll(h.path(gone)))
		h.expectStage("a", core.ResetNone, false)
		h.is.NoErr(h.TriggerReset(t.Context(), resetRequest("a", ""), nil))
		h.expectStage("a", core.ResetUnderWay, true)
	}
}

func TestTheRecoverySystemGetsTheFreshEtc(t *testing.T) {
	h := newHost(t)
	is := h.is
	h.install(h.put("v1", system(t, "1")))
	document := []byte(`{"osVersion":{"imageUri":"fake://v1","upgradeRecovery":true}}`)
	is.NoErr(h.Stage(t.Context(), ports.Request{OSVersion: document}, nil))
	one := h.next()
	h.update(h.put("v2", system(t, "2")))
	status, err := h.Status(t.Context())
	is.NoErr(err)
	if !slices.ContainsFunc(status.Deployments, func(d deploy.DeploymentStatus) bool { return d.ID == one && d.Recovery }) {
		record := strings.Replace(h.read(one, "deployment.json"), `"id"`, `"recovery": true, "id"`, 1)
		h.write("deployments/"+one+"/deployment.json", record)
	}
	h.write("deployments/"+one+"/etc/secret", "old")
	h.write("deployments/"+h.next()+"/etc/elemental/agent.yaml", "agent")
	is.NoErr(h.TriggerReset(t.Context(), resetRequest("a", ""), nil))
	h.restart()
	is.NoErr(h.Reset(t.Context(), resetRequest("b", ""), nil))
	h.expectFile(h.path("deployments", one, "etc/secret"), "")
	h.expectFile(h.path("deployments", one, "etc/elemental/agent.yaml"), "agent")
	entries, err := h.loader.Entries(t.Context())
	is.NoErr(err)
	is.Equal(len(entries), 2)
	is.Equal(entries[1].Deployment, one)
}
