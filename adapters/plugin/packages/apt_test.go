package packages

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/matryer/is"

	"elemental/core"
	"elemental/ports"
)

func TestAptMakesTrue(t *testing.T) {
	is := is.New(t)
	d := newDebian(t)
	d.publish(deb{name: "hello", version: "1.0"}, deb{name: "world", version: "1.0"}, deb{name: "g++", version: "1.0"}, deb{name: "more", version: "1.0"})

	install := `{"packages":{"refresh":true,"install":["hello","world","g++"]}}`
	view := d.observe(install)
	is.Equal(view.Verdict, core.VerdictOutdated)
	is.Equal(view.Detail, "hello is missing; world is missing; g++ is missing; this request was not carried out yet")
	is.NoErr(d.stage(install))
	is.Equal(d.installed(), "ii g++=1.0 ii hello=1.0 ii world=1.0")
	view = d.observe(install)
	is.Equal(view.Verdict, core.VerdictSatisfied)
	is.Equal(view.Current.Version, "hello 1.0, world 1.0, g++ 1.0")
	is.True(len(d.progress) > 5)

	// What is already so is neither staged nor touched.
	log := d.read("var/log/dpkg.log")
	is.Equal(d.observe(`{"packages":{"install":["world"]}}`).Verdict, core.VerdictSatisfied)
	is.NoErr(d.stage(`{"packages":{"install":["world"]}}`))
	is.Equal(d.read("var/log/dpkg.log"), log)

	// All at once: a pin, an upgrade of the rest, a new package and a removal.
	d.publish(deb{name: "hello", version: "1.1"}, deb{name: "hello", version: "2.0"}, deb{name: "world", version: "2.0"})
	all := `{"packages":{"refresh":true,"upgrade":"all","versions":{"hello":"1.1"},"install":["more"],"remove":["g++"]}}`
	is.NoErr(d.stage(all))
	is.Equal(d.installed(), "ii hello=1.1 ii more=1.0 ii world=2.0")
	is.Equal(d.observe(all).Verdict, core.VerdictSatisfied)
	is.True(strings.Contains(d.read(pinFile), "Package: hello\nPin: version 1.1\n"))
	is.NoErr(d.stage(strings.Replace(all, "1.1", "1.0", 1))) // And back to an older one.
	is.Equal(d.installed(), "ii hello=1.0 ii more=1.0 ii world=2.0")

	// A pin goes with the request, and nothing else does.
	free := `{"packages":{"install":["hello"]}}`
	is.Equal(d.observe(free).Detail, "hello is still held at 1.0")
	is.NoErr(d.stage(free))
	is.Equal(d.observe(free).Verdict, core.VerdictSatisfied)
	is.Equal(d.installed(), "ii hello=1.0 ii more=1.0 ii world=2.0")
	_, err := os.Stat(d.path(pinFile))
	is.True(os.IsNotExist(err))

	// Only those named are upgraded, and those that are not installed stay away.
	some := `{"packages":{"upgrade":["hello","g++"],"revision":"1"}}`
	is.NoErr(d.stage(some))
	is.Equal(d.installed(), "ii hello=2.0 ii more=1.0 ii world=2.0")
	is.Equal(d.observe(some).Verdict, core.VerdictSatisfied)
	is.Equal(d.observe(strings.Replace(some, `"1"`, `"2"`, 1)).Verdict, core.VerdictOutdated)
}

// TestAptAsksNothing upgrades packages whose configuration files were changed on the host, and whose scripts ask.
func TestAptAsksNothing(t *testing.T) {
	is := is.New(t)
	d := newDebian(t)
	ask := "read answer; echo \"the answer is $answer\""
	d.publish(deb{name: "hello", version: "1.0", settings: "first", postinst: ask}, deb{name: "world", version: "1.0", settings: "first"})
	is.NoErr(d.stage(`{"packages":{"refresh":true,"install":["hello","world"]}}`))
	d.write("etc/hello.conf", "mine")
	d.publish(deb{name: "hello", version: "2.0", settings: "second"}, deb{name: "world", version: "2.0", settings: "second"})
	is.NoErr(d.stage(`{"packages":{"refresh":true,"upgrade":"all"}}`))
	is.Equal(d.installed(), "ii hello=2.0 ii world=2.0")
	is.Equal(d.read("etc/hello.conf"), "mine")
	is.Equal(d.read("etc/world.conf"), "second")
}

