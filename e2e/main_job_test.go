package e2e

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"elemental/e2e/hosts"
	"elemental/e2e/registry"
)

// TestMainJob tells how a host comes to run what its ElementalHost asks for.
func TestMainJob(t *testing.T) {
	s := newSetting(t)
	for name, story := range map[string]func(*testing.T, *setting){
		"upgrade, again, and back":                    upgradeAndBack,
		"a tag that moved":                            tagThatMoved,
		"a plugin that needs no restart":              noRestart,
		"an image whose init dies":                    initDies,
		"an image that is not healthy":                notHealthy,
		"the registry is away":                        registryAway,
		"the agent is killed at every step":           agentKilled,
		"two changes in quick succession":             quickSuccession,
		"kubectl wait never returns too early":        waitIsHonest,
		"requests that can't be":                      badRequests,
		"a node is updated in place, in both orders":  inPlace,
		"the command line waits and tells the reason": commandLine,
		"by hand, without the agent":                  byHand,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			story(t, s)
			t.Logf("told in %s", time.Since(start).Round(time.Second))
		})
	}
}

func upgradeAndBack(t *testing.T, s *setting) {
	st := s.withMachine(t)
	st.equal("what runs", st.runs(), "v1")
	st.ask(s.v2.Reference)
	st.waitReady()
	st.equal("what runs", st.runs(), "v2")
	h := st.await("v2 is told", func(h host) bool { return h.Status.OSVersion.Outcome == "Applied" })
	st.equal("the digest", h.Status.OSVersion.Booted.Digest, s.v2.Digest)
	st.equal("the version asked for", h.Status.OSVersion.Applied, h.Status.OSVersion.Requested)
	st.equal("the version before", h.Status.OSVersion.Previous.Digest, s.v1.Digest)
	st.equal("the phase", h.Status.Phase, "Running")

	// Another request for the same image is no other system.
	boots := len(st.machine.Boots())
	st.patch(fmt.Sprintf(`{"osVersion":{"imageUri":%q,"debug":true}}`, s.v2.Reference))
	st.waitReady()
	st.equal("the number of boots", len(st.machine.Boots()), boots)

	// Back is a real change.
	st.ask(s.v1.Reference)
	st.waitReady()
	st.equal("what runs", st.runs(), "v1")
	st.equal("the number of boots", len(st.machine.Boots()), boots+1)

	// Nothing asked is nothing done.
	st.mustKubectl("patch", "elementalhost", st.name, "-p", `{"spec":{"osVersionManagement":null}}`, "--type=merge")
	st.waitReady()
	st.await("nothing is requested", func(h host) bool { return h.answered("NothingRequested") })
	st.equal("the number of boots", len(st.machine.Boots()), boots+1)
}

func tagThatMoved(t *testing.T, s *setting) {
	st := s.withMachine(t)
	before, err := s.Push(t.Context(), "moving:latest", registry.System{Version: "v3"})
	if err != nil {
		t.Fatal(err)
	}
	st.ask(before.Reference)
	st.waitReady()
	after, err := s.Push(t.Context(), "moving:latest", registry.System{Version: "v4"})
	if err != nil {
		t.Fatal(err)
	}
	st.equal("the reference", after.Reference, before.Reference)

	// A tag is resolved once a request, so nothing changes until the request is renewed.
	if err := st.machine.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := st.machine.WaitBooted(t.Context(), hosts.DeploymentID(before.Digest)); err != nil {
		t.Fatal(err)
	}
	h := st.await("it is ready after a restart", func(h host) bool { return h.ready() && h.Status.OSVersion.Outcome == "Applied" })
	st.equal("the digest", h.Status.OSVersion.Booted.Digest, before.Digest)
	st.mustKubectl("annotate", "elementalhost", st.name, "elementalhost.infrastructure.cluster.x-k8s.io/retry=now")
	st.await("the tag is resolved anew", func(h host) bool {
		return h.ready() && h.Status.OSVersion.Booted.Digest == after.Digest && h.Status.OSVersion.Outcome == "Applied"
	})
	st.equal("what runs", st.runs(), "v4")
}

func noRestart(t *testing.T, s *setting) {
	st := s.withProcess(t)
	var mu sync.Mutex
	phases := map[string]bool{}
	stop := st.watch(func(phase string) {
		mu.Lock()
		defer mu.Unlock()
		phases[phase] = true
	})
	for i := range 10 {
		st.patch(fmt.Sprintf(`{"packages":["a","b"],"round":%d}`, i))
		st.waitReady()
		st.await("this round is applied", func(h host) bool {
			return h.answered("Applied") && h.Status.OSVersion.Applied == h.Status.OSVersion.Requested
		})
	}
	stop()
	mu.Lock()
	defer mu.Unlock()
	if len(phases) != 1 || !phases["Running"] {
		t.Fatalf("the phases seen are %v, and should be Running alone", phases)
	}
}

