package e2e

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"elemental/e2e/hosts"
	"elemental/e2e/lab"
	"elemental/e2e/registry"
)

// TestLifeBootstrap tells how hosts get their name and what their registration says, and how what Cluster API's bootstrap
// provider wrote makes nodes of them: cloud-init and Ignition really do it.
func TestLifeBootstrap(t *testing.T) {
	t.Parallel()
	s := newSettingLike(t, func(l *lab.Lab) { l.ControllerManager = true })
	if err := hosts.Missing(); err != nil {
		if os.Getuid() == 0 {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	base, err := registry.JoiningBase(t.Context(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	n := &nursery{setting: s, first: registry.System{Version: "first", Base: base, Files: quickly}}
	if n.v1, err = s.Push(t.Context(), "joining:first", n.first); err != nil {
		t.Fatal(err)
	}
	if n.v2, err = s.Push(t.Context(), "joining:second", registry.System{Version: "second", Base: base, Files: quickly}); err != nil {
		t.Fatal(err)
	}
	t.Run("by cloud-init", func(t *testing.T) { bootstrapByCloudInit(t, n) })
	t.Run("by Ignition", func(t *testing.T) { bootstrapByIgnition(t, n) })
	t.Run("in vain", func(t *testing.T) { bootstrapInVain(t, n) })
}

// quickly lets cloud-init do what the stories look at, and nothing that needs what these systems do not have. What fails
// is ended, since its units would wait for ever.
var quickly = []registry.File{
	{Path: "etc/cloud/cloud.cfg.d/10-test.cfg", Text: `cloud_init_modules: [write-files, set_hostname, update_hostname, users-groups]
cloud_config_modules: [runcmd]
cloud_final_modules: [scripts-user]
`},
	{Path: "etc/systemd/system/cloud-config.service.d/50-test.conf", Text: "[Service]\nTimeoutStopSec=10s\n"},
	{Path: "etc/systemd/system/cloud-final.service.d/50-test.conf", Text: "[Service]\nTimeoutStopSec=10s\n"},
}

// nursery is a setting whose systems can be bootstrapped.
type nursery struct {
	*setting
	first  registry.System
	v1, v2 registry.Pushed
}

// child is a host that has joined, and is no node yet.
type child struct {
	*stage
	gate *gate
}

// bear starts a host that joins by a registration, and waits until it is ready.
func (n *nursery) bear(t *testing.T, registration string, settings map[string]any) *child {
	t.Helper()
	g := n.newGate(t, registration)
	medium := g.medium("edge-")
	all := map[string]any{
		"osPlugin": "image", "debug": true, "hostname": medium.Hostname,
	}
	for name, value := range settings {
		all[name] = value
	}
	text, err := yaml.Marshal(map[string]any{"agent": all, "registration": medium.Registration})
	if err != nil {
		t.Fatal(err)
	}
	machine, err := n.StartHost(t.Context(), hosts.Config{Host: "medium", Registry: n.Images.Address(), Printed: string(text)}, n.first, n.v1.Reference)
	if err != nil {
		t.Fatal(err)
	}
	c := &child{gate: g}
	t.Cleanup(func() {
		if t.Failed() {
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			t.Log(machine.Report(ctx), machine.Journal(ctx, "cloud-init-local", "cloud-init", "cloud-config", "cloud-final", "bootstrap"))
			if c.stage != nil {
				t.Log(c.object(ctx))
			}
		}
		machine.Remove()
	})
	c.stage = g.only(nil, machine)
	return c
}

// joinData is the Secret of a story's bootstrap data. The controller copies it to where the host may read it.
const joinData = "join-data"

// hand gives the host its bootstrap data, and asks for more at the same time.
func (c *child) hand(format, data, more string) {
	c.Helper()
	object, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{
			"name": joinData, "namespace": c.namespace, "labels": map[string]string{"elementalhost.infrastructure.cluster.x-k8s.io/bootstrap-data": "true"},
		},
		"stringData": map[string]string{"format": format, "value": data},
	})
	if err == nil {
		err = c.Apply(c.Context(), string(object))
	}
	if err != nil {
		c.Fatal(err)
	}
	if c.mustKubectl("get", "elementalhost", c.name, "-o", "jsonpath={.spec.bootstrapSecret.name}") != "" {
		copied := base64.StdEncoding.EncodeToString([]byte(data))
		c.gate.eventually("the copy for the host is the new one", func() bool {
			return c.mustKubectl("get", "secret", "elemental-bootstrap-"+c.name, "-o", "jsonpath={.data.value}") == copied
		})
		c.renew()
		return
	}
	c.mustKubectl("patch", "elementalhost", c.name, "--type=merge", "-p",
		fmt.Sprintf(`{"spec":{"bootstrapSecret":{"apiVersion":"v1","kind":"Secret","name":%q}%s}}`, joinData, more))
}

// renew lets the host try at once what it has failed at.
func (c *child) renew() {
	c.Helper()
	c.mustKubectl("annotate", "elementalhost", c.name, "--overwrite", fmt.Sprintf("elementalhost.infrastructure.cluster.x-k8s.io/retry=%d", time.Now().UnixNano()))
}

// inside is what a command says inside the host.
func (c *child) inside(command string) string {
	c.Helper()
	out, err := c.machine.Exec(c.Context(), "sh", "-c", command)
	if err != nil {
		c.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// awaitNode waits until the cluster is told that the host has joined.
func (c *child) awaitNode() host {
	c.Helper()
	return c.await("it has joined", func(h host) bool {
		return h.condition("BootstrapReady").Status == "True" &&
			h.Metadata.Labels["elementalhost.infrastructure.cluster.x-k8s.io/bootstrapped"] == "true"
	})
}

const sentinel = "mkdir -p /run/cluster-api && echo success > /run/cluster-api/bootstrap-success.complete"

// kubeadmLike is bootstrap data in the form in which the kubeadm bootstrap provider writes it.
func kubeadmLike(secret string) string {
	return `## template: jinja
#cloud-config

write_files:
-   path: /var/lib/kubelike/join.yaml
    owner: root:root
    permissions: '0600'
    content: |
      token: ` + secret + `
      nodeName: '{{ ds.meta_data.local_hostname }}'
-   path: /run/cluster-api/placeholder
    owner: root:root
    permissions: '0640'
    content: "This placeholder file is used to create the /run/cluster-api sub directory"
runcmd:
  - 'hostname > /var/lib/kubelike/hostname && date +%s%N >> /var/lib/kubelike/runs'
  - '` + sentinel + `'
`
}

func bootstrapByCloudInit(t *testing.T, n *nursery) {
	const secret = "canary-cloud-init-data"
	c := n.bear(t, `{"config":{"cloudConfig":{"users":[{"name":"attendant","lock_passwd":true}],"write_files":[{"path":"/var/lib/registered","content":"by the registration","permissions":"0640"}],"runcmd":["touch /var/lib/registration-ran"]}}}`, nil)
	c.gate.eventually("it bears its name", func() bool { return c.inside("hostname; cat /etc/hostname") == c.name+"\n"+c.name })
	c.gate.eventually("it has the cloud config", func() bool { return c.inside("test ! -e /etc/cloud/cloud.cfg.d/90-elemental.cfg || echo yes") == "yes" })
	c.equal("the registration's cloud config", c.inside("stat -c %a:%U /etc/cloud/cloud.cfg.d/90-elemental.cfg"), "600:root")
	c.equal("cloud-init", c.inside("test -e /var/lib/registered || echo has not run"), "has not run")

	look := watchArguments(t, secret)
	c.hand("cloud-config", kubeadmLike(secret), fmt.Sprintf(`,"osVersionManagement":{"osVersion":{"imageUri":%q}}`, n.v2.Reference))
	c.awaitNode()
	boots := c.machine.Boots()
	if len(boots) != 3 || boots[0].Deployment == boots[1].Deployment || boots[1].Deployment != boots[2].Deployment {
		t.Errorf("it should have restarted into the version asked for, and once more to be bootstrapped: %+v", boots)
	}
	c.equal("its system", c.runs(), "second")
	c.equal("its name when it joined", c.inside("cat /var/lib/kubelike/hostname"), c.name)
	c.equal("what only the bootstrap data says", c.inside("cat /var/lib/kubelike/join.yaml"), "token: "+secret+"\nnodeName: '"+c.name+"'")
	c.equal("what only the registration says", c.inside("cat /var/lib/registered; test -e /var/lib/registration-ran && id -un attendant"), "by the registrationattendant")
	c.equal("the seed", c.inside("cd /var/lib/cloud/seed && stat -c %a:%U nocloud nocloud/user-data /etc/cloud/cloud.cfg.d/90-elemental.cfg"), "700:root\n600:root\n600:root")
	look()
	c.keeps(secret)

	// Another boot is the same instance: nothing of it is done again.
	if err := c.machine.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.gate.eventually("it has restarted", func() bool { return len(c.machine.Boots()) == 4 })
	if err := c.machine.WaitBooted(t.Context(), boots[2].Deployment); err != nil {
		t.Fatal(err)
	}
	c.equal("cloud-init", c.inside("cloud-init status --wait >/dev/null; wc -l < /var/lib/kubelike/runs"), "1")
	c.waitReady()
	c.equal("the number of its boots", len(c.machine.Boots()), 4)
}

// keeps sees that bootstrap data is told by no object but the Secret, and not by the journal of the host.
func (c *child) keeps(secret string) {
	c.Helper()
	found := &canaries{T: c.T, all: map[string]canary{}}
	found.add("bootstrap data", secret, "secrets/"+joinData)
	c.gate.eventually("what the host could read is gone", func() bool {
		return !strings.Contains(strings.Join(c.gate.names("secrets"), " "), "elemental-bootstrap-")
	})
	found.objects(c.gate)
	journal := c.machine.Journal(c.Context())
	if !strings.Contains(journal, "verb=bootstrap") {
		c.Error("the journal does not say that the plugin bootstrapped the host")
	}
	found.look("the journal of the host", journal)
	if c.Controller() != nil {
		found.look("the controller's log", c.Controller().Tail())
	}
	found.kept()
	open := c.inside("grep -rlF " + secret + " /var /etc /run /tmp --exclude-dir=journal 2>/dev/null | xargs -r stat -c '%a %n' | grep -v '^[46]00 ' || true")
	c.equal("what others may read of it", open, "")
}

// watchArguments looks all the time how any process on this machine was started, until it is told to end.
func watchArguments(t *testing.T, secret string) (end func()) {
	t.Helper()
	done := make(chan struct{})
	var all sync.WaitGroup
	told, looks := "", 0
	all.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(20 * time.Millisecond):
			}
			looks++
			files, _ := filepath.Glob("/proc/[0-9]*/cmdline") // The pattern is good.
			for _, file := range files {
				for _, name := range []string{file, filepath.Join(filepath.Dir(file), "environ")} {
					text, err := os.ReadFile(name)
					if err == nil && strings.Contains(string(text), secret) && !strings.Contains(string(text), "kubectl") && !strings.Contains(string(text), "grep\x00-rlF") {
						told = strings.ReplaceAll(string(text), "\x00", " ")
					}
				}
			}
		}
	})
	return func() {
		t.Helper()
		close(done)
		all.Wait()
		if told != "" || looks == 0 {
			t.Errorf("a process was started with bootstrap data, after %d looks: %s", looks, told)
		}
	}
}

