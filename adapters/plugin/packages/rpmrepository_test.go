package packages

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/matryer/is"

	"elemental/core"
	"elemental/ports"
)

// rpmHost is a root of its own, with a real rpm and a real dnf or zypper at work in it, and a repository of its own.
type rpmHost struct {
	*testing.T
	root, repository string
	plugin           *Plugin
	boot             string
	progress         []ports.Progress
	log              strings.Builder
}

// newRPMHost skips the test where a program is missing: but not in CI, which installs them all.
func newRPMHost(t *testing.T, tool string) *rpmHost {
	t.Helper()
	if os.Geteuid() != 0 || runtime.GOOS != "linux" {
		t.Skip("only root on Linux may install packages, also into a root of its own")
	}
	for _, name := range []string{tool, "rpm", "rpmbuild", "createrepo_c"} {
		if _, err := exec.LookPath(name); err == nil {
			continue
		}
		if os.Getenv("CI") != "" {
			t.Fatalf("this machine has no %s", name)
		}
		t.Skip("this machine has no " + name)
	}
	t.Parallel()
	h := &rpmHost{T: t, root: t.TempDir(), repository: t.TempDir(), boot: "boot-1"}
	h.plugin = New(filepath.Join(h.root, "work"), func() (string, error) { return h.boot, nil }, &h.log)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the programs said:\n%s", h.log.String())
		}
	})
	return h
}

