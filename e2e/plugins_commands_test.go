package e2e

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"elemental/e2e/hosts"
)

// TestPluginsCommands tells how a host is kept by commands, once its own policy allows them.
func TestPluginsCommands(t *testing.T) {
	s := newSetting(t)
	defer told(t, time.Now())
	st := s.withMachineLike(t, func(c *hosts.Config) { c.Plugin = "commands" })

	// Nobody asked the host's owner.
	st.patch(`{"commands":[{"name":"mark","run":"echo >> /var/lib/mark","check":"echo >> /var/lib/checks; test -e /var/lib/mark"}]}`)
	h := st.await("its policy denies it", refused("PolicyDenied"))
	st.contains("the condition", h.condition("Ready").Message, "commands.allow", "/etc/elemental/policy.yaml")
	st.equal("the marks", st.lines("/var/lib/mark")+st.lines("/var/lib/checks"), 0)

	st.exec("echo 'commands: {allow: true}' > /etc/elemental/policy.yaml")
	st.mustKubectl("annotate", "elementalhost", st.name, "elementalhost.infrastructure.cluster.x-k8s.io/retry=allowed")
	st.waitReady()
	st.equal("the marks", st.lines("/var/lib/mark"), 1)
	h = st.await("it is told", func(h host) bool { return h.Status.OSVersion.Outcome == "Applied" })
	st.contains("the version", h.Status.OSVersion.Booted.Version, "1 of 1 so")
	st.equal("the number of boots", len(st.machine.Boots()), 1)

	// A change that needs a restart has one, and what is so already has none.
	const module = `{"name":"module","run":"touch /etc/module","check":"test -e /etc/module","restart":"ifChanged"}`
	st.patch(`{"commands":[` + module + `]}`)
	st.waitReady()
	st.equal("the number of boots", len(st.machine.Boots()), 2)
	st.patch(`{"commands":[` + module + `,{"run":"echo >> /var/lib/never","check":"true"}]}`)
	st.waitReady()
	st.equal("the number of boots", len(st.machine.Boots()), 2)
	st.equal("how often what is so was run", st.lines("/var/lib/never"), 0)

	// The first that fails is named, with its last words.
	st.patch(`{"commands":[{"run":"echo >> /var/lib/first"},{"run":"true"},{"name":"third","run":"echo no such luck >&2; exit 7"},{"run":"echo >> /var/lib/never"}]}`)
	h = st.await("the third command fails", refused("OSVersionReconciliationFailed"))
	st.contains("the condition", h.condition("Ready").Message, "commands[2].run", "command 3 of 4 (third) exited with status 7", "no such luck", "attempt 1 of 3")
	st.equal("the class of the failure", h.Status.OSVersion.Failure.Class, "failed")
	st.equal("how often the first was run", st.lines("/var/lib/first"), 1)
	st.equal("how often the fourth was run", st.lines("/var/lib/never"), 0)

	// An agent that dies repeats the command that ran, and no other.
	st.patch(`{"commands":[{"run":"echo >> /var/lib/one"},{"run":"echo >> /var/lib/two; test -e /var/lib/go || sleep 600"},{"run":"echo >> /var/lib/three"}]}`)
	st.await("the second command hangs", func(host) bool { return st.lines("/var/lib/two") == 1 })
	st.exec("touch /var/lib/go")
	if err := st.machine.KillAgent(t.Context()); err != nil {
		t.Fatal(err)
	}
	st.waitReady()
	for file, times := range map[string]int{"one": 1, "two": 2, "three": 1} {
		st.equal("how often "+file+" was run", st.lines("/var/lib/"+file), times)
	}
	st.equal("the number of boots", len(st.machine.Boots()), 2)
}

// toolkitStart is what the toolkit's installer and its initrd leave behind: a first snapshot, and the mode that the
// boot loader has chosen, which is what the file next-mode says.
const toolkitStart = `set -eu
dir=/var/lib/toolkit
mkdir -p $dir/snapshots /run/elemental
if [ ! -e $dir/active ]; then
    printf '            source: dir:///run/rootfsbase\n            date: "2024-09-09T12:31:50Z"\n' > $dir/snapshots/1
    echo 1 > $dir/active
    echo active > $dir/next-mode
fi
if ! ls /run/elemental/*_mode > /dev/null 2>&1; then
    mode=$(cat $dir/next-mode)
    echo 1 > /run/elemental/${mode}_mode
    [ $mode != active ] || cp $dir/active $dir/running
fi
`

