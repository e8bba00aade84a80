package e2e

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"elemental/e2e/debian"
	"elemental/e2e/hosts"
	"elemental/e2e/registry"
)

// TestPluginsPackages tells how a host that no image manages gets its packages by its own apt.
func TestPluginsPackages(t *testing.T) {
	s := newSetting(t)
	for name, stories := range map[string][]func(*packagesStage){
		"come and go, with a restart and without": {packagesComeAndGo, packagesRestart},
		"fail": {packageFails},
		"wait for others, and survive what happens to them": {packagesWait, packagesKilled},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			st := s.withPackages(t)
			t.Logf("the host was ready after %s", time.Since(start).Round(time.Second))
			for _, story := range stories {
				story(st)
				t.Logf("told in %s", time.Since(start).Round(time.Second))
			}
		})
	}
}

// packagesStage is a host with a repository of its own.
type packagesStage struct {
	*stage
	repository *debian.Repository
}

func (s *setting) withPackages(t *testing.T) *packagesStage {
	t.Helper()
	if err := hosts.Missing(); err != nil {
		if os.Getuid() == 0 {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	repository, err := debian.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = repository.Remove() })
	st := &packagesStage{stage: &stage{T: t, setting: s, namespace: s.newNamespace(t), name: "my-elemental-host"}, repository: repository}
	config, err := s.Register(t.Context(), st.namespace, st.name)
	if err != nil {
		t.Fatal(err)
	}
	config.Debug, config.Plugin = true, "packages"
	system := registry.System{Version: "v1", Files: []registry.File{{Path: "etc/apt/sources.list", Text: repository.Source()}}}
	if st.machine, err = s.StartPlainHost(t.Context(), config, system); err != nil {
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
	st.await("it is ready and asked for nothing", func(h host) bool {
		return h.ready() && h.answered("NothingRequested") && h.condition("AgentConnected").Status == "True"
	})
	return st
}

func (s *packagesStage) publish(packages ...debian.Package) {
	s.Helper()
	if err := s.repository.Publish(s.Context(), packages...); err != nil {
		s.Fatal(err)
	}
}

// inside runs a shell command on the host.
func (s *packagesStage) inside(command string) string {
	s.Helper()
	out, err := s.machine.Exec(s.Context(), "sh", "-c", command)
	if err != nil {
		s.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// packages asks for packages and waits until they are there.
func (s *packagesStage) packages(request string) {
	s.Helper()
	s.patch(`null`) // What was asked for before is not merged with it.
	s.patch(`{"packages":` + request + `}`)
}

// has says what dpkg has of some packages.
func (s *packagesStage) has(names string) string {
	s.Helper()
	return s.inside("dpkg-query --show --showformat='${db:Status-Abbrev}${Package}=${Version} ' " + names + " 2>/dev/null || true")
}

// appears waits for a file on the host.
func (s *packagesStage) appears(file string) {
	s.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		if s.inside("[ -e "+file+" ] && echo yes || true") == "yes" {
			return
		}
		if time.Now().After(end) {
			s.Fatalf("%s never appeared on the host", file)
		}
	}
}

// progress waits until the object tells a step in such words.
func (s *packagesStage) progress(words string) {
	s.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		said := s.mustKubectl("get", "elementalhost", s.name, "-o", "jsonpath={.status.osVersion.progress}")
		if strings.Contains(said, words) {
			s.Logf("its progress is %s", said)
			return
		}
		if time.Now().After(end) {
			s.Fatalf("the progress is %s, and never told %q", said, words)
		}
	}
}

func packagesComeAndGo(s *packagesStage) {
	s.publish(debian.Package{Name: "hello", Version: "1.0"}, debian.Package{Name: "world", Version: "1.0"})
	s.packages(`{"refresh":true,"install":["hello","world"]}`)
	s.waitReady()
	s.equal("what dpkg has", s.has("hello world"), "ii hello=1.0 ii world=1.0")
	s.equal("what is told", s.await("it is told", applied).Status.OSVersion.Booted.Version, "hello 1.0, world 1.0")

	// What is already so changes nothing, and needs no repository.
	log := s.inside("sha256sum /var/log/dpkg.log /var/log/apt/history.log")
	if err := s.repository.Off(); err != nil {
		s.Fatal(err)
	}
	s.packages(`{"install":["world"],"versions":{}}`)
	s.waitReady()
	s.await("it is told", applied)
	s.equal("the log of dpkg", s.inside("sha256sum /var/log/dpkg.log /var/log/apt/history.log"), log)
	if err := s.repository.On(); err != nil {
		s.Fatal(err)
	}

	// An upgrade of everything but what is pinned, and a removal, all at once.
	s.publish(debian.Package{Name: "hello", Version: "1.1"}, debian.Package{Name: "hello", Version: "2.0"},
		debian.Package{Name: "world", Version: "2.0"}, debian.Package{Name: "more", Version: "1.0"})
	s.packages(`{"refresh":true,"upgrade":"all","versions":{"hello":"1.1"},"install":["more"]}`)
	s.waitReady()
	s.equal("what dpkg has", s.has("hello more world"), "ii hello=1.1 ii more=1.0 ii world=2.0")
	s.equal("the transactions", s.inside("grep -c ^Commandline /var/log/apt/history.log"), "2")
	s.inside("apt-get -qq -y -o Dpkg::Use-Pty=0 upgrade") // Not by hand either.
	s.equal("what dpkg has", s.has("hello"), "ii hello=1.1")
	s.packages(`{"versions":{"hello":"1.0"},"remove":["world"]}`)
	s.waitReady()
	s.equal("what dpkg has", s.has("hello more"), "ii hello=1.0 ii more=1.0")
	s.equal("what is left", s.has("world"), "")

	// Nonsense reaches no apt.
	for _, request := range []string{`{"install":["-o=Dir=/"]}`, `{"install":["a;b"]}`, `{"versions":{"a":"1 2"}}`, `{"install":["a"],"remove":["a"]}`, `{"instal":[]}`} {
		s.packages(request)
		h := s.await("it is refused", func(h host) bool { return h.answered("InvalidOSVersion") })
		s.Log(h.condition("OSVersionReady").Message)
	}
}

// applied says that the current request was answered, and is what runs.
func applied(h host) bool {
	return h.answered("Applied") && h.Status.OSVersion.Applied == h.Status.OSVersion.Requested && h.Status.OSVersion.Outcome == "Applied"
}

func packagesRestart(s *packagesStage) {
	s.publish(debian.Package{Name: "quiet", Version: "1.0"}, debian.Package{Name: "kernel", Version: "1.0", Scripts: map[string]string{
		"postinst": `touch /run/reboot-required; echo "$DPKG_MAINTSCRIPT_PACKAGE" >>/run/reboot-required.pkgs`,
	}})
	s.inside("touch /run/reboot-required; echo libc6 >/run/reboot-required.pkgs")
	s.packages(`{"refresh":true,"install":["quiet"]}`)
	s.waitReady()
	s.equal("the number of boots", len(s.machine.Boots()), 1)
	s.packages(`{"install":["kernel"]}`)
	s.waitReady()
	s.equal("the number of boots", len(s.machine.Boots()), 2)
	s.equal("what dpkg has", s.has("kernel quiet"), "ii kernel=1.0 ii quiet=1.0")
	s.equal("the outcome", s.await("it is told", applied).Status.OSVersion.Outcome, "Applied")
	s.equal("the number of boots", len(s.machine.Boots()), 2)
}

func packageFails(s *packagesStage) {
	s.publish(debian.Package{Name: "sick", Version: "1.0", Scripts: map[string]string{"postinst": "echo I can not find the moon >&2; exit 7"}},
		debian.Package{Name: "sick", Version: "1.1"}, debian.Package{Name: "hello", Version: "1.0"})
	s.packages(`{"refresh":true,"install":["helo"]}`)
	h := s.await("it says what is missing", failedBecause("PackageNotFound"))
	s.Log(h.condition("OSVersionReady").Message)
	s.equal("the field", h.Status.OSVersion.Failure.Path, "packages.install")

	s.packages(`{"refresh":true,"versions":{"sick":"1.0"}}`)
	h = s.await("it gave up", func(h host) bool { return failedBecause("PackageScriptFailed")(h) && h.Status.OSVersion.Attempts == 3 })
	message := h.condition("OSVersionReady").Message
	s.Log(message)
	for _, words := range []string{"package sick", "I can not find the moon", "attempt 3 of 3"} {
		if !strings.Contains(message, words) {
			s.Fatalf("the message %q does not hold %q", message, words)
		}
	}
	// The next version mends it.
	s.packages(`{"versions":{"sick":"1.1"},"install":["hello"]}`)
	s.waitReady()
	s.equal("what dpkg has", s.has("hello sick"), "ii hello=1.0 ii sick=1.1")
}

func failedBecause(reason string) func(host) bool {
	return func(h host) bool {
		return h.answered("OSVersionReconciliationFailed") && h.Status.OSVersion.Failure.Reason == reason
	}
}

func packagesWait(s *packagesStage) {
	s.publish(debian.Package{Name: "hello", Version: "1.0"}, debian.Package{Name: "world", Version: "1.0"})
	if err := s.repository.Off(); err != nil {
		s.Fatal(err)
	}
	s.packages(`{"refresh":true,"install":["hello"]}`)
	h := s.await("it says that the repository is away", failedBecause("RepositoryUnavailable"))
	s.Log(h.condition("OSVersionReady").Message)
	s.equal("the class of the failure", h.Status.OSVersion.Failure.Class, "retryable")
	s.equal("the attempts that count", h.Status.OSVersion.Attempts, 0)
	if err := s.repository.On(); err != nil {
		s.Fatal(err)
	}
	s.waitReady()
	s.equal("what dpkg has", s.has("hello"), "ii hello=1.0")

	// An administrator's own apt-get goes first.
	s.inside(`(apt-get -qq -y -o Dpkg::Use-Pty=0 -o DPkg::Pre-Invoke::="touch /run/at-work; while [ -e /run/at-work ]; do sleep 0.1; done" ` +
		`install world </dev/null >/dev/null 2>&1 &)`)
	s.appears("/run/at-work")
	s.packages(`{"remove":["hello"]}`)
	s.progress("waiting for apt-get (process ")
	s.equal("what dpkg has", s.has("hello"), "ii hello=1.0")
	s.inside("rm /run/at-work")
	s.waitReady()
	s.equal("what dpkg has", s.has("hello world"), "ii world=1.0")
}

func packagesKilled(s *packagesStage) {
	slow := map[string]string{"postinst": `[ -e /run/$DPKG_MAINTSCRIPT_PACKAGE-go ] || touch /run/$DPKG_MAINTSCRIPT_PACKAGE-begun
while [ ! -e /run/$DPKG_MAINTSCRIPT_PACKAGE-go ]; do sleep 0.1; done`}
	s.publish(debian.Package{Name: "slow", Version: "1.0", Scripts: slow},
		debian.Package{Name: "slower", Version: "1.0", Fields: "Depends: slow\n", Scripts: slow},
		debian.Package{Name: "last", Version: "1.0", Fields: "Depends: slower\n"})

	// The plugin dies, and apt is left alone with its package: the next plugin waits for it, and goes on.
	s.packages(`{"refresh":true,"install":["slow","last"]}`)
	s.appears("/run/slow-begun")
	s.inside(killAll("plugin packag[e]s stage"))
	h := s.await("it tells that the plugin was killed", failedBecause("PluginKilled"))
	s.Log(h.condition("OSVersionReady").Message)
	s.progress("which holds /var/lib/dpkg/lock")
	s.inside("touch /run/slow-go")

	// The agent dies, and dpkg too: the half of it is seen, and mended.
	s.appears("/run/slower-begun")
	if err := s.machine.KillAgent(s.Context()); err != nil {
		s.Fatal(err)
	}
	s.inside(killAll("dpk[g] .*--configure") + "; rm /run/slower-begun")
	s.appears("/run/slower-begun") // The script runs again.
	s.inside("touch /run/slower-go")
	s.waitReady()
	s.equal("what dpkg has", s.has("last slow slower"), "ii last=1.0 ii slow=1.0 ii slower=1.0")
	s.equal("what dpkg finds wrong", s.inside("dpkg --audit"), "")
	if attempts := s.await("it is told", applied).Status.OSVersion.Attempts; attempts > 3 {
		s.Fatalf("it took %d attempts", attempts)
	}

	// A package may restart the agent itself, as Elemental's own does, and is installed once all the same.
	s.publish(debian.Package{Name: "self", Version: "1.0", Scripts: map[string]string{
		"postinst": "systemctl restart elemental-agent.service; echo done >>/run/self",
	}})
	s.packages(`{"refresh":true,"install":["self"]}`)
	s.waitReady()
	s.equal("what dpkg has", s.has("self"), "ii self=1.0")
	s.equal("how often its script ran", s.inside("cat /run/self"), "done")
}

// killAll is a shell command that kills the processes whose command line matches a pattern, which must not match
// itself.
func killAll(pattern string) string {
	return `for p in /proc/[0-9]*; do tr '\0' ' ' <$p/cmdline 2>/dev/null | grep -q '` + pattern + `' && kill -9 ${p#/proc/}; done; true`
}
