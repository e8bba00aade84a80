package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"elemental/e2e/hosts"
)

// fleetPlugin keeps hosts whose system is the name of an image. Host edge-3 falls back from all but the first,
// and the system oci://r/os:slow takes longer than anyone waits.
const fleetPlugin = `#!/bin/sh
set -eu
request=$(cat)
ask() { printf '%s' "$request" | jq -r "$1"; }
current=$(cat system 2>/dev/null || true)
wanted=$(ask '.input.osVersionManagement.osVersion.imageUri // empty')
case $1 in
describe)
    jq -cn '{result: {name: "fleet", protocols: ["elemental.io/plugin/v1"], verbs: ["describe", "observe", "stage", "unstage", "confirm"], schema: {
        type: "object", additionalProperties: false, properties: {osVersion: {
            type: "object", description: "The system.", additionalProperties: false, required: ["imageUri"], properties: {
                imageUri: {type: "string", description: "Its image.", maxLength: 100},
                debug: {type: "boolean", description: "Whether it tells more."}}}}}}}'
    ;;
observe)
    verdict=satisfied
    if [ -n "$wanted" ] && [ "$wanted" != "$current" ]; then
        verdict=outdated
        [ "$(ask .host)" != edge-3 ] || [ -z "$current" ] || verdict=rolledBack
    fi
    jq -cn --arg verdict "$verdict" --arg current "$current" '{result: {verdict: $verdict, current: {version: $current}}}'
    ;;
stage)
    echo '{"progress": {"step": "Writing", "percent": 50}}'
    [ "$wanted" != oci://r/os:slow ] || sleep 60
    printf %s "$wanted" > system
    echo '{"result": {}}'
    ;;
*)
    echo '{"result": {}}'
    ;;
esac
`

// TestCommandLineUpgrade tells how an operator upgrades a site of six hosts, of which one can't be.
func TestCommandLineUpgrade(t *testing.T) {
	s := newClusterOnly(t)
	defer told(t, time.Now())
	st := newSite(t, s, 6)
	st.mustKubectl("label", "elementalhosts", "edge-1", "edge-2", "edge-3", "edge-4", "site=north")
	st.mustKubectl("label", "elementalhosts", "edge-5", "edge-6", "site=south")

	for _, chapter := range []struct {
		name string
		tell func(*site)
	}{
		{"a dry run changes nothing", dryRunChangesNothing},
		{"what the plugin does not know is not asked", schemaRefuses},
		{"hosts are selected by their labels", selects},
		{"all of them, two at a time", twoAtATime},
		{"it stops where one fails", stopsAtFailure},
		{"a host that serves a machine is not asked", servesMachine},
		{"whoever interrupts it leaves the request", interrupts},
		{"a terminal shows a table until the time is over", showsTable},
	} {
		if !t.Run(chapter.name, func(t *testing.T) {
			defer told(t, time.Now())
			chapter.tell(&site{&stage{T: t, setting: s, namespace: st.namespace}})
		}) {
			return // Each begins where the one before has ended.
		}
	}
}

// site is several hosts in one namespace.
type site struct{ *stage }

func newSite(t *testing.T, s *setting, size int) *site {
	t.Helper()
	plugin := filepath.Join(t.TempDir(), "fleet")
	install(t, plugin, fleetPlugin)
	st := &site{&stage{T: t, setting: s, namespace: s.newNamespace(t)}}
	var all sync.WaitGroup
	for i := range size {
		name := fmt.Sprintf("edge-%d", i+1)
		all.Go(func() {
			config, err := s.Register(t.Context(), st.namespace, name)
			if err != nil {
				t.Error(err)
				return
			}
			config.Plugin = plugin
			process, err := hosts.StartProcess(s.Binary, config)
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() {
				if t.Failed() {
					log := process.Log()
					t.Logf("%s said last:\n%s", name, log[max(0, len(log)-4000):])
				}
				process.Remove()
			})
			one := &stage{T: t, setting: s, namespace: st.namespace, name: name}
			one.await("it is ready, connected, and has published its schema", func(h host) bool {
				return h.ready() && h.condition("AgentConnected").Status == "True" && one.field("{.status.system.pluginSchema}") != ""
			})
		})
	}
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return st
}

