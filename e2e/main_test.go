// Package e2e tells Elemental's stories from outside, on real parts: the built binary, a real API server with the
// packaged roles and policies, kubectl, a registry, and hosts that really restart.
package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"elemental/e2e/hosts"
	"elemental/e2e/lab"
	"elemental/e2e/registry"
)

// setting is one lab with the tests that share it; each has a namespace and hosts of its own.
type setting struct {
	*lab.Lab
	v1, v2 registry.Pushed
}

// newSetting starts a lab with systems v1 and v2.
func newSetting(t *testing.T) *setting {
	t.Helper()
	return newSettingLike(t, func(*lab.Lab) {})
}

// newSettingLike is newSetting for a lab that is told something else.
func newSettingLike(t *testing.T, change func(*lab.Lab)) *setting {
	t.Helper()
	if testing.Short() {
		t.Skip("the stories take minutes")
	}
	ctx := t.Context()
	l, err := lab.Prepare(ctx, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	change(l)
	s := &setting{Lab: l}
	t.Cleanup(func() {
		if t.Failed() && s.Controller() != nil {
			t.Logf("the controller said last:\n%s", s.Controller().Tail())
		}
		s.Stop()
	})
	for _, step := range []func() error{
		func() error { return s.StartCluster(ctx) },
		func() error { return s.StartController(ctx) },
		s.StartRegistry,
		func() (err error) { s.v1, err = s.Push(ctx, "system:v1", registry.System{Version: "v1"}); return },
		func() (err error) { s.v2, err = s.Push(ctx, "system:v2", registry.System{Version: "v2"}); return },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// stage is one story's own: a namespace with one host.
type stage struct {
	*testing.T
	*setting
	namespace string
	name      string
	machine   *hosts.Host    // nil where the host is a process
	process   *hosts.Process // nil where it is a machine
}

// patience is how long anything may take before it counts as never. Machines under test share two cores.
const patience = 3 * time.Minute

func (s *setting) newNamespace(t *testing.T) string {
	t.Helper()
	words := strings.FieldsFunc(strings.ToLower(t.Name()), func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') })
	name := strings.Join(words, "-")
	name = strings.Trim(name[max(0, len(name)-50):], "-")
	if _, err := s.Cluster.Kubectl(t.Context(), "create", "namespace", name); err != nil {
		t.Fatal(err)
	}
	return name
}

// withMachine starts a host in a container that runs v1, and waits until it is ready.
func (s *setting) withMachine(t *testing.T) *stage {
	t.Helper()
	return s.withMachineLike(t, func(*hosts.Config) {})
}

// withMachineLike is withMachine for a host that is told something else.
func (s *setting) withMachineLike(t *testing.T, change func(*hosts.Config)) *stage {
	t.Helper()
	if err := hosts.Missing(); err != nil {
		if os.Getuid() == 0 {
			t.Fatal(err) // As root the stories of machines must be told.
		}
		t.Skip(err)
	}
	st := &stage{T: t, setting: s, namespace: s.newNamespace(t), name: "my-elemental-host"}
	config, err := s.Register(t.Context(), st.namespace, st.name)
	if err != nil {
		t.Fatal(err)
	}
	config.Debug = true
	change(&config)
	if st.machine, err = s.StartHost(t.Context(), config, registry.System{Version: "v1"}, s.v1.Reference); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			t.Logf("%s\n%s", st.object(ctx), st.machine.Report(ctx))
		}
		st.machine.Remove()
	})
	st.await("it is ready with v1", func(h host) bool { return h.ready() && h.condition("AgentConnected").Status == "True" })
	return st
}

// withProcess starts a host that is only an agent with the plugin dummy.
func (s *setting) withProcess(t *testing.T) *stage {
	t.Helper()
	st := &stage{T: t, setting: s, namespace: s.newNamespace(t), name: "my-elemental-host"}
	config, err := s.Register(t.Context(), st.namespace, st.name)
	if err != nil {
		t.Fatal(err)
	}
	if st.process, err = hosts.StartProcess(s.Binary, config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s\n%s", st.object(context.Background()), st.process.Log())
		}
		st.process.Remove()
	})
	st.await("it is ready", host.ready)
	return st
}

// host is an ElementalHost as everyone can see it.
type host struct {
	Metadata struct {
		Generation int64             `json:"generation"`
		Labels     map[string]string `json:"labels"`
	} `json:"metadata"`
	Status struct {
		Phase      string      `json:"phase"`
		Conditions []condition `json:"conditions"`
		OSVersion  struct {
			Requested, Applied, Outcome string
			Booted, Staged, Previous    struct{ Reference, Digest, Version string }
			Attempts                    int
			NextAttemptTime             string
			Failure                     struct{ Class, Reason, Path, Message string }
		} `json:"osVersion"`
		System struct{ BootID string } `json:"system"`
	} `json:"status"`
}

