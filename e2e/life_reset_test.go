package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"elemental/e2e/hosts"
	"elemental/e2e/lab"
	"elemental/e2e/registry"
)

// TestLifeReset tells how hosts become fresh again.
func TestLifeReset(t *testing.T) {
	t.Parallel()
	// What a deleted host owned goes with it: that is the work of the cluster's garbage collector.
	s := newSettingLike(t, func(l *lab.Lab) { l.ControllerManager = true })
	t.Run("a host that is asked to", func(t *testing.T) { resetAsked(t, s) })
	t.Run("a host that is deleted three times", func(t *testing.T) { resetDeleted(t, s) })
}

const needsReset = "elementalhost.infrastructure.cluster.x-k8s.io/needs-reset"

// former are what a life leaves on a host.
const former = `set -e
mkdir -p /var/lib/former /home/someone /root/.ssh /etc/former
for f in /var/lib/former/data /home/someone/letter /root/.ssh/authorized_keys /etc/former/secret /etc/cron.d/former; do
  mkdir -p $(dirname $f); echo former > $f
done
echo "former:x:4242:4242::/home/former:/bin/sh" >> /etc/passwd
`

// leftovers are what a reset must not leave, and does not.
const leftovers = `for f in /var/lib/former /home/someone /root/.ssh/authorized_keys /etc/former /etc/cron.d/former; do [ -e $f ] && echo $f; done
grep former /etc/passwd
ls /elemental/reset /elemental/staging 2>/dev/null | grep -v -e ':$' -e '^$' -e '^reset.json$'
true`

// checkFresh looks at a host that was reset.
func checkFresh(st *stage) {
	st.Helper()
	out, err := st.machine.Exec(st.Context(), "sh", "-c", leftovers)
	if err != nil {
		st.Fatal(err)
	}
	st.equal("what is left of the former life", strings.TrimSpace(out), "")
}

// says is what a line of the shell says on the machine.
func (s *stage) says(line string) string {
	s.Helper()
	return strings.TrimSpace(s.exec(line))
}

// resetAsked resets a host that was given its identity by hand, and that has a system to fall back to and another staged.
func resetAsked(t *testing.T, s *setting) {
	st := s.withMachine(t)
	st.ask(s.v2.Reference)
	st.waitReady()
	st.equal("what runs", st.runs(), "v2")
	st.mustKubectl("patch", "elementalhost", st.name, "-p", `{"spec":{"osVersionManagement":null}}`, "--type=merge")
	st.waitReady()
	st.says(former)
	kubeconfig := st.says("sha256sum /etc/elemental/kubeconfig; stat -c '%a %u' /etc/elemental/kubeconfig")
	const shape = "stat -c '%a %u:%g %n' / /etc /etc/hostname /etc/systemd /var /var/lib /var/log /var/tmp /home /root"
	name, modes, boots := st.says("hostname"), st.says(shape), len(st.machine.Boots())

	began := time.Now()
	st.mustKubectl("label", "elementalhost", st.name, needsReset+"=true")
	st.await("it was reset", func(h host) bool {
		return h.Metadata.Labels[needsReset] == "" && h.condition("ResetReady").Status == "True"
	})
	t.Logf("a reset took %s", time.Since(began).Round(100*time.Millisecond))
	st.equal("the number of restarts", len(st.machine.Boots())-boots, 1)
	checkFresh(st)
	st.equal("what runs", st.runs(), "v2")
	st.equal("the kubeconfig", st.says("sha256sum /etc/elemental/kubeconfig; stat -c '%a %u' /etc/elemental/kubeconfig"), kubeconfig)
	st.equal("the host's own name", st.says("hostname"), name)
	st.equal("the shape of its folders", st.says(shape), modes)
	st.equal("the deployments", st.says("ls /elemental/deployments | wc -l"), "1")
	st.equal("the boot entries", st.says("ls /boot/loader/entries | wc -l"), "1")
	st.contains("the status", st.says("elemental os status"), "booted")

	// It is a host like any other.
	st.waitReady()
	boots = len(st.machine.Boots())
	st.ask(s.v1.Reference)
	st.waitReady()
	st.equal("what runs", st.runs(), "v1")
	st.equal("the number of restarts", len(st.machine.Boots())-boots, 1)

	// And may be reset again, by hand on the host; its agent restarts it.
	st.mustKubectl("patch", "elementalhost", st.name, "-p", `{"spec":{"osVersionManagement":null}}`, "--type=merge")
	st.waitReady()
	st.says(former + "mkdir -p /var/lib/precious && echo precious > /var/lib/precious/data")
	boots = len(st.machine.Boots())
	st.says("systemctl stop elemental-agent && elemental os reset --yes --keep /var/lib/precious")
	st.contains("the status", st.says("elemental os status"), "A reset is under way: the next restart")
	st.says("systemctl start elemental-agent")
	st.await("it has restarted", func(host) bool { return len(st.machine.Boots()) == boots+1 })
	st.await("it was reset", func(h host) bool { return h.condition("ResetReady").Status == "True" && h.ready() })
	checkFresh(st)
	st.equal("what was kept", st.says("cat /var/lib/precious/data"), "precious")
	st.equal("the number of restarts", len(st.machine.Boots())-boots, 1)
}