// TestPluginsToolkit tells how a host that was installed with the elemental-toolkit is upgraded and falls back. Its
// toolkit is the stand-in that the plugin's own tests use.
func TestPluginsToolkit(t *testing.T) {
	script, err := os.ReadFile("../adapters/plugin/toolkit/testdata/elemental")
	if err != nil {
		t.Fatal(err)
	}
	s := newSetting(t)
	defer told(t, time.Now())
	st := s.withMachineLike(t, func(c *hosts.Config) { c.Plugin = "dummy" })
	st.exec("mkdir -p /etc/toolkit /etc/systemd/system/elemental-agent.service.d /var/lib/toolkit")
	st.write("/etc/toolkit/start", toolkitStart)
	st.write("/etc/systemd/system/elemental-agent.service.d/toolkit.conf", "[Service]\nExecStartPre=+/bin/sh /etc/toolkit/start\n")
	st.write("/var/lib/toolkit/elemental", strings.Replace(string(script), "dir=DIR", "dir=/var/lib/toolkit", 1))
	st.exec("chmod 0755 /var/lib/toolkit/elemental; sed -i 's/osPlugin: dummy/osPlugin: elemental-toolkit/' /etc/elemental/agent.yaml; systemctl daemon-reload")

	// The host has a program elemental where the toolkit's is, and it is the wrong one.
	restart := func() { st.exec("systemctl restart elemental-agent") }
	restart()
	h := st.await("it does not take itself for the toolkit", func(h host) bool {
		return strings.Contains(h.condition("Ready").Message, "/usr/bin/elemental is this program itself")
	})
	st.contains("the condition", h.condition("Ready").Message, "/etc/elemental/toolkit.yaml")
	st.write("/etc/elemental/toolkit.yaml", "command: /var/lib/toolkit/elemental\nstatePath: /var\nminFreeMiB: 1\n")
	restart()
	st.await("it finds the toolkit", host.ready)

	st.ask(s.v1.Reference)
	st.waitReady()
	h = st.await("it is told", func(h host) bool { return h.Status.OSVersion.Outcome == "Applied" })
	st.equal("what runs", h.Status.OSVersion.Booted.Reference, s.v1.Reference)
	st.equal("the number of boots", len(st.machine.Boots()), 2)

	// The toolkit calls a snapshot that did not come up the active one all the same.
	st.exec("echo passive > /var/lib/toolkit/next-mode")
	st.ask(s.v2.Reference)
	h = st.await("it fell back", refused("RolledBack"))
	st.contains("the condition", h.condition("Ready").Message, s.v1.Reference, s.v2.Reference, "passive")
	st.equal("what runs", h.Status.OSVersion.Booted.Reference, s.v1.Reference)
	st.equal("the outcome", h.Status.OSVersion.Outcome, "RolledBack")
	st.equal("the number of boots", len(st.machine.Boots()), 3)

	// A new request is tried from there.
	st.exec("echo active > /var/lib/toolkit/next-mode")
	st.ask(s.v1.Reference)
	st.waitReady()
	st.equal("the number of boots", len(st.machine.Boots()), 4)
	st.equal("the number of upgrades", st.lines("/var/lib/toolkit/upgrades"), 3)
}

func told(t *testing.T, start time.Time) {
	t.Helper()
	t.Logf("told in %s", time.Since(start).Round(time.Second))
}

// exec runs a line of the shell on the machine.
func (s *stage) exec(line string) string {
	s.Helper()
	out, err := s.machine.Exec(s.Context(), "sh", "-c", line)
	if err != nil {
		s.Fatal(err)
	}
	return out
}

// write puts a file on the machine.
func (s *stage) write(name, text string) {
	s.Helper()
	if _, err := s.machine.Exec(s.Context(), "sh", "-c", `printf %s "$2" > "$1"`, "sh", name, text); err != nil {
		s.Fatal(err)
	}
}

// lines counts the lines of a file on the machine; one that is missing has none.
func (s *stage) lines(name string) int {
	s.Helper()
	out := s.exec("cat " + name + " 2>/dev/null | wc -l")
	count, err := strconv.Atoi(strings.TrimSpace(out))
	if err != nil {
		s.Fatal(err)
	}
	return count
}

func (s *stage) contains(what, text string, parts ...string) {
	s.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			s.Fatalf("%s is %q, and should say %q", what, text, part)
		}
	}
}