type condition struct {
	Type, Status, Reason, Message string
	ObservedGeneration            int64
}

func (h host) condition(kind string) condition {
	for _, c := range h.Status.Conditions {
		if c.Type == kind {
			return c
		}
	}
	return condition{}
}

// ready is what kubectl wait concludes.
func (h host) ready() bool {
	c := h.condition("Ready")
	return c.Status == "True" && c.ObservedGeneration == h.Metadata.Generation
}

// answered says that the agent spoke of the current spec with a reason.
func (h host) answered(reason string) bool {
	c := h.condition("OSVersionReady")
	return c.Reason == reason && c.ObservedGeneration == h.Metadata.Generation
}

func (h host) String() string {
	c := h.condition("OSVersionReady")
	return fmt.Sprintf("%s, %s, OSVersionReady %s %s %q", h.Status.Phase, h.Status.OSVersion.Outcome, c.Status, c.Reason, c.Message)
}

// kubectl runs the real one in the story's namespace.
func (s *stage) kubectl(args ...string) (string, error) {
	return s.Cluster.Kubectl(s.Context(), append([]string{"--namespace", s.namespace}, args...)...)
}

func (s *stage) mustKubectl(args ...string) string {
	s.Helper()
	out, err := s.kubectl(args...)
	if err != nil {
		s.Fatal(err)
	}
	return out
}

func (s *stage) object(ctx context.Context) string {
	out, err := s.Cluster.Kubectl(ctx, "--namespace", s.namespace, "get", "elementalhosts,events", "-o", "yaml")
	return fmt.Sprint(out, err)
}

func (s *stage) host() (host, error) {
	out, err := s.kubectl("get", "elementalhost", s.name, "-o", "json")
	if err != nil {
		return host{}, err
	}
	var h host
	return h, json.Unmarshal([]byte(out), &h)
}

// await waits until the host is seen to be so, and returns it.
func (s *stage) await(what string, so func(host) bool) host {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	var last host
	var err error
	for {
		var seen host
		if seen, err = s.host(); err == nil {
			last = seen
			if so(seen) {
				return seen
			}
		}
		select {
		case <-ctx.Done():
			s.Fatalf("it never came to pass that %s: %v (%v)", what, last, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// ask patches the host as the documentation does.
func (s *stage) ask(image string) {
	s.Helper()
	s.patch(fmt.Sprintf(`{"osVersion":{"imageUri":%q}}`, image))
}

func (s *stage) patch(osVersion string) {
	s.Helper()
	s.mustKubectl("patch", "elementalhost", s.name, "-p", `{"spec":{"osVersionManagement":`+osVersion+`}}`, "--type=merge")
}

// waitReady waits as the documentation does, as long as it takes.
func (s *stage) waitReady() {
	s.Helper()
	s.mustKubectl("wait", "--for=condition=ready", "elementalhost", s.name, "--timeout="+patience.String())
}

// runs is the version that the host's own release file names.
func (s *stage) runs() string {
	s.Helper()
	out, err := s.machine.Exec(s.Context(), "sh", "-c", ". /etc/os-release; echo $IMAGE_VERSION")
	if err != nil {
		s.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// join makes the host a node, as a bootstrap provider does at its end.
func (s *stage) join() {
	s.Helper()
	_, err := s.machine.Exec(s.Context(), "sh", "-c", "mkdir -p /run/cluster-api && touch /run/cluster-api/bootstrap-success.complete")
	if err != nil {
		s.Fatal(err)
	}
	s.await("it is a node", func(h host) bool {
		return h.Metadata.Labels["elementalhost.infrastructure.cluster.x-k8s.io/bootstrapped"] == "true"
	})
}

// watch calls seen with every phase that the host shows, until the returned function is called.
func (s *stage) watch(seen func(phase string)) (stop func()) {
	s.Helper()
	ctx, cancel := context.WithCancel(s.Context())
	cmd := exec.CommandContext(ctx, filepath.Join(s.Tools, "kubectl"), "--namespace", s.namespace, "get", "elementalhost", s.name,
		"--watch", "-o", `jsonpath={.status.phase}{"\n"}`)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+s.Cluster.AdminKubeconfig())
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		s.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			seen(lines.Text())
		}
	})
	return func() {
		cancel()
		all.Wait()
		_ = cmd.Wait() // It was killed.
	}
}

func (s *stage) equal(what string, have, want any) {
	s.Helper()
	if have != want {
		s.Fatalf("%s is %v, and should be %v", what, have, want)
	}
}

// elemental runs the command line as an operator would, and returns what it says and its exit code.
func (s *stage) elemental(args ...string) (string, int) {
	s.Helper()
	cmd := s.Command(s.Context(), args...)
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		s.Fatal(errors.Join(errors.New("running elemental"), err))
	}
	return string(out), cmd.ProcessState.ExitCode()
}