func (d *debian) read(name string) string {
	d.Helper()
	text, err := os.ReadFile(d.path(name))
	d.must(err)
	return string(text)
}

func TestAptFails(t *testing.T) {
	d := newDebian(t)
	d.publish(
		deb{name: "hello", version: "1.0"}, deb{name: "hello", version: "2.0"}, deb{name: "world", version: "1.0"},
		deb{name: "fighter", version: "1.0", fields: "Conflicts: world\n"}, deb{name: "needy", version: "1.0", fields: "Depends: nothing\n"},
		deb{name: "aaa-b", version: "1.0"}, deb{name: "sick", version: "1.0", postinst: "echo looking for the moon; echo it is gone >&2; exit 7"},
	)
	d.must(d.stage(`{"packages":{"refresh":true,"install":["world"]}}`))
	for _, c := range []struct {
		request, reason, path string
		class                 core.FailureClass
		words                 []string
	}{
		{`{"packages":{"install":["hello","helo"]}}`, reasonNoPackage, "packages.install", core.FailureFailed, []string{"a package helo:", "packages.refresh"}},
		{`{"packages":{"install":["a.*"]}}`, reasonNoPackage, "packages.install", core.FailureFailed, nil},
		{`{"packages":{"install":["a.a-b"]}}`, reasonNoPackage, "packages.install", core.FailureFailed, nil},
		{`{"packages":{"refresh":true,"versions":{"hello":"3.0"}}}`, reasonNoVersion, "packages.versions.hello", core.FailureFailed, []string{"there are: 2.0, 1.0"}},
		{`{"packages":{"install":["fighter"]}}`, reasonWouldRemove, "packages.remove", core.FailureFailed, []string{"removal of world:"}},
		{`{"packages":{"install":["needy"]}}`, reasonConflict, "", core.FailureFailed, []string{"needy : Depends: nothing"}},
		{`{"packages":{"install":["hello","sick"]}}`, reasonScript, "", core.FailureFailed, []string{"the package sick failed", "exit status 7", "it is gone"}},
	} {
		t.Run(c.reason, func(t *testing.T) {
			is := is.New(t)
			err := d.stage(c.request)
			t.Log(err)
			var failure core.Failure
			is.True(errors.As(err, &failure))
			is.Equal(failure.Class, c.class)
			is.Equal(failure.Reason, c.reason)
			is.Equal(failure.Path, c.path)
			for _, words := range c.words {
				is.True(strings.Contains(failure.Message, words))
			}
		})
	}
	is := is.New(t)
	view := d.observe(`{"packages":{"install":["hello"]}}`)
	is.Equal(view.Verdict, core.VerdictSatisfied)
	is.Equal(view.Detail, "sick is only half configured: its script failed")
	is.NoErr(d.stage(`{"packages":{"install":["hello"],"remove":["sick"],"revision":"away with it"}}`)) // dpkg is asked to configure it first, in vain.
	is.Equal(d.installed(), "ii hello=2.0 ii world=1.0")

	is.NoErr(os.RemoveAll(d.repository))
	err := d.stage(`{"packages":{"refresh":true}}`)
	t.Log(err)
	var failure core.Failure
	is.True(errors.As(err, &failure))
	is.Equal(failure.Class, core.FailureRetryable)
	is.Equal(failure.Reason, reasonRepository)
}

// TestAptIsKilled kills apt and dpkg while a package is unpacked, and while one is configured.
func TestAptIsKilled(t *testing.T) {
	for name, victim := range map[string]deb{
		"unpacking":   {name: "hello", version: "1.0", preinst: "[ -e $ROOT/seen ] || { touch $ROOT/seen; sleep 60; }"},
		"configuring": {name: "hello", version: "1.0", postinst: "[ -e $ROOT/seen ] || { touch $ROOT/seen; sleep 60; }"},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			d := newDebian(t)
			d.publish(victim, deb{name: "world", version: "1.0"})
			is.NoErr(d.stage(`{"packages":{"refresh":true}}`))
			is.NoErr(d.plugin.open(t.Context(), d.apt, d.boot)) // As the plugin does before it lets apt go.
			args := d.apt.aptGet("install", "hello", "world").Args
			command := exec.CommandContext(t.Context(), args[0], args[1:]...)
			var said bytes.Buffer
			command.Stdout, command.Stderr, command.ExtraFiles = &said, &said, []*os.File{nil}
			command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			is.NoErr(command.Start())
			for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
				if _, err := os.Stat(d.path("seen")); err == nil {
					break
				}
				if time.Now().After(end) {
					t.Fatalf("apt did not come to the script: %s", said.String())
				}
			}
			is.NoErr(syscall.Kill(-command.Process.Pid, syscall.SIGKILL))
			_ = command.Wait()
			request := `{"packages":{"install":["hello","world"]}}`
			before := d.observe(request)
			t.Log(before.Detail)
			is.Equal(before.Verdict, core.VerdictOutdated)
			is.True(strings.Contains(before.Detail, "the last transaction was interrupted"))
			is.NoErr(d.stage(request))
			is.Equal(d.installed(), "ii hello=1.0 ii world=1.0")
			is.Equal(d.observe(request).Verdict, core.VerdictSatisfied)
		})
	}
}