func (h *rpmHost) must(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

func (h *rpmHost) path(name string) string { return filepath.Join(h.root, name) }

func (h *rpmHost) write(name, text string) {
	h.Helper()
	h.must(os.MkdirAll(filepath.Dir(h.path(name)), 0o755))
	h.must(os.WriteFile(h.path(name), []byte(text), 0o644))
}

func (h *rpmHost) read(name string) string {
	h.Helper()
	text, err := os.ReadFile(h.path(name))
	h.must(err)
	return string(text)
}

func (h *rpmHost) run(name string, args ...string) string {
	h.Helper()
	out, err := exec.CommandContext(h.Context(), name, args...).CombinedOutput()
	if err != nil {
		h.Fatalf("%s %q: %v: %s", name, args, err, out)
	}
	return string(out)
}

// rpmPackage has more lines of its spec: before the description, and after the files. Scripts are in Lua, since a root
// of its own has no shell.
type rpmPackage struct{ name, version, fields, scripts string }

// publish puts packages into the repository.
func (h *rpmHost) publish(packages ...rpmPackage) {
	h.Helper()
	top := h.TempDir()
	for _, p := range packages {
		spec := filepath.Join(top, p.name+".spec")
		h.must(os.WriteFile(spec, fmt.Appendf(nil, `
Name: %[1]s
Version: %[2]s
Release: 1
Summary: test
License: none
BuildArch: noarch
%[3]s
%%description
test
%%install
mkdir -p %%{buildroot}/etc %%{buildroot}/usr/share/%[1]s
echo %[2]s > %%{buildroot}/etc/%[1]s.conf
echo %[2]s > %%{buildroot}/usr/share/%[1]s/version
%%files
%%config(noreplace) /etc/%[1]s.conf
/usr/share/%[1]s
%[4]s
`, p.name, p.version, p.fields, p.scripts), 0o644))
		h.run("rpmbuild", "-bb", "--quiet", "--define", "_topdir "+top, "--define", "_rpmdir "+h.repository, spec)
	}
	h.run("createrepo_c", "--quiet", h.repository)
}

func (h *rpmHost) observe(text string) core.View {
	h.Helper()
	o, err := h.plugin.Observe(h.Context(), asked(text))
	h.must(err)
	return o.View
}

func (h *rpmHost) stage(text string) error {
	h.progress = nil
	return h.plugin.Do(h.Context(), core.VerbStage, asked(text), func(p ports.Progress) { h.progress = append(h.progress, p) })
}

// installed lists what rpm has.
func (h *rpmHost) installed() string {
	h.Helper()
	return strings.Join(distinct(strings.Fields(h.run("rpm", "--root", h.root, "-qa", "--queryformat", "%{NAME}-%{VERSION}\n"))), " ")
}

// makesTrue is what every tool above rpm does.
func (h *rpmHost) makesTrue() {
	is := is.New(h)
	h.publish(rpmPackage{name: "hello", version: "1.0"}, rpmPackage{name: "world", version: "1.0"},
		rpmPackage{name: "more", version: "1.0", fields: "Requires: needed"}, rpmPackage{name: "needed", version: "1.0"})
	install := `{"packages":{"refresh":true,"install":["hello","world"]}}`
	is.Equal(h.observe(install).Verdict, core.VerdictOutdated)
	is.NoErr(h.stage(install))
	is.Equal(h.installed(), "hello-1.0 world-1.0")
	view := h.observe(install)
	is.Equal(view.Verdict, core.VerdictSatisfied)
	is.Equal(view.Current.Version, "hello 1.0-1, world 1.0-1")
	is.True(len(h.progress) > 4)

	// All at once: a pin, an upgrade of the rest, a new package with what it needs, and a removal. What was changed in
	// a configuration file stays.
	h.write("etc/hello.conf", "mine")
	h.publish(rpmPackage{name: "hello", version: "1.1"}, rpmPackage{name: "hello", version: "2.0"}, rpmPackage{name: "world", version: "2.0"})
	all := `{"packages":{"refresh":true,"upgrade":"all","versions":{"hello":"1.1"},"install":["more"]}}`
	is.NoErr(h.stage(all))
	is.Equal(h.installed(), "hello-1.1 more-1.0 needed-1.0 world-2.0")
	is.Equal(h.observe(all).Verdict, core.VerdictSatisfied)
	is.Equal(h.read("etc/hello.conf"), "mine")
	is.Equal(h.read("etc/hello.conf.rpmnew"), "1.1\n")

	// The pin holds while others are upgraded and removed.
	pinned := `{"packages":{"upgrade":"all","versions":{"hello":"1.1-1"},"remove":["more"],"revision":"2"}}`
	is.NoErr(h.stage(pinned))
	is.Equal(h.installed(), "hello-1.1 needed-1.0 world-2.0")
	is.NoErr(h.stage(`{"packages":{"versions":{"hello":"1.0"}}}`)) // And back to an older one.
	is.Equal(h.installed(), "hello-1.0 needed-1.0 world-2.0")

	// A pin goes with the request. Only those named are upgraded, and those that are not installed stay away.
	some := `{"packages":{"upgrade":["hello","more"],"revision":"3"}}`
	is.NoErr(h.stage(some))
	is.Equal(h.installed(), "hello-2.0 needed-1.0 world-2.0")
	is.Equal(h.observe(some).Verdict, core.VerdictSatisfied)
}

// fails is what every tool above rpm says when it can't.
func (h *rpmHost) fails() {
	h.publish(
		rpmPackage{name: "hello", version: "1.0"}, rpmPackage{name: "hello", version: "2.0"},
		rpmPackage{name: "world", version: "1.0", fields: "Requires: base"}, rpmPackage{name: "base", version: "1.0"},
		rpmPackage{name: "fighter", version: "1.0", fields: "Conflicts: world"},
		rpmPackage{name: "needy", version: "1.0", fields: "Requires: nothing-has-this"},
		rpmPackage{name: "sick-before", version: "1.0", scripts: "%pre -p <lua>\nerror('the moon is gone')"},
		rpmPackage{name: "sick-after", version: "1.0", scripts: "%post -p <lua>\nerror('the sun is gone')"},
	)
	h.must(h.stage(`{"packages":{"refresh":true,"install":["world"]}}`))
	for _, c := range []struct {
		request, reason, path string
		class                 core.FailureClass
		words                 string
	}{
		{`{"packages":{"install":["hello","helo"]}}`, reasonNoPackage, "packages.install", core.FailureFailed, "a package helo:"},
		{`{"packages":{"install":["hello"],"versions":{"helo":"1"}}}`, reasonNoPackage, "packages.versions.helo", core.FailureFailed, "a package helo:"},
		{`{"packages":{"refresh":true,"versions":{"hello":"3.0"}}}`, reasonNoVersion, "packages.versions.hello", core.FailureFailed, "there are: 2.0-1, 1.0-1"},
		{`{"packages":{"install":["fighter","hello"]}}`, reasonConflict, "", core.FailureFailed, "fighter-1.0-1.noarch conflicts with world"},
		{`{"packages":{"install":["hello","needy"]}}`, reasonConflict, "", core.FailureFailed, "nothing-has-this"},
		{`{"packages":{"remove":["base"],"install":["hello"]}}`, "", "", core.FailureFailed, "world"},
		{`{"packages":{"install":["sick-before"]}}`, reasonScript, "", core.FailureFailed, "the moon is gone"},
	} {
		h.Run(c.request, func(t *testing.T) {
			is := is.New(t)
			err := h.stage(c.request)
			t.Log(err)
			var failure core.Failure
			is.True(errors.As(err, &failure))
			is.Equal(failure.Class, c.class)
			if c.reason == "" { // The tools word it in their own ways.
				is.True(failure.Reason == reasonWouldRemove || failure.Reason == reasonConflict)
			} else {
				is.Equal(failure.Reason, c.reason)
				is.Equal(failure.Path, c.path)
			}
			is.True(strings.Contains(failure.Message, c.words))
			is.Equal(h.installed(), "base-1.0 world-1.0") // All of it, or nothing.
		})
	}
	is := is.New(h)
	err := h.stage(`{"packages":{"install":["sick-after"]}}`)
	h.Log(err)
	var failure core.Failure
	is.True(errors.As(err, &failure))
	is.Equal(failure.Reason, reasonScript)
	is.True(strings.Contains(failure.Message, "the package sick-after"))
	is.True(strings.Contains(failure.Message, "the sun is gone"))
	// To rpm it is installed all the same.
	is.Equal(h.observe(`{"packages":{"install":["sick-after"]}}`).Verdict, core.VerdictSatisfied)
}

// repairs ends a transaction that was killed between bringing a version and taking the other away.
func (h *rpmHost) repairs() {
	is := is.New(h)
	h.publish(rpmPackage{name: "hello", version: "1.0"}, rpmPackage{name: "hello", version: "2.0"})
	file := func(version string) string {
		return filepath.Join(h.repository, "noarch", "hello-"+version+"-1.noarch.rpm")
	}
	h.run("rpm", "--root", h.root, "-i", file("2.0"))
	second := h.run("rpm", "--root", h.root, "-q", "--queryformat", "%{INSTALLTIME}", "hello")
	for h.run("date", "+%s") == second+"\n" {
		// The database tells seconds apart, and no less.
	}
	h.run("rpm", "--root", h.root, "-i", "--oldpackage", "--replacefiles", file("1.0"))
	view := h.observe(`{"packages":{"install":["hello"]}}`)
	is.Equal(view.Detail, "hello-2.0-1.noarch should have gone when another version of it came")
	is.NoErr(h.stage(`{"packages":{"install":["hello"],"revision":"1"}}`))
	is.Equal(h.installed(), "hello-1.0")
	is.Equal(h.read("usr/share/hello/version"), "1.0\n")
}

// distrusts refuses a package that nobody signed.
func (h *rpmHost) distrusts() {
	is := is.New(h)
	h.publish(rpmPackage{name: "hello", version: "1.0"})
	err := h.stage(`{"packages":{"refresh":true,"install":["hello"]}}`)
	h.Log(err)
	var failure core.Failure
	is.True(errors.As(err, &failure))
	is.Equal(failure.Class, core.FailureFailed)
	is.Equal(failure.Reason, reasonUntrusted)
	is.Equal(h.installed(), "")
}

// isDown is told of a repository that does not answer, and is retried.
func (h *rpmHost) isDown(err error) {
	h.Helper()
	is := is.New(h)
	h.Log(err)
	var failure core.Failure
	is.True(errors.As(err, &failure))
	is.Equal(failure.Class, core.FailureRetryable)
	is.Equal(failure.Reason, reasonRepository)
}

// waits lets someone hold a lock for a while.
func (h *rpmHost) waits(lock, request string) {
	h.Helper()
	is := is.New(h)
	other := exec.CommandContext(h.Context(), "sleep", "60")
	h.must(other.Start())
	h.write(lock, fmt.Sprint(other.Process.Pid))
	released := false
	err := h.plugin.Do(h.Context(), core.VerbStage, asked(request), func(p ports.Progress) {
		if p.Step == stepWaiting && !released {
			released = true
			is.True(strings.Contains(p.Message, fmt.Sprintf("waiting for sleep (process %d)", other.Process.Pid)))
			h.must(other.Process.Kill())
			_ = other.Wait() // It was killed.
		}
	})
	is.NoErr(err)
	is.True(released)
}