func initDies(t *testing.T, s *setting) {
	st := s.withMachine(t)
	broken, err := s.Push(t.Context(), "broken:v9", registry.InitDies("v9"))
	if err != nil {
		t.Fatal(err)
	}
	st.ask(broken.Reference)
	h := st.await("it fell back", refused("RolledBack"))
	st.equal("Ready", h.condition("Ready").Status, "False")
	st.equal("the reason of Ready", h.condition("Ready").Reason, "RolledBack")
	st.equal("the outcome", h.Status.OSVersion.Outcome, "RolledBack")
	for _, reference := range []string{broken.Reference, s.v1.Reference} {
		if message := h.condition("OSVersionReady").Message; !strings.Contains(message, reference) {
			t.Fatalf("the message %q does not name %s", message, reference)
		}
	}
	st.equal("what runs", st.runs(), "v1")

	// It is not tried again, not even after another restart.
	boots := len(st.machine.Boots())
	if err := st.machine.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := st.machine.WaitBooted(t.Context(), hosts.DeploymentID(s.v1.Digest)); err != nil {
		t.Fatal(err)
	}
	st.await("it still tells so", func(h host) bool { return h.answered("RolledBack") && h.Status.System.BootID != "" })
	st.equal("the number of boots", len(st.machine.Boots()), boots+1)

	// A new request works.
	st.ask(s.v2.Reference)
	st.waitReady()
	st.equal("what runs", st.runs(), "v2")
}

func notHealthy(t *testing.T, s *setting) {
	st := s.withMachineLike(t, func(c *hosts.Config) { c.HealthTimeout = "10s" })
	sick, err := s.Push(t.Context(), "sick:v9", registry.System{Version: "v9"})
	if err != nil {
		t.Fatal(err)
	}
	st.patch(fmt.Sprintf(`{"osVersion":{"imageUri":%q,"healthChecks":[{"command":["/bin/false"],"timeout":"1s"}]}}`, sick.Reference))
	h := st.await("it fell back", func(h host) bool { return h.answered("RolledBack") })
	st.equal("what runs", st.runs(), "v1")
	if message := h.condition("OSVersionReady").Message; !strings.Contains(message, "/bin/false") {
		t.Fatalf("the message %q does not say which health check failed", message)
	}
}

func registryAway(t *testing.T, s *setting) {
	own, err := registry.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = own.Stop() })
	systems, err := s.Systems(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	image, err := systems.Image(registry.System{Version: "v2"})
	if err != nil {
		t.Fatal(err)
	}
	pushed, err := own.Push(t.Context(), "system:v2", image)
	if err != nil {
		t.Fatal(err)
	}
	st := s.withMachineLike(t, func(c *hosts.Config) { c.Registry = own.Address() })
	if err := own.Stop(); err != nil {
		t.Fatal(err)
	}
	st.ask(pushed.Reference)
	h := st.await("it says what is wrong", func(h host) bool { return h.answered("OSVersionReconciliationFailed") })
	st.equal("the class of the failure", h.Status.OSVersion.Failure.Class, "retryable")
	st.equal("whether the next attempt is named", h.Status.OSVersion.NextAttemptTime != "", true)
	if err := own.Resume(); err != nil {
		t.Fatal(err)
	}
	st.waitReady()
	st.equal("what runs", st.runs(), "v2")
}

func agentKilled(t *testing.T, s *setting) {
	st := s.withMachine(t)
	boots := len(st.machine.Boots())
	st.ask(s.v2.Reference)
	// Whenever the host says something new, its agent is killed.
	killed := map[string]int{}
	st.await("v2 runs all the same", func(h host) bool {
		if h.ready() && h.Status.OSVersion.Booted.Digest == s.v2.Digest {
			return true
		}
		key := h.Status.Phase + " " + h.Status.OSVersion.Outcome + " " + h.condition("OSVersionReady").Reason
		if killed[key] < 2 && st.machine.KillAgent(t.Context()) == nil {
			killed[key]++
		}
		return false
	})
	st.equal("what runs", st.runs(), "v2")
	st.equal("the number of boots", len(st.machine.Boots()), boots+1)
	t.Logf("killed at %v", killed)
	if len(killed) < 2 {
		t.Fatalf("the agent was only killed at %v: that is no test", killed)
	}
}