func bootstrapByIgnition(t *testing.T, n *nursery) {
	const secret = "canary-ignition-data"
	c := n.bear(t, `{}`, nil)
	config := map[string]any{
		"ignition": map[string]any{"version": "3.1.0"},
		"storage": map[string]any{"files": []any{
			map[string]any{"path": "/etc/kubelike.sh", "mode": 0o700, "contents": map[string]any{"source": "data:;base64," + base64.StdEncoding.EncodeToString([]byte(
				"#!/bin/sh\nset -e\nmkdir -p /var/lib/kubelike\ndate +%s%N >> /var/lib/kubelike/runs\n"+sentinel+"\n"))}},
			map[string]any{"path": "/etc/kubelike.yaml", "mode": 0o600, "contents": map[string]any{"source": "data:,token:%20" + secret}},
		}},
		"systemd": map[string]any{"units": []any{
			map[string]any{"name": "bootstrap.service", "enabled": true, "contents": "[Unit]\nDescription=Join\nConditionPathExists=!/run/cluster-api/bootstrap-success.complete\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/etc/kubelike.sh\n[Install]\nWantedBy=multi-user.target\n"},
		}},
	}
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	look := watchArguments(t, secret)
	c.hand("ignition", string(text), "")
	c.awaitNode()
	c.equal("the number of its boots", len(c.machine.Boots()), 2)
	c.equal("how often it was bootstrapped", c.inside("wc -l < /var/lib/kubelike/runs"), "1")
	c.equal("its name", c.inside("hostname"), c.name)
	c.equal("what the config says", c.inside("cat /etc/kubelike.yaml; stat -c :%a /etc/kubelike.yaml"), "token: "+secret+":600")
	c.equal("its config", c.inside("test -e /var/lib/elemental/bootstrap/config.ign || echo gone"), "gone")
	look()
	c.keeps(secret)
}