// field is one field of the host.
func (s *stage) field(path string) string {
	out, err := s.kubectl("get", "elementalhost", s.name, "-o", "jsonpath="+path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(out)
}

// upgrade runs elemental upgrade with an exit code that must come, and returns what it says.
func (s *site) upgrade(input string, code int, args ...string) string {
	s.Helper()
	cmd := s.Command(s.Context(), append([]string{"upgrade", "--namespace", s.namespace}, args...)...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		s.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != code {
		s.Fatalf("elemental upgrade %s ends with %d, and should with %d:\n%s", strings.Join(args, " "), got, code, out)
	}
	s.Logf("elemental upgrade %s\n%s", strings.Join(args, " "), out)
	return string(out)
}

// asked is what the hosts are asked for, with anything else that changes when a host is written.
func (s *site) asked(more string) string {
	s.Helper()
	return s.mustKubectl("get", "elementalhosts", "-o", `jsonpath={range .items[*]}{.metadata.name} {.spec.osVersionManagement.osVersion.imageUri}`+more+`{"\n"}{end}`)
}

func dryRunChangesNothing(s *site) {
	before := s.asked(" {.metadata.resourceVersion}")
	out := s.upgrade("", 0, "host", "--all", "--image", "r/os:1", "--dry-run")
	s.contains("the dry run", out, "6 hosts\n", "/edge-1 would be asked for oci://r/os:1 (now nothing)\n", "6 would be asked, 0 would not change, 0 invalid, 0 refused; nothing was changed")
	if strings.Contains(out, "not checked") || strings.Contains(out, "not connected") {
		s.Fatalf("the hosts have published schemas, and are connected:\n%s", out)
	}
	out = s.upgrade("osVersion:\n  imageUrl: r/os:1\n", 4, "host", "edge-1", "-f", "-", "--dry-run=server")
	s.contains("the dry run", out, "invalid: osVersion.imageUrl: there is no such field; did you mean imageUri?")
	s.equal("what the hosts are asked for", s.asked(" {.metadata.resourceVersion}"), before)
}

func schemaRefuses(s *site) {
	before := s.asked(" {.metadata.generation}")
	out := s.upgrade("osVersion:\n  imageUrl: r/os:1\n", 4, "host", "edge-1", "edge-2", "-f", "-")
	s.contains("the refusal", out, "what 2 of 2 would be asked for is not valid", "/edge-2: osVersion.imageUrl: there is no such field; did you mean imageUri?", "--validate=false")
	s.contains("bad YAML", s.upgrade("osVersion:\n  imageUri: [\n", 2, "host", "edge-1", "-f", "-"), "reading the standard input: line ")
	s.contains("wrong usage", s.upgrade("", 2, "host", "--image", "r/os:1"), "say which hosts to ask")
	s.contains("nobody", s.upgrade("", 1, "host", "nobody", "edge-1", "--image", "r/os:1"), "nobody")
	s.contains("no labels", s.upgrade("", 1, "host", "-l", "site=west", "--image", "r/os:1"), "no host of this namespace has the labels site=west")
	s.equal("what the hosts are asked for", s.asked(" {.metadata.generation}"), before)
}

func selects(s *site) {
	out := s.upgrade("", 0, "host", "-l", "site=south", "--image", "r/os:1", "--wait", "--timeout", "1m")
	s.contains("the upgrade", out, "2 hosts\n", " edge-5 is asked for oci://r/os:1\n", " edge-6 is ready: ", "2 of 2 hosts run it\n")
	s.equal("what the hosts are asked for", s.asked(""), "edge-1 \nedge-2 \nedge-3 \nedge-4 \nedge-5 oci://r/os:1\nedge-6 oci://r/os:1\n")
}

func twoAtATime(s *site) {
	s.upgrade("", 0, "host", "-l", "site=north", "--image", "r/os:1", "--wait", "--timeout", "1m")
	out := s.upgrade("# the second\nosVersion:\n  imageUri: oci://r/os:2\n  debug: true\n", 4,
		"host", "--all", "-f", "-", "--parallel", "2", "--keep-going", "--timeout", "1m")
	s.contains("the upgrade", out, "5 run it, 1 failed: edge-3: RolledBack: ")
	most, open := 0, 0
	for line := range strings.Lines(out) {
		switch {
		case strings.Contains(line, " is asked for "):
			open++
		case strings.Contains(line, " is ready: "), strings.Contains(line, " edge-3 RolledBack: "):
			open--
		}
		most = max(most, open)
	}
	s.equal("how many were asked and not done at once", most, 2)
	for _, name := range []string{"edge-1", "edge-6"} {
		one := &stage{T: s.T, setting: s.setting, namespace: s.namespace, name: name}
		s.equal("what runs on "+name, one.field("{.status.osVersion.booted.version} {.spec.osVersionManagement.osVersion.debug}"), "oci://r/os:2 true")
	}
}

func stopsAtFailure(s *site) {
	out := s.upgrade("", 4, "host", "--all", "--image", "r/os:3", "--parallel", "1", "--timeout", "1m")
	s.contains("the upgrade", out, "2 run it, 1 failed: edge-3: RolledBack: ", ", 3 not asked: edge-4, edge-5, edge-6")
	s.contains("what the hosts are asked for", s.asked(""), "edge-3 oci://r/os:3\nedge-4 oci://r/os:2\nedge-5 oci://r/os:2\nedge-6 oci://r/os:2\n")
}

func servesMachine(s *site) {
	if err := s.Apply(s.Context(), fmt.Sprintf(
		`{"apiVersion":"infrastructure.cluster.x-k8s.io/v1beta1","kind":"ElementalMachine","metadata":{"name":"my-machine","namespace":%q},`+
			`"spec":{"hostRef":{"kind":"ElementalHost","name":"edge-6"},"osVersionManagement":{"osVersion":{"imageUri":"oci://r/os:2"}}}}`, s.namespace)); err != nil {
		s.Fatal(err)
	}
	s.mustKubectl("label", "elementalhost", "edge-6", "elementalhost.infrastructure.cluster.x-k8s.io/elemental-machine-name=my-machine")
	out := s.upgrade("", 3, "host", "edge-5", "edge-6", "--image", "r/os:4")
	s.contains("the refusal", out, "edge-6 serves the machine my-machine", "elemental upgrade machine -n "+s.namespace+" my-machine --image oci://r/os:4")
	s.contains("what the hosts are asked for", s.asked(""), "edge-5 oci://r/os:2\nedge-6 oci://r/os:2\n")
	s.contains("the dry run", s.upgrade("", 0, "machine", "--all", "--image", "r/os:4", "--dry-run"), "machine "+s.namespace+"/my-machine would be asked for oci://r/os:4 (now oci://r/os:2)")
	out = s.upgrade("", 0, "machine", "my-machine", "--image", "r/os:4", "--wait", "--timeout", "1m")
	s.contains("the upgrade", out, "/my-machine is asked for oci://r/os:4\n", "/my-machine is ready: ")
	s.contains("what the hosts are asked for", s.asked(""), "edge-6 oci://r/os:4\n")
}

func interrupts(s *site) {
	cmd := s.Command(s.Context(), "upgrade", "host", "edge-4", "edge-5", "-n", s.namespace, "--image", "r/os:slow", "--parallel", "1")
	words, err := cmd.StdoutPipe()
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		s.Fatal(err)
	}
	for lines := bufio.NewScanner(words); lines.Scan(); {
		if strings.Contains(lines.Text(), " Writing") {
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				s.Fatal(err)
			}
			break
		}
	}
	_, _ = io.Copy(io.Discard, words) // What it says is said on the other stream.
	_ = cmd.Wait()                    // The state says it all.
	s.equal("the exit code of the interrupted", cmd.ProcessState.ExitCode(), 130)
	s.contains("the end", errs.String(), "interrupted: 0 run it, 1 goes on by itself: edge-4, 1 not asked: edge-5")
	s.contains("what the hosts are asked for", s.asked(""), "edge-4 oci://r/os:slow\nedge-5 oci://r/os:2\n")
}

func showsTable(s *site) {
	// Host edge-4 has been at it since the chapter before.
	line := fmt.Sprintf("stty cols 70 rows 6; exec %s upgrade host edge-1 edge-4 -n %s --image r/os:slow --wait --timeout 2s", s.Binary, s.namespace)
	cmd := exec.CommandContext(s.Context(), "script", "--quiet", "--return", "--flush", "--command", line, "/dev/null")
	cmd.Env = append(os.Environ(), "KUBECONFIG="+s.Cluster.AdminKubeconfig(), "TERM=xterm")
	text, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		s.Fatal(err)
	}
	s.Logf("%q", text)
	s.equal("the exit code", cmd.ProcessState.ExitCode(), 124)
	s.contains("the screen", string(text), "\033[?25l", "\r\033[3A", "0 of 2 run it, 2 under way", "edge-4  Running  Writing [#####-----]  50%")
	_, last, _ := strings.Cut(string(text), "\033[J\033[?25h") // The table is taken away, and the cursor comes back.
	s.contains("what stays", last, "not done after 2s: 0 run it, 2 go on by themselves: edge-1, edge-4")
}
