package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"elemental/e2e/hosts"
	"elemental/e2e/lab"
)

// TestPluginsProtocol tells how a plugin of someone else keeps a host: the one that the documentation shows, as it
// stands there; and what its host says once that plugin misbehaves.
func TestPluginsProtocol(t *testing.T) {
	s := newClusterOnly(t)
	defer told(t, time.Now())
	folder := t.TempDir()
	motd, request := filepath.Join(folder, "motd"), filepath.Join(folder, "request.json")
	install(t, motd, documentedPlugin(t, s.Checkout))
	if err := os.WriteFile(request, []byte(`{"motd":"hello"}`), 0o600); err != nil {
		t.Fatal(err)
	}

	// Its author tests it.
	st := &stage{T: t, setting: s, namespace: s.newNamespace(t), name: "my-elemental-host"}
	out, code := st.elemental("plugin", "test", motd, "--request", request, "--stage")
	if code != 0 || !strings.Contains(out, "17 ok, 0 failed, ") {
		t.Fatalf("the documented plugin does not keep to the protocol: %d\n%s", code, out)
	}
	out, code = st.elemental("plugin", "describe", motd)
	st.equal("the exit code of describe", code, 0)
	st.contains("its description", out, "motd (string, required)", "The message of the day.")

	// A host is kept by it.
	config, err := s.Register(t.Context(), st.namespace, st.name)
	if err != nil {
		t.Fatal(err)
	}
	config.Plugin = motd
	if st.process, err = hosts.StartProcess(s.Binary, config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			log := st.process.Log()
			t.Logf("%s\n%s", st.object(context.Background()), log[max(0, len(log)-20_000):])
		}
		st.process.Remove()
	})
	st.patch(`{"motd":"hello, world"}`)
	st.waitReady()
	h := st.await("it is told", func(h host) bool { return h.Status.OSVersion.Outcome == "Applied" })
	st.equal("the version", h.Status.OSVersion.Booted.Version, "hello, world")
	text, err := os.ReadFile(filepath.Join(st.process.WorkDir(), "plugins", "motd", "message"))
	st.equal("the message of the day", fmt.Sprint(string(text), err), "hello, world\n<nil>")

	// A mistyped field is told without the plugin.
	st.mustKubectl("patch", "elementalhost", st.name, "-p", `{"spec":{"osVersionManagement":{"motd":null,"mtod":"hello"}}}`, "--type=merge")
	h = st.await("the field is refused", refused("InvalidOSVersion"))
	st.contains("the condition", h.condition("Ready").Message, "mtod", "did you mean motd?")

	// From here on it floods its log, three times what is passed on, and crashes. The agent stays as it is.
	before := st.memory("VmRSS")
	install(t, motd, strings.Replace(documentedPlugin(t, s.Checkout), "\nstage)\n",
		"\nstage)\n    yes \"$(head -c 999 /dev/zero | tr '\\0' x)\" | head -c 210000000 >&2\n    echo >&2; echo 'no space left on device' >&2\n    kill -SEGV $$\n", 1))
	for _, text := range []string{"one", "two", "three"} {
		st.mustKubectl("patch", "elementalhost", st.name, "-p", `{"spec":{"osVersionManagement":{"mtod":null,"motd":"`+text+`"}}}`, "--type=merge")
		h = st.await("staging "+text+" fails", refused("OSVersionReconciliationFailed"))
		st.contains("the condition", h.condition("Ready").Message, "asked to stage", "was ended by signal 11 (segmentation fault) before it had answered",
			`its log ends with "no space left on device"`, "attempt 1 of 3")
		st.equal("the reason of the failure", h.Status.OSVersion.Failure.Reason, "PluginKilled")
		st.equal("the class of the failure", h.Status.OSVersion.Failure.Class, "failed")
	}
	after, peak := st.memory("VmRSS"), st.memory("VmHWM")
	t.Logf("the agent had %d MiB, has %d MiB and never had more than %d MiB", before>>20, after>>20, peak>>20)
	if peak-before > 32<<20 {
		t.Fatalf("the agent grew from %d to %d bytes while its plugin flooded it", before, peak)
	}
	st.equal("how often the agent was started", st.process.Starts(), 1)

	// What is mended works again.
	install(t, motd, documentedPlugin(t, s.Checkout))
	st.patch(`{"motd":"four"}`)
	st.waitReady()
}

// refused says that the agent gave this answer to the current spec, and that all the cluster says so.
func refused(reason string) func(host) bool {
	return func(h host) bool {
		ready := h.condition("Ready")
		return h.answered(reason) && ready.Reason == reason && ready.ObservedGeneration == h.Metadata.Generation
	}
}

// newClusterOnly is a setting without a registry and images, for hosts that are processes.
func newClusterOnly(t *testing.T) *setting {
	t.Helper()
	if testing.Short() {
		t.Skip("the stories take minutes")
	}
	l, err := lab.Prepare(t.Context(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Stop)
	if err := l.StartCluster(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := l.StartController(t.Context()); err != nil {
		t.Fatal(err)
	}
	return &setting{Lab: l}
}

// documentedPlugin cuts the plugin out of the documentation.
func documentedPlugin(t *testing.T, checkout string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(checkout, "docs", "plugin-protocol.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, after, found := strings.Cut(string(text), "```sh\n")
	if !found {
		t.Fatal("docs/plugin-protocol.md shows no plugin")
	}
	plugin, _, _ := strings.Cut(after, "```")
	return plugin
}

// install puts an executable in place of the one that is there, as an administrator should.
func install(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// memory is a figure of the agent's in bytes, as the kernel tells it.
func (s *stage) memory(figure string) int {
	s.Helper()
	config := []byte(filepath.Join(filepath.Dir(s.process.WorkDir()), "agent.yaml"))
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		s.Fatal(err)
	}
	for _, path := range lines {
		line, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(line, config) {
			continue // It ended, or is another.
		}
		status, err := os.ReadFile(filepath.Join(filepath.Dir(path), "status"))
		if err != nil {
			s.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(status), figure+":")
		kibibytes, err := strconv.Atoi(strings.Fields(rest)[0])
		if err != nil {
			s.Fatal(err)
		}
		return kibibytes << 10
	}
	s.Fatal("the agent does not run")
	return 0
}