// bootstrapInVain tells what a host says of bootstrap data that no node can come from, and how it is given better.
func bootstrapInVain(t *testing.T, n *nursery) {
	c := n.bear(t, `{}`, map[string]any{"bootstrapTimeout": "45s"})
	says := func(words string) {
		t.Helper()
		c.await("it says: "+words, func(h host) bool {
			b := h.condition("BootstrapReady")
			return b.Status == "False" && b.Reason == "BootstrapFailed" && strings.Contains(b.Message, words)
		})
	}
	c.hand("cloud-config", "kind: canary-not-cloud-config", "")
	says("cloud-init would ignore the bootstrap data: it must begin with #cloud-config")
	c.hand("ignition", `{"ignition":{"version":"3.1.0"},"passwd":{"users":[{"name":"canary-user"}]}}`, "")
	says("the Ignition config has passwd, which can't be applied to a system that runs")
	c.equal("the number of its boots", len(c.machine.Boots()), 1)
	c.hand("cloud-config", "#cloud-config\nruncmd: [[\"false\"]]\n", "")
	says("bootstrapping has not succeeded 45s after its data was applied: see the log of cloud-init")
	c.equal("the number of its boots", len(c.machine.Boots()), 2)

	// It is bootstrapped anew when someone has cleared away what was done in vain.
	c.inside("cloud-init clean --seed")
	c.hand("cloud-config", kubeadmLike("canary-in-vain"), "")
	c.awaitNode()
	c.equal("the number of its boots", len(c.machine.Boots()), 3)
}