func quickSuccession(t *testing.T, s *setting) {
	st := s.withMachine(t)
	third, err := s.Push(t.Context(), "system:v3", registry.System{Version: "v3"})
	if err != nil {
		t.Fatal(err)
	}
	st.ask(s.v2.Reference)
	st.ask(third.Reference)
	st.waitReady()
	st.equal("what runs", st.runs(), "v3")
	h := st.await("it is told", func(h host) bool { return h.Status.OSVersion.Outcome == "Applied" })
	st.equal("the digest", h.Status.OSVersion.Booted.Digest, third.Digest)
}

func waitIsHonest(t *testing.T, s *setting) {
	st := s.withMachine(t)
	versions := []registry.Pushed{s.v2, s.v1}
	for i := range 20 {
		want := versions[i%2]
		st.ask(want.Reference)
		st.waitReady()
		// At once, and of the host itself: nothing may be left to come.
		st.equal(fmt.Sprintf("what runs in round %d", i+1), st.runs(), []string{"v2", "v1"}[i%2])
	}
}

func inPlace(t *testing.T, s *setting) {
	const label = "elementalhost.infrastructure.cluster.x-k8s.io/in-place-update"
	st := s.withMachine(t)
	st.join()
	boots := len(st.machine.Boots())
	st.ask(s.v2.Reference)
	st.await("it waits for the label", func(h host) bool { return h.answered("InPlaceUpdateNotPending") })
	st.equal("the number of boots", len(st.machine.Boots()), boots)

	// Patch, then label.
	st.mustKubectl("label", "elementalhost", st.name, label+"=pending")
	st.await("the label says done", func(h host) bool { return h.Metadata.Labels[label] == "done" })
	st.waitReady()
	st.equal("what runs", st.runs(), "v2")

	// Label, then patch. Armed with nothing to do, it stays armed.
	st.mustKubectl("label", "--overwrite", "elementalhost", st.name, label+"=pending")
	st.waitReady()
	st.equal("the label", st.mustKubectl("get", "elementalhost", st.name, "-o", `jsonpath={.metadata.labels.elementalhost\.infrastructure\.cluster\.x-k8s\.io/in-place-update}`), "pending")
	st.ask(s.v1.Reference)
	st.await("the label says done", func(h host) bool { return h.Metadata.Labels[label] == "done" })
	st.equal("what runs", st.runs(), "v1")

	// A failure says so, and disarms.
	broken, err := s.Push(t.Context(), "broken:v8", registry.InitDies("v8"))
	if err != nil {
		t.Fatal(err)
	}
	st.mustKubectl("label", "--overwrite", "elementalhost", st.name, label+"=pending")
	st.ask(broken.Reference)
	st.await("the label says failed", func(h host) bool { return h.Metadata.Labels[label] == "failed" && h.answered("RolledBack") })
	st.equal("what runs", st.runs(), "v1")

	if _, err := st.kubectl("label", "--overwrite", "elementalhost", st.name, label+"=soon"); err == nil {
		t.Fatal("a label that means nothing was let in")
	}
}

func commandLine(t *testing.T, s *setting) {
	st := s.withMachine(t)
	out, code := st.elemental("upgrade", "host", st.name, "--namespace", st.namespace, "--image", s.v2.Reference, "--wait", "--timeout", patience.String())
	st.equal("the exit code of\n"+out+"\n", code, 0)
	st.equal("what runs", st.runs(), "v2")

	out, code = st.elemental("upgrade", "host", st.name, "--namespace", st.namespace, "--image", s.Images.Address()+"/no:such", "--wait", "--timeout", patience.String())
	if code == 0 || !strings.Contains(out, "OSVersionReconciliationFailed") || !strings.Contains(out, "does not exist in its registry") {
		t.Fatalf("an upgrade to nothing ends with %d and says:\n%s", code, out)
	}
	out, code = st.elemental("hosts", "--namespace", st.namespace)
	if code != 0 || !strings.Contains(out, st.name) || !strings.Contains(out, "Running") {
		t.Fatalf("elemental hosts ends with %d and says:\n%s", code, out)
	}
	said, err := st.machine.Exec(t.Context(), "elemental", "os", "status")
	if err != nil || !strings.Contains(said, s.v2.Reference) || !strings.Contains(said, s.v1.Reference) {
		t.Fatalf("elemental os status does not name what runs and what ran: %v\n%s", err, said)
	}
}

