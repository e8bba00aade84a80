package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"elemental/e2e/hosts"
	"elemental/e2e/lab"
	"elemental/e2e/registry"
)

// TestLifeUnitLaunchers holds both launchers against their port, inside a host whose systemd starts units, and measures
// what they cost.
func TestLifeUnitLaunchers(t *testing.T) {
	machine := bareMachine(t)
	ctx := t.Context()
	for _, adapter := range []struct{ folder, run, bench string }{
		{"systemd", "^TestLauncher", "^BenchmarkLauncher$"}, {"plugin", "^TestChildren$", "^BenchmarkChildren$"},
	} {
		program := filepath.Join(t.TempDir(), adapter.folder+".test")
		build := exec.CommandContext(ctx, "go", "test", "-c", "-o", program, "./adapters/"+adapter.folder)
		build.Dir, build.Env = "..", append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("building the tests of %s: %v\n%s", adapter.folder, err, out)
		}
		inside := "/root/" + adapter.folder + ".test"
		if err := place(ctx, machine, program, inside); err != nil {
			t.Fatal(err)
		}
		out, err := machine.Exec(ctx, "systemd-run", "--quiet", "--wait", "--collect", "--pipe", "--service-type=exec", "--working-directory=/root",
			inside, "-test.v", "-test.timeout=2m", "-test.run="+adapter.run, "-test.bench="+adapter.bench, "-test.benchtime=200x", "-test.count=1")
		t.Logf("%s", out)
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestLifeUnitAgent tells how the agent's own service has no rights, and its plugins have all of them, each in a unit of
// its own.
func TestLifeUnitAgent(t *testing.T) {
	s := newSetting(t)
	defer told(t, time.Now())
	st := s.withMachineLike(t, func(c *hosts.Config) { c.Plugin = "commands" })
	st.exec("echo 'commands: {allow: true}' > /etc/elemental/policy.yaml")
	for _, story := range []func(*stage){unitIsFencedIn, unitsOfPlugins, unitsOutliveTheBus, unitsWaitForTheBus, unitRestartsTheHost} {
		story(st)
	}
}

// unitIsFencedIn is what systemd and the kernel say of the agent.
func unitIsFencedIn(st *stage) {
	said := st.exec("systemd-analyze security --offline=no --no-pager elemental-agent.service")
	st.Logf("%s", said)
	exposure := regexp.MustCompile(`Overall exposure level for elemental-agent.service: ([0-9.]+)`).FindStringSubmatch(said)
	if exposure == nil {
		st.Fatal("systemd-analyze does not say how exposed the agent is")
	}
	level, err := strconv.ParseFloat(exposure[1], 64)
	if err != nil || level > 2.0 {
		st.Fatalf("the exposure of the agent is %s, and may be 2.0 at most", exposure[1])
	}
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
		st.equal(set+" of the agent", st.capabilities(set, st.shown("elemental-agent.service", "MainPID")), "0000000000000000")
	}
	st.equal("the user of the agent", st.exec("stat -c %u /proc/"+st.shown("elemental-agent.service", "MainPID")), "0\n")
	// It was heard by the service manager, and feeds the watchdog.
	st.equal("the state of the agent", st.shown("elemental-agent.service", "ActiveState"), "active")
	if st.shown("elemental-agent.service", "StatusText") == "" || st.shown("elemental-agent.service", "WatchdogTimestampMonotonic") == "0" {
		st.Fatal("the agent is not heard by the service manager")
	}
	st.exec("test -e /run/elemental/connected")
	// What is in the files of root only may be read by root, whatever its rights: here the number of the hardware.
	inside := "nsenter --target=" + st.shown("elemental-agent.service", "MainPID") + " --mount setpriv --bounding-set=-all --inh-caps=-all "
	st.exec("f=/sys/class/dmi/id/product_serial; test ! -e $f || " + inside + "cat $f; " + inside + "cat /etc/elemental/kubeconfig > /dev/null")
}

// unitsOfPlugins are there while a plugin works, may do everything, and end with the agent.
func unitsOfPlugins(st *stage) {
	// The host's owner may limit it as any unit.
	const limits = "/etc/systemd/system/elemental-plugin-commands-.service.d"
	st.exec("mkdir -p " + limits + " && printf '[Service]\\nLimitCORE=4096\\n' > " + limits + "/core.conf && systemctl daemon-reload")
	unit := st.working("first")
	st.equal("the limit of the plugin", st.shown(unit, "LimitCORE"), "4096")
	st.equal("what the plugin may do", st.capabilities("CapEff", st.shown(unit, "MainPID")), st.capabilities("CapEff", "1"))
	st.contains("the plugin's unit is bound to", st.shown(unit, "BindsTo"), "elemental-agent.service")
	child := strings.TrimSpace(st.exec("cat /var/lib/first.pid"))
	st.contains("the control group of the command", st.exec("cat /proc/"+child+"/cgroup"), unit)

	st.exec("systemctl kill --kill-who=main --signal=KILL elemental-agent.service")
	st.eventually("the plugin ends with its agent", func() bool {
		return st.exec("systemctl is-active "+unit+" || true") != "active\n" && st.exec("cat /proc/"+child+"/comm 2>/dev/null || true") != "sleep\n"
	})
	st.exec("touch /var/lib/first.go")
	st.waitReady()
	st.equal("how often the command was run", st.lines("/var/lib/first"), 2) // The new agent has asked for it again.
	st.equal("what failed", st.exec("systemctl list-units --failed --plain --no-legend"), "")

	// An agent that ends in good order ends its plugin itself, which is no failure of the plugin.
	unit = st.working("second")
	st.exec("touch /var/lib/second.go; systemctl restart elemental-agent.service")
	st.equal("the state of the plugin of the last agent", st.exec("systemctl is-active "+unit+" || true"), "inactive\n")
	st.waitReady()
	h, err := st.host()
	if err != nil {
		st.Fatal(err)
	}
	st.equal("the failure", h.Status.OSVersion.Failure.Message, "")
}

