package e2e

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"elemental/e2e/hosts"
	"elemental/e2e/lab"
)

// TestCommandLineJoining tells how an operator lets hosts in and shuts them out, with nothing but the command line.
func TestCommandLineJoining(t *testing.T) {
	defer told(t, time.Now())
	s := newSettingLike(t, func(l *lab.Lab) { l.ControllerManager = true })
	g := &door{s.newGate(t, `{"approval":"Manual","config":{"elemental":{"agent":{"osPlugin":"dummy","debug":true,"hostname":{"prefix":"edge-"}}}}}`)}
	first := g.join()
	waiting := g.asking(1)[0]
	g.has(g.says("requests"), waiting[:8], "WaitingForApproval", "field")
	g.has(g.says("approve", waiting[:8], "--reason", "the new one in rack 7"), "is approved")
	g.eventually("it is a host", func() bool { return len(g.names("elementalhosts")) == 1 })
	g.kubectl("wait", "--for=condition=ready", "--timeout=60s", "elementalhosts", "--all")
	host := g.names("elementalhosts")[0]
	g.eventually("its request has served", func() bool { return len(g.names("elementalhostrequests")) == 0 })

	// One with a new key takes the place of the first, whose token then dies.
	old := first.token()
	first.process.Remove()
	second := g.join()
	waiting = g.asking(1)[0]
	g.has(g.fails("deny", "nothing-like-it"), "no request of this namespace begins with")
	g.has(g.says("deny", waiting[:8]), "is denied")
	g.eventually("it is denied", func() bool { return strings.Contains(second.process.Log(), "Denied") })
	g.has(g.fails("approve", waiting[:8], "--replaces", "nobody"), "nobody")
	g.has(g.says("approve", waiting[:8], "--replaces", host), "takes the place of host "+host)
	g.eventually("it is that host", func() bool { return second.token() != "" })
	if found := g.names("elementalhosts"); len(found) != 1 || found[0] != host {
		t.Errorf("it did not take the place of %s: there are %s", host, found)
	}
	g.dies("the token of the one that was replaced", old)
	g.kubectl("wait", "--for=condition=ready", "--timeout=60s", "elementalhosts", "--all")
	g.eventually("its request has served", func() bool { return len(g.names("elementalhostrequests")) == 0 })

	// One that is revoked is no one, until it is let in again.
	old = second.token()
	g.has(g.says("hosts", "revoke", host, "--reason", "stolen"), "its tokens are dead", "elemental approve")
	g.dies("the token of the one that was revoked", old)
	waiting = g.asking(1)[0]
	g.eventually("it waits", func() bool { return strings.Contains(g.says("requests"), "Revoked") })
	g.has(g.says("approve", waiting[:8]), "is approved")
	g.eventually("it has another token", func() bool { now := second.token(); return now != "" && now != old })
	g.kubectl("wait", "--for=condition=ready", "--timeout=60s", "elementalhost/"+host)
}

// door is a gate whose operator has the command line alone.
type door struct{ *gate }

// run runs elemental as an operator, and returns what it says, and how it ended.
func (d *door) run(args ...string) (string, error) {
	d.Helper()
	cmd := exec.CommandContext(d.Context(), d.Binary, append(args, "-n", d.namespace, "--kubeconfig", d.Cluster.AdminKubeconfig())...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String() + errs.String(), fmt.Errorf("elemental %s: %w: %s", strings.Join(args, " "), err, errs.String())
	}
	return out.String(), nil
}

func (d *door) says(args ...string) string {
	d.Helper()
	out, err := d.run(args...)
	if err != nil {
		d.Fatal(err)
	}
	return out
}

func (d *door) fails(args ...string) string {
	d.Helper()
	out, err := d.run(args...)
	if err == nil {
		d.Fatalf("elemental %s did not fail: %s", strings.Join(args, " "), out)
	}
	return out
}

func (d *door) has(text string, words ...string) {
	d.Helper()
	for _, word := range words {
		if !strings.Contains(text, word) {
			d.Fatalf("it does not say %q: %s", word, text)
		}
	}
}

// asking returns the requests that wait, once there are so many.
func (d *door) asking(many int) (names []string) {
	d.Helper()
	d.eventually(fmt.Sprintf("%d ask to join", many), func() bool {
		names = d.names("elementalhostrequests")
		return len(names) == many
	})
	return names
}

// guest is a host that was given what the command line printed, and nothing else.
type guest struct {
	*testing.T
	process *hosts.Process
	workDir string
}

// join starts one. Those of one machine need folders of their own.
func (d *door) join() guest {
	d.Helper()
	workDir := d.TempDir()
	d.kubectl("patch", "elementalregistration", "field", "--type=merge", "-p", fmt.Sprintf(`{"spec":{"config":{"elemental":{"agent":{"workDir":%q}}}}}`, workDir))
	d.kubectl("wait", "--for=condition=ready", "--timeout=60s", "elementalregistration/field")
	printed := d.says("registration", "config", "field")
	d.has(printed, "# It holds a secret", "workDir: "+workDir)
	return guest{d.T, d.start(hosts.Config{Host: "guest", Printed: printed}), workDir}
}

// token is the one that the host has for itself; empty: none yet.
func (g guest) token() string {
	g.Helper()
	text, err := os.ReadFile(filepath.Join(g.workDir, "identity", "credentials.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	var kept struct{ Credentials struct{ Token string } }
	if err == nil {
		err = json.Unmarshal(text, &kept)
	}
	if err != nil {
		g.Fatal(err)
	}
	return kept.Credentials.Token
}

// dies waits until the cluster does not know a token any more.
func (d *door) dies(what, token string) {
	d.Helper()
	if token == "" {
		d.Fatalf("%s was never there", what)
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(d.Cluster.CA())
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted}}}
	defer client.CloseIdleConnections()
	d.eventually(what+" is dead", func() bool {
		request, err := http.NewRequestWithContext(d.Context(), http.MethodGet, d.Cluster.URL()+"/api", nil)
		if err != nil {
			d.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+token)
		answer, err := client.Do(request)
		if err != nil {
			return false
		}
		_ = answer.Body.Close()
		return answer.StatusCode == http.StatusUnauthorized
	})
}