func byHand(t *testing.T, s *setting) {
	st := s.withMachine(t)
	run := func(command ...string) string {
		t.Helper()
		out, err := st.machine.Exec(t.Context(), command...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	run("systemctl", "stop", "elemental-agent")
	run("elemental", "os", "upgrade", s.v2.Reference)
	// What is changed between staging and the restart comes along.
	run("sh", "-c", "echo late > /etc/changed")
	run("systemctl", "reboot")
	if err := st.machine.WaitBooted(t.Context(), hosts.DeploymentID(s.v2.Digest)); err != nil {
		t.Fatal(err)
	}
	st.await("v2 is confirmed", func(h host) bool {
		return h.Status.OSVersion.Booted.Digest == s.v2.Digest && h.answered("NothingRequested")
	})
	st.equal("what was changed", run("cat", "/etc/changed"), "late\n")
	run("elemental", "os", "rollback")
	run("systemctl", "reboot")
	if err := st.machine.WaitBooted(t.Context(), hosts.DeploymentID(s.v1.Digest)); err != nil {
		t.Fatal(err)
	}
	st.equal("what runs", st.runs(), "v1")
}

func badRequests(t *testing.T, s *setting) {
	st := s.withMachine(t)
	noInit, err := s.Push(t.Context(), "noinit:v1", registry.NoInit("v9"))
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := s.Push(t.Context(), "foreign:v1", registry.ForeignArchitecture("v9"))
	if err != nil {
		t.Fatal(err)
	}
	systems, err := s.Systems(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ordinary, err := systems.Image(registry.System{Version: "v9"})
	if err != nil {
		t.Fatal(err)
	}
	huge, err := s.Images.PushHuge(t.Context(), "huge:v1", ordinary, 64, 60<<30)
	if err != nil {
		t.Fatal(err)
	}
	image := func(reference string) string { return fmt.Sprintf(`{"osVersion":{"imageUri":%q}}`, reference) }
	before := st.inventory()
	for _, c := range []struct{ name, request, condition, reason, message string }{
		{"an unknown field", `{"osVersion":{"imageUrl":"oci://a/b:c","imageUri":null}}`, "InvalidOSVersion", "UnknownField", "osVersion.imageUrl"},
		{"a wrong type", `{"osVersion":{"imageUrl":null,"imageUri":7}}`, "InvalidOSVersion", "WrongType", "osVersion.imageUri"},
		{"a malformed reference", image("oci://UPPER CASE"), "InvalidOSVersion", "MalformedReference", "osVersion.imageUri"},
		{"a tag that does not exist", image("oci://" + s.Images.Address() + "/system:v404"), "OSVersionReconciliationFailed", "ImageNotFound", "v404"},
		{"another architecture", image(foreign.Reference), "InvalidOSVersion", "ArchitectureMismatch", "amd64"},
		{"no init", image(noInit.Reference), "InvalidOSVersion", "NoInit", "init"},
		{"a disk too small", image(huge.Reference), "OSVersionReconciliationFailed", "DiskTooSmall", "free"},
	} {
		st.patch(c.request)
		st.await("the host refuses "+c.name, func(h host) bool {
			ready := h.condition("Ready")
			return h.answered(c.condition) && h.Status.OSVersion.Failure.Reason == c.reason &&
				ready.Status == "False" && ready.Reason == c.condition && strings.Contains(ready.Message, c.message)
		})
	}
	if after := st.inventory(); !slices.Equal(before, after) {
		t.Fatalf("bad requests changed the host from %v to %v", before, after)
	}
	st.ask(s.v1.Reference)
	st.waitReady()
	st.equal("the number of boots", len(st.machine.Boots()), 1)
}

// inventory is what a host could boot.
func (s *stage) inventory() []string {
	s.Helper()
	out, err := s.machine.Exec(s.Context(), "sh", "-c", "ls /elemental/deployments /boot/loader/entries; ls -A /elemental/staging 2>/dev/null | wc -l")
	if err != nil {
		s.Fatal(err)
	}
	return strings.Fields(out)
}

// TestMainJobOutage stops the API server in the middle of an upgrade. It has a lab of its own, since nobody else
// could go on there.
func TestMainJobOutage(t *testing.T) {
	s := newSetting(t)
	st := s.withMachine(t)
	st.ask(s.v2.Reference)
	st.await("it is under way", func(h host) bool { return h.condition("OSVersionReady").ObservedGeneration == h.Metadata.Generation })
	s.Cluster.StopAPIServer()
	time.Sleep(30 * time.Second) // The outage itself, and no wait for something.
	if err := s.Cluster.StartAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	st.waitReady()
	st.equal("what runs", st.runs(), "v2")
	st.equal("the number of boots", len(st.machine.Boots()), 2)
}
