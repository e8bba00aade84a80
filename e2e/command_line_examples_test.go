package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"elemental/e2e/hosts"
)

// TestCommandLineExamples runs every example of the manual as it is written, in a world that has what it names.
func TestCommandLineExamples(t *testing.T) {
	onHost := os.Getuid() == 0 && hosts.Missing() == nil
	var s *setting
	if onHost {
		s = newSetting(t)
	} else {
		s = newClusterOnly(t)
	}
	d := newDesk(t, s)
	lines := examplesOf(t, s.Checkout)
	t.Run("without a cluster", func(t *testing.T) {
		t.Parallel()
		defer told(t, time.Now())
		for _, line := range lines {
			if needs(line) == "" {
				t.Run(line, func(t *testing.T) { d.runs(t, line) })
			}
		}
	})
	t.Run("with a cluster and hosts", func(t *testing.T) {
		t.Parallel()
		defer told(t, time.Now())
		var machine *stage
		var all sync.WaitGroup
		if onHost {
			all.Go(func() { machine = s.withMachine(t) })
		}
		d.prepare(t)
		all.Wait()
		for _, line := range lines {
			switch needs(line) {
			case "a cluster":
				t.Run(line, func(t *testing.T) { d.runs(t, line) })
			case "to be ended":
				t.Run(line, func(t *testing.T) { d.runsController(t, line) })
			case "a host":
				t.Run(line, func(t *testing.T) {
					if !onHost {
						t.Skip("only root can start a machine to run it on")
					}
					runsOnHost(t, s, machine, line)
				})
			}
		}
	})
}

// needs says what a line runs with; nothing for what asks no cluster.
func needs(line string) string {
	switch words := strings.Fields(line); words[1] {
	case "plugin", "version", "options", "help", "completion":
		return ""
	case "controller":
		return "to be ended"
	case "agent", "os":
		return "a host"
	default:
		if words[0] == "source" {
			return ""
		}
		return "a cluster"
	}
}

// examplesOf are the lines that the manual shows.
func examplesOf(t *testing.T, checkout string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(checkout, "docs", "commands.md"))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for i, part := range strings.Split(string(text), "```") {
		if shown, of := strings.CutPrefix(part, "sh\n"); of && i%2 == 1 {
			for line := range strings.Lines(shown) {
				if line = strings.TrimSpace(line); !strings.HasPrefix(line, "#") {
					lines = append(lines, line)
				}
			}
		}
	}
	if len(lines) < 20 {
		t.Fatalf("docs/commands.md shows %d examples, and there are more commands than that", len(lines))
	}
	return lines
}

// desk is an operator's: a home with a kubeconfig, and a folder with the files that the examples name.
type desk struct {
	*setting
	home string
}