// unitsOutliveTheBus is what the upgrade of D-Bus itself needs.
func unitsOutliveTheBus(st *stage) {
	unit := st.working("third")
	st.exec("systemctl restart dbus.service")
	st.equal("the state of the plugin", st.shown(unit, "ActiveState"), "active")
	st.exec("touch /var/lib/third.go")
	st.waitReady()
	st.equal("how often the command was run", st.lines("/var/lib/third"), 1)

	// One that ends while nobody can tell is believed what it has answered.
	unit = st.working("unheard")
	st.exec("systemctl stop dbus.socket dbus.service; touch /var/lib/unheard.go")
	st.eventually("the plugin ends", func() bool { return st.shown(unit, "ActiveState") != "active" })
	st.exec("systemctl start dbus.socket dbus.service")
	st.waitReady()
	st.equal("how often the command was run", st.lines("/var/lib/unheard"), 1)
}

// unitsWaitForTheBus is a host that is broken, and mended.
func unitsWaitForTheBus(st *stage) {
	st.exec("systemctl stop dbus.socket dbus.service")
	st.patch(`{"commands":[{"run":"echo >> /var/lib/fourth"}]}`)
	h := st.await("it says that D-Bus is away", func(h host) bool { return strings.Contains(h.condition("Ready").Message, "D-Bus") })
	st.Logf("the condition is %q", h.condition("Ready").Message)
	st.equal("how often the command was run", st.lines("/var/lib/fourth"), 0)
	st.exec("systemctl start dbus.socket dbus.service")
	st.waitReady()
	st.equal("how often the command was run", st.lines("/var/lib/fourth"), 1)
}

// unitRestartsTheHost is the agent's one act that needs rights of root.
func unitRestartsTheHost(st *stage) {
	boots := len(st.machine.Boots())
	st.patch(`{"commands":[{"run":"touch /var/lib/fifth","check":"test -e /var/lib/fifth","restart":"ifChanged"}]}`)
	st.waitReady()
	st.equal("the number of boots", len(st.machine.Boots()), boots+1)
}

// working asks for a command that waits for a file, and returns the unit of the plugin that runs it. The command
// leaves a line in /var/lib/NAME each time that it is run, and waits for /var/lib/NAME.go.
func (s *stage) working(name string) (unit string) {
	s.Helper()
	const script = `echo >> NAME; test -e NAME.go || { sleep 601 & echo $! > NAME.pid; while ! test -e NAME.go; do sleep 0.1; done; kill $!; }`
	s.patch(`{"commands":[{"name":"` + name + `","run":"` + strings.ReplaceAll(script, "NAME", "/var/lib/"+name) + `"}]}`)
	s.await("the command runs", func(host) bool { return s.lines("/var/lib/"+name+".pid") == 1 })
	units := strings.Fields(s.exec("systemctl list-units --plain --no-legend 'elemental-plugin-commands-stage-*' | cut -d ' ' -f 1"))
	if len(units) != 1 {
		s.Fatalf("the units of plugins are %q, and should be one", units)
	}
	return units[0]
}

// shown is a property of a unit.
func (s *stage) shown(unit, property string) string {
	s.Helper()
	return strings.TrimSpace(s.exec("systemctl show --value --property=" + property + " " + unit))
}

// capabilities is a set of a process's capabilities, in the kernel's words.
func (s *stage) capabilities(set, process string) string {
	s.Helper()
	return strings.TrimSpace(s.exec("sed -n 's/^" + set + ":[[:space:]]*//p' /proc/" + process + "/status"))
}

func (s *stage) eventually(what string, so func() bool) {
	s.Helper()
	for end := time.Now().Add(patience); !so(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			s.Fatalf("it never came to pass that %s", what)
		}
	}
}

// bareMachine is a host on which neither the agent nor the health check runs.
func bareMachine(t *testing.T) *hosts.Host {
	t.Helper()
	if testing.Short() {
		t.Skip("the stories take minutes")
	}
	if err := hosts.Missing(); err != nil {
		if os.Getuid() == 0 {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	l, err := lab.Prepare(t.Context(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Stop)
	system := registry.System{Version: "v1", Files: []registry.File{registry.Mask("elemental-agent.service"), registry.Mask("elemental-health.service")}}
	machine, err := l.StartPlainHost(t.Context(), hosts.Config{Host: "bare"}, system)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			t.Logf("%s\n%s", machine.Report(ctx), machine.Journal(ctx))
		}
		machine.Remove()
	})
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		if _, err := machine.Exec(t.Context(), "systemctl", "is-active", "multi-user.target"); err == nil {
			return machine
		} else if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// place copies a program onto a machine.
func place(ctx context.Context, machine *hosts.Host, from, to string) error {
	out, err := exec.CommandContext(ctx, "cp", from, filepath.Join(machine.Disk(), to)).CombinedOutput()
	if err != nil {
		return &exec.Error{Name: string(out), Err: err}
	}
	return nil
}