func TestAptWaitsForOthers(t *testing.T) {
	is := is.New(t)
	d := newDebian(t)
	d.publish(deb{name: "hello", version: "1.0"}, deb{name: "world", version: "1.0"})
	is.NoErr(d.stage(`{"packages":{"refresh":true}}`))
	args := d.apt.aptGet("-o", "DPkg::Pre-Invoke::=touch "+d.path("seen")+"; while [ -e "+d.path("seen")+" ]; do sleep 0.1; done", "install", "world").Args
	other := exec.CommandContext(t.Context(), args[0], args[1:]...)
	other.ExtraFiles = []*os.File{nil}
	is.NoErr(other.Start())
	for d.T.Context().Err() == nil {
		if _, err := os.Stat(d.path("seen")); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	var waited string
	err := d.plugin.Do(t.Context(), core.VerbStage, asked(`{"packages":{"install":["hello"]}}`), func(p ports.Progress) {
		if p.Step == stepWaiting {
			waited = p.Message
			_ = os.Remove(d.path("seen")) // Now the other goes on.
		}
	})
	is.NoErr(err)
	is.NoErr(other.Wait())
	t.Log(waited)
	is.True(strings.HasPrefix(waited, "waiting for apt-get (process "))
	is.Equal(d.installed(), "ii hello=1.0 ii world=1.0")
}

// TestAptRestarts tells who needs a restart, whatever happens between.
func TestAptRestarts(t *testing.T) {
	is := is.New(t)
	d := newDebian(t)
	required := "mkdir -p $ROOT/run; touch $ROOT/run/reboot-required; echo $DPKG_MAINTSCRIPT_PACKAGE >>$ROOT/run/reboot-required.pkgs"
	d.publish(deb{name: "kernel", version: "1.0", postinst: required}, deb{name: "hello", version: "1.0"})
	is.NoErr(d.stage(`{"packages":{"refresh":true}}`))

	// A restart that was needed before is not ours.
	d.write("run/reboot-required", "")
	d.write("run/reboot-required.pkgs", "libc6\n")
	is.NoErr(d.stage(`{"packages":{"install":["hello"]}}`))
	view := d.observe(`{"packages":{"install":["hello"]}}`)
	is.Equal(view.Verdict, core.VerdictSatisfied)
	is.Equal(view.Detail, "the host was to be restarted even before, for libc6")

	is.NoErr(d.stage(`{"packages":{"install":["kernel"]}}`))
	view = d.observe(`{"packages":{"install":["kernel"]}}`)
	is.Equal(view.Verdict, core.VerdictStaged)
	is.True(view.NeedsRestart)
	is.Equal(view.Staged.Version, "kernel 1.0")
	is.Equal(view.Detail, "the host must restart for kernel; the host was to be restarted even before, for libc6")
	is.Equal(d.observe(`{"packages":{"install":["hello"]}}`).Verdict, core.VerdictStaged) // Whatever is asked meanwhile.
	is.Equal(d.observe(`{}`).Verdict, core.VerdictSatisfied)

	// Staging once more forgets nothing.
	is.NoErr(d.stage(`{"packages":{"install":["kernel"]}}`))
	is.Equal(d.observe(`{"packages":{"install":["kernel"]}}`).Verdict, core.VerdictStaged)

	d.boot = "boot-2"
	is.NoErr(os.Remove(d.path("run/reboot-required")))
	view = d.observe(`{"packages":{"install":["kernel"]}}`)
	is.Equal(view.Verdict, core.VerdictSatisfied)
	is.Equal(view.Detail, "")
}
