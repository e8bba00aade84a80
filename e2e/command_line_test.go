package e2e

import (
	"bufio"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"elemental/e2e/hosts"
	"elemental/e2e/lab"
)

// picky is a plugin that does what is asked of it only while its host allows it.
const picky = `#!/bin/sh
case "$1" in
describe) echo '{"result":{"name":"picky","protocols":["elemental.io/plugin/v1"],"verbs":["observe","stage","unstage","confirm"]}}';;
observe)
	want=$(grep -o '"hash":"[^"]*"')
	if [ -z "$want" ] || [ "$want" = "$(cat done 2>/dev/null)" ]; then
		echo '{"result":{"verdict":"satisfied","current":{"version":"v2"}}}'
	else
		echo '{"result":{"verdict":"outdated","current":{"version":"v1"}}}'
	fi;;
stage)
	want=$(grep -o '"hash":"[^"]*"')
	if [ -e allowed ]; then
		echo "$want" > done
		echo '{"result":{}}'
	else
		echo '{"error":{"class":"invalid","reason":"PolicyDenied","path":"osVersion","message":"this host allows no updates yet"}}'
	fi;;
*) echo '{"result":{}}';;
esac
`

// TestCommandLineHosts tells how the command line shows hosts, beside kubectl, and has one try again.
func TestCommandLineHosts(t *testing.T) {
	if testing.Short() {
		t.Skip("it needs a control plane")
	}
	l, err := lab.Prepare(t.Context(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Stop)
	if err := errors.Join(l.StartCluster(t.Context()), l.StartController(t.Context())); err != nil {
		t.Fatal(err)
	}
	s := &setting{Lab: l}
	st := &stage{T: t, setting: s, namespace: s.newNamespace(t), name: "my-elemental-host"}
	config, err := s.Register(t.Context(), st.namespace, st.name)
	config.Plugin = filepath.Join(t.TempDir(), "picky")
	if err := errors.Join(err, os.WriteFile(config.Plugin, []byte(picky), 0o755)); err != nil {
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
	for _, name := range []string{"another", "third"} {
		if _, err := s.Register(t.Context(), st.namespace, name); err != nil {
			t.Fatal(err)
		}
	}
	st.await("it is ready", host.ready)
	for _, name := range []string{"another", "third"} {
		st.mustKubectl("wait", "--for=condition=ready=false", "elementalhost", name, "--timeout="+patience.String())
	}
	shownLikeKubectl(st)
	describedReady(st)
	watched(st)
	deniedAndRetried(st)
}

// must runs the command line in the story's namespace, and wants it to end with 0.
func (s *stage) must(args ...string) string {
	s.Helper()
	out, code := s.elemental(append(args, "--namespace", s.namespace)...)
	if code != 0 {
		s.Fatalf("elemental %s ends with %d and says:\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

// shownLikeKubectl compares hosts in every form with kubectl's own. The hosts at rest are those that no agent serves.
func shownLikeKubectl(s *stage) {
	s.Helper()
	s.equal("the names", s.must("hosts", "-o", "name"), s.mustKubectl("get", "elementalhosts", "-o", "name"))
	s.equal("the name of one", s.must("hosts", s.name, "-o", "name"), s.mustKubectl("get", "elementalhost", s.name, "-o", "name"))
	for _, form := range []string{"json", "yaml"} {
		for _, selected := range [][]string{{s.name}, {"another", "third"}, {"--field-selector", "metadata.name!=" + s.name}, {"-l", "no=such"}, nil} {
			s.shownAlike(append(selected, "-o", form))
		}
	}
	table := s.must("hosts", "--sort-by", "ready")
	lines := strings.Split(strings.TrimSpace(table), "\n")
	if len(lines) != 4 || !strings.HasPrefix(lines[0], "NAME") || !strings.HasPrefix(lines[3], s.name) || !strings.Contains(lines[3], "True") {
		s.Fatalf("the table is:\n%s", table)
	}
	if wide := s.must("hosts", "-o", "wide"); !strings.Contains(wide, "PLUGIN") || !strings.Contains(wide, "picky") {
		s.Fatalf("the wide table is:\n%s", wide)
	}
}

// shownAlike compares what both show, until both have seen the same. kubectl breaks the lines of long texts.
func (s *stage) shownAlike(args []string) {
	s.Helper()
	var ours, theirs string
	for until := time.Now().Add(20 * time.Second); time.Now().Before(until); {
		ours = s.must(append([]string{"hosts"}, args...)...)
		theirs = s.mustKubectl(append([]string{"get", "elementalhosts"}, args...)...)
		if strings.Join(strings.Fields(ours), " ") == strings.Join(strings.Fields(theirs), " ") {
			return
		}
	}
	s.Fatalf("elemental hosts %s shows\n%s\nand kubectl\n%s", strings.Join(args, " "), ours, theirs)
}

func describedReady(s *stage) {
	s.Helper()
	page := s.must("host", "describe", s.name)
	for _, part := range []string{"ready: what is asked for runs", "Plugin", "picky\n", "Nothing         the host keeps what it runs", "AgentConnected", "Nothing."} {
		if !strings.Contains(page, part) {
			s.Fatalf("the page of a host that is ready lacks %q:\n%s", part, page)
		}
	}
	page = s.must("host", "describe", "another")
	if !strings.Contains(page, "systemctl status elemental-agent") {
		s.Fatalf("the page of a host that was never seen does not say what to do:\n%s", page)
	}
}

// watched follows the hosts until someone types control-C, as kubectl does.
func watched(s *stage) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	cmd := s.Command(ctx, "hosts", "--watch", "--namespace", s.namespace)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		s.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for range 4 {
		if !lines.Scan() {
			s.Fatalf("the watch ended early: %v", cmd.Wait())
		}
	}
	s.mustKubectl("label", "elementalhost", "third", "no=column")
	s.mustKubectl("delete", "elementalhost", "third")
	for lines.Scan() && !strings.Contains(lines.Text(), "Deleted") {
		if !strings.HasPrefix(lines.Text(), "third") {
			s.Fatalf("a row is shown that did not change: %s", lines.Text())
		}
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		s.Fatal(err)
	}
	err = cmd.Wait()
	s.equal("the status of a watch that was interrupted", cmd.ProcessState.ExitCode(), 130)
	if err == nil || ctx.Err() != nil {
		s.Fatalf("the watch ended by itself: %v", ctx.Err())
	}
}

func deniedAndRetried(s *stage) {
	s.Helper()
	if out, code := s.elemental("retry", s.name, "--namespace", s.namespace); code != 0 || !strings.Contains(out, "has nothing to retry") {
		s.Fatalf("to retry a host that is ready ends with %d and says:\n%s", code, out)
	}
	s.patch(`{"osVersion":{"v":2}}`)
	s.await("the host refuses it", func(h host) bool { return h.answered("PolicyDenied") && h.condition("Ready").Reason == "PolicyDenied" })
	page := s.must("hosts", "describe", s.name)
	for _, part := range []string{
		"failed: its own policy denies what is asked", "this host allows no updates yet", "invalid, PolicyDenied, osVersion", "v: 2",
		"elemental retry " + s.name + " -n " + s.namespace,
	} {
		if !strings.Contains(page, part) {
			s.Fatalf("the page of a host that failed lacks %q:\n%s", part, page)
		}
	}
	out, code := s.elemental("retry", s.name, "--wait", "--timeout", patience.String(), "--namespace", s.namespace)
	if code != 4 || !strings.Contains(out, "is asked to try again") || !strings.Contains(out, "PolicyDenied") {
		s.Fatalf("a retry in vain ends with %d and says:\n%s", code, out)
	}
	if err := os.WriteFile(filepath.Join(s.process.WorkDir(), "plugins", "picky", "allowed"), nil, 0o600); err != nil {
		s.Fatal(err)
	}
	out = s.must("retry", s.name, "--wait", "--timeout", patience.String())
	if !strings.Contains(out, "is asked to try again") || !strings.Contains(out, "is ready") {
		s.Fatalf("a retry says:\n%s", out)
	}
	h, err := s.host()
	if err != nil || !h.ready() {
		s.Fatalf("the host is not ready after its retry: %v %v", h, err)
	}
}