// possessions are the kinds of objects that a host may leave behind.
const possessions = "elementalhosts,elementalhostrequests,serviceaccounts,roles,rolebindings,secrets,leases"

// resetDeleted deletes a host that joined by itself, three times: each time it is reset and comes back under its name.
func resetDeleted(t *testing.T, s *setting) {
	if err := hosts.Missing(); err != nil {
		if os.Getuid() == 0 {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	g := s.newGate(t, `{"hostLabels":{"site":"north"},"config":{"elemental":{"reset":{"keep":["/var/lib/precious"]}}}}`)
	config := g.medium("edge-")
	config.Registry = s.Images.Address()
	machine, err := s.StartHost(t.Context(), config, registry.System{Version: "v1"}, s.v1.Reference)
	if err != nil {
		t.Fatal(err)
	}
	st := &stage{T: t, setting: s, namespace: g.namespace, machine: machine}
	t.Cleanup(func() {
		if t.Failed() {
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			t.Logf("%s\n%s", st.object(ctx), machine.Report(ctx))
		}
		machine.Remove()
	})
	settled := func() bool {
		return len(g.names("elementalhosts")) == 1 && len(g.names("elementalhostrequests")) == 0
	}
	g.eventually("it is a host", settled)
	st.name = g.names("elementalhosts")[0]
	st.await("it is ready", func(h host) bool { return h.ready() && h.condition("AgentConnected").Status == "True" })
	objects := func() []string {
		found := strings.Fields(g.kubectl("get", possessions, "-o", "name"))
		slices.Sort(found)
		return found
	}
	before := objects()
	t.Logf("its objects: %s", before)
	key := st.says("sha256sum < /var/lib/elemental/agent/identity/key")
	for round := range 3 {
		st.says(former + fmt.Sprintf("mkdir -p /var/lib/precious && echo %d > /var/lib/precious/round", round))
		boots := len(machine.Boots())
		uid := g.kubectl("get", "elementalhost", st.name, "-o", "jsonpath={.metadata.uid}")
		began := time.Now()
		g.kubectl("delete", "elementalhost", st.name, "--wait=false")
		g.eventually("it is registered again", func() bool {
			now := g.kubectl("get", "elementalhosts", "-o", "jsonpath={.items[*].metadata.uid}")
			return now != "" && now != uid && len(strings.Fields(now)) == 1
		})
		took := time.Since(began)
		st.await("it is ready", func(h host) bool { return h.ready() && h.condition("AgentConnected").Status == "True" })
		g.eventually("its request has served", settled)
		t.Logf("round %d: from delete to registered again %.1f s, to ready %.1f s", round+1, took.Seconds(), time.Since(began).Seconds())
		st.equal("the number of restarts", len(machine.Boots())-boots, 1)
		checkFresh(st)
		st.equal("its key", st.says("sha256sum < /var/lib/elemental/agent/identity/key"), key)
		st.equal("what was kept", st.says("cat /var/lib/precious/round"), fmt.Sprint(round))
		g.eventually("nothing is left behind and nothing is missing", func() bool { return slices.Equal(objects(), before) })
	}
	if _, err := os.Stat(filepath.Join(machine.Disk(), "elemental", "reset", "var")); err == nil {
		t.Error("the former /var is still on the disk")
	}
}