func newDesk(t *testing.T, s *setting) *desk {
	t.Helper()
	d := &desk{setting: s, home: t.TempDir()}
	for _, folder := range []string{".kube", "bin", ".config/fish/completions"} {
		if err := os.MkdirAll(filepath.Join(d.home, folder), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	admin, err := os.ReadFile(s.Cluster.AdminKubeconfig())
	if err == nil {
		err = os.WriteFile(filepath.Join(d.home, ".kube", "config"), admin, 0o600)
	}
	for name, text := range map[string]string{
		"os-version.yaml": "packages: [chrony]\n", "request.json": `{"motd":"hello"}`,
	} {
		if err == nil {
			err = os.WriteFile(filepath.Join(d.home, name), []byte(text), 0o600)
		}
	}
	for _, name := range []string{"elemental", "kubectl-elemental"} {
		if err == nil {
			err = os.Symlink(s.Binary, filepath.Join(d.home, "bin", name))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	install(t, filepath.Join(d.home, "my-plugin"), documentedPlugin(t, s.Checkout))
	return d
}

// prepare makes the hosts and the machine that the examples name.
func (d *desk) prepare(t *testing.T) {
	t.Helper()
	var all sync.WaitGroup
	for _, name := range []string{"my-elemental-host", "my-other-host", "my-machines-host"} {
		all.Go(func() {
			config, err := d.Register(t.Context(), "default", name)
			if err != nil {
				t.Error(err)
				return
			}
			process, err := hosts.StartProcess(d.Binary, config)
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(process.Remove)
			(&stage{T: t, setting: d.setting, namespace: "default", name: name, process: process}).await("it is ready", host.ready)
		})
	}
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
	for _, args := range [][]string{
		{"label", "elementalhosts", "my-elemental-host", "my-other-host", "site=north"},
		{"label", "elementalhost", "my-machines-host", "elementalhost.infrastructure.cluster.x-k8s.io/elemental-machine-name=my-machine"},
		{"create", "namespace", "my-namespace"},
	} {
		if _, err := d.Cluster.Kubectl(t.Context(), args...); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Apply(t.Context(), `{"apiVersion":"infrastructure.cluster.x-k8s.io/v1beta1","kind":"ElementalMachine",`+
		`"metadata":{"name":"my-machine","namespace":"default"},"spec":{"hostRef":{"kind":"ElementalHost","name":"my-machines-host"}}}`); err != nil {
		t.Fatal(err)
	}
	d.openDoor(t)
}

// openDoor makes the registration that the examples name, and hosts that ask to join by the keys that they name.
func (d *desk) openDoor(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	_, err := d.Cluster.Kubectl(ctx, "apply", "-n", "default", "-k", filepath.Join(d.Checkout, "packaging", "rbac", "hosts"))
	if err == nil {
		err = d.Apply(ctx, `{"apiVersion":"infrastructure.cluster.x-k8s.io/v1beta1","kind":"ElementalRegistration",`+
			`"metadata":{"name":"my-registration","namespace":"default"},"spec":{"approval":"Manual"}}`)
	}
	if err == nil {
		_, err = d.Cluster.Kubectl(ctx, "wait", "-n", "default", "--for=condition=ready", "--timeout=60s", "elementalregistration/my-registration")
	}
	if err == nil {
		err = d.Apply(ctx, `{"apiVersion":"infrastructure.cluster.x-k8s.io/v1beta1","kind":"ElementalHost","metadata":{"name":"my-lost-host","namespace":"default"}}`)
	}
	// Nobody finds a key whose hash begins as one of a document, so the controller refuses them; an operator may rule all the same.
	for _, beginning := range []string{"3b5c1f02", "9f86d081", "e3b0c442"} {
		if err == nil {
			err = d.Apply(ctx, fmt.Sprintf(`{"apiVersion":"infrastructure.cluster.x-k8s.io/v1beta1","kind":"ElementalHostRequest",`+
				`"metadata":{"name":%q,"namespace":"default"},"spec":{"registration":"my-registration","publicKey":%q}}`,
				beginning+strings.Repeat("0", 56), base64.StdEncoding.EncodeToString(make([]byte, 32))))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// command is a line in the operator's shell.
func (d *desk) command(ctx context.Context, shell, line string) (*exec.Cmd, *bytes.Buffer) {
	flags := map[string][]string{"bash": {"--norc", "-c"}, "zsh": {"-f", "-c"}}[shell]
	cmd := exec.CommandContext(ctx, shell, append(flags, line)...)
	cmd.Dir = d.home
	cmd.Env = []string{"HOME=" + d.home, "PATH=" + filepath.Join(d.home, "bin") + ":" + os.Getenv("PATH"), "LC_ALL=C.UTF-8"}
	// All that the line has started ends with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	return cmd, &out
}

func (d *desk) runs(t *testing.T, line string) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	shell := "bash"
	if strings.Contains(line, "completion zsh") {
		if !hasShell(t, "zsh") {
			t.Skip("zsh is not installed")
		}
		shell, line = "zsh", "autoload -Uz compinit; compinit -u -D; "+line+"; whence -w _elemental"
	}
	if strings.Contains(line, " --watch") {
		line = "timeout --preserve-status -s INT 2 " + line // It goes on until it is told to end.
	}
	cmd, out := d.command(ctx, shell, line)
	err := cmd.Run()
	t.Logf("%s", out)
	if code := cmd.ProcessState.ExitCode(); err != nil && (code != 130 || !strings.Contains(line, " --watch")) {
		t.Fatalf("it ended with %d: %v", code, err)
	}
	if out.Len() == 0 && !strings.Contains(line, ">") && !strings.HasPrefix(line, "source") {
		t.Fatal("it said nothing")
	}
}

// runsController starts it until it is ready, and tells it to end.
func (d *desk) runsController(t *testing.T, line string) {
	address := "127.0.0.1:8081"
	if _, after, given := strings.Cut(line, "--health-probe-bind-address "); given {
		address, _, _ = strings.Cut(after, " ")
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd, out := d.command(ctx, "bash", "exec "+line)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for ready := false; !ready; {
		select {
		case err := <-ended:
			t.Fatalf("it ended before it was ready: %v\n%s", err, out)
		case <-time.After(50 * time.Millisecond):
		}
		if answer, err := http.Get("http://" + address + "/readyz"); err == nil {
			ready = answer.StatusCode == http.StatusOK
			_ = answer.Body.Close()
		}
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if err := <-ended; err != nil {
		t.Fatalf("told to end, it ended with %v\n%s", err, out)
	}
}

// runsOnHost runs a line on a machine, with the system that it names being one that there is.
func runsOnHost(t *testing.T, s *setting, machine *stage, line string) {
	st := &stage{T: t, setting: s, namespace: machine.namespace, name: machine.name, machine: machine.machine}
	run := func(line string) {
		t.Helper()
		out, err := st.machine.Exec(t.Context(), "sh", "-c", line)
		t.Log(out)
		if err != nil {
			t.Fatal(err)
		}
	}
	switch {
	case strings.HasPrefix(line, "elemental agent reset"): // The host is needed by others; it says what it would do.
		out, err := st.machine.Exec(t.Context(), "sh", "-c", "echo no | "+strings.TrimSuffix(line, " --yes"))
		if err == nil || !strings.Contains(err.Error(), "nothing was done") {
			t.Fatalf("it was not asked, or did something: %v\n%s", err, out)
		}
	case strings.HasPrefix(line, "elemental agent register"), strings.HasPrefix(line, "elemental agent install"):
		run("systemctl stop elemental-agent; " + line)
	case strings.HasPrefix(line, "elemental agent"):
		run(fmt.Sprintf("systemctl stop elemental-agent; rm -f /run/elemental/connected; %s & pid=$!; "+
			"until [ -e /run/elemental/connected ]; do kill -0 $pid || exit 1; sleep 0.1; done; kill $pid; wait $pid", line))
	case strings.HasPrefix(line, "elemental os install"):
		run("mkdir -p /var/tmp/disk && " + strings.NewReplacer("oci://my-registry/my-image:v2", s.v2.Reference,
			"/mnt/disk", "/var/tmp/disk", " agent.yaml", " /etc/elemental/agent.yaml").Replace(line) + " && rm -r /var/tmp/disk")
	case strings.HasPrefix(line, "elemental os upgrade"):
		run("systemctl stop elemental-agent")
		run(strings.ReplaceAll(line, "oci://my-registry/my-image:v2", s.v2.Reference))
		run("systemctl reboot")
		if err := st.machine.WaitBooted(t.Context(), hosts.DeploymentID(s.v2.Digest)); err != nil {
			t.Fatal(err)
		}
		st.await("v2 is confirmed", func(h host) bool {
			return h.Status.OSVersion.Booted.Digest == s.v2.Digest && h.answered("NothingRequested")
		})
	default:
		run(line)
	}
}
