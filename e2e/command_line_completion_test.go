package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestCommandLineCompletion presses the tabulator in real shells, with a real API server behind them.
func TestCommandLineCompletion(t *testing.T) {
	s := newClusterOnly(t)
	defer told(t, time.Now())
	d := newDesk(t, s)
	for _, name := range []string{"edge-1", "edge-2"} {
		if _, err := s.Register(t.Context(), "default", name); err != nil {
			t.Fatal(err)
		}
	}
	packaged, err := filepath.Abs(filepath.Join(s.Checkout, "packaging", "completion", "kubectl_complete-elemental"))
	if err == nil {
		err = os.Symlink(packaged, filepath.Join(d.home, "bin", "kubectl_complete-elemental"))
	}
	if err == nil {
		err = os.Symlink(filepath.Join(s.Tools, "kubectl"), filepath.Join(d.home, "bin", "kubectl"))
	}
	if err != nil {
		t.Fatal(err)
	}
	st := &stage{T: t, setting: s, namespace: "default"}
	const bash = `source <(elemental completion bash)
COMP_LINE='elemental upgrade host -n default ' COMP_POINT=34 COMP_TYPE=9 COMP_CWORD=5
COMP_WORDS=(elemental upgrade host -n default '')
_elemental; printf '%s\n' "${COMPREPLY[@]%% *}"`
	st.equal("what bash offers", d.says(t, "bash", "--norc", "-c", bash), "edge-1\nedge-2\n")
	if hasShell(t, "fish") {
		out := d.says(t, "fish", "--no-config", "-c", `elemental completion fish | source; complete -C 'elemental host describe edge-'`)
		st.equal("what fish offers", firstWords(out), "edge-1 edge-2")
	}
	out := d.says(t, "kubectl", "__complete", "elemental", "retry", "edge-1", "")
	st.contains("what kubectl offers", out, "edge-2\n")
	if strings.Contains(out, "edge-1") {
		t.Fatalf("edge-1 stands on the line already:\n%s", out)
	}
	st.contains("the help of the plugin", d.says(t, "kubectl", "elemental", "hosts", "--help"), "    kubectl elemental hosts ")
	st.contains("the hosts, through kubectl", d.says(t, "kubectl", "elemental", "--namespace=default", "hosts"), "edge-1", "edge-2")

	// Nobody waits for a cluster that is away, or is told of it.
	s.Cluster.StopAPIServer()
	begun := time.Now()
	st.equal("what is offered without a cluster", d.says(t, "elemental", "__complete", "upgrade", "host", ""), ":4\n")
	if took := time.Since(begun); took > 4*time.Second {
		t.Fatalf("the shell was kept for %s", took)
	}
	st.equal("what is offered of the program itself", firstWords(d.says(t, "elemental", "__complete", "upgrade", "h")), ":4 host")
}

// hasShell says whether a shell is installed. Where all must be told, it must be.
func hasShell(t *testing.T, name string) bool {
	t.Helper()
	_, err := exec.LookPath(name)
	if err != nil && os.Getuid() == 0 && os.Getenv("CI") != "" {
		t.Fatal(err)
	}
	return err == nil
}

// says runs a program at the desk.
func (d *desk) says(t *testing.T, program string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd, _ := d.command(ctx, "bash", "")
	cmd.Args = append([]string{program}, args...)
	path := filepath.Join(d.home, "bin", program)
	if _, err := os.Stat(path); err != nil {
		if path, err = exec.LookPath(program); err != nil {
			t.Fatal(err)
		}
	}
	cmd.Path, cmd.Stdout, cmd.Stderr = path, nil, nil
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func firstWords(out string) string {
	var words []string
	for line := range strings.Lines(out) {
		word, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
		words = append(words, word)
	}
	slices.Sort(words)
	return strings.Join(words, " ")
}
