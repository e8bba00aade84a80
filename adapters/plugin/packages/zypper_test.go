package packages

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"
)

func newZypperHost(t *testing.T) (*rpmHost, *zypper) {
	t.Helper()
	h := newRPMHost(t, "zypper")
	run := programs{log: &h.log, outside: []string{"env", "ZYPP_LOGFILE=" + h.path("zypper.log")}}
	z := &zypper{rpm: rpm{programs: run, root: h.root}, options: []string{"--root", h.root, "--no-gpg-checks"}}
	h.plugin.detect = func(programs) (manager, error) { return z, nil }
	h.write("etc/zypp/repos.d/test.repo", "[test]\nname=test\nenabled=1\nautorefresh=1\nbaseurl=file://"+h.repository+"\n")
	return h, z
}

func TestZypperMakesTrue(t *testing.T) {
	h, _ := newZypperHost(t)
	h.makesTrue()
}

func TestZypperLocksVersions(t *testing.T) {
	is := is.New(t)
	h, z := newZypperHost(t)
	h.publish(rpmPackage{name: "hello", version: "1.0"}, rpmPackage{name: "hello", version: "2.0"}, rpmPackage{name: "world", version: "1.0"})
	h.zypper(z, "addlock", "by-hand")
	pinned := `{"packages":{"refresh":true,"versions":{"hello":"1.0"},"install":["world"]}}`
	is.NoErr(h.stage(pinned))
	is.Equal(h.installed(), "hello-1.0 world-1.0")
	h.zypper(z, "update") // A person's zypper does not move it, and keeps the lock when it writes others.
	h.zypper(z, "addlock", "by-hand-too")
	is.Equal(h.installed(), "hello-1.0 world-1.0")
	is.Equal(h.observe(pinned).Detail, "")
	is.NoErr(h.stage(`{"packages":{"upgrade":["hello"]}}`))
	is.Equal(h.installed(), "hello-2.0 world-1.0")
	locks := h.zypper(z, "locks")
	is.True(strings.Contains(locks, "by-hand ") && strings.Contains(locks, "by-hand-too "))
	is.True(!strings.Contains(locks, "hello"))
}

// zypper is what a person does by hand.
func (h *rpmHost) zypper(z *zypper, args ...string) string {
	h.Helper()
	return h.run("env", slices.Concat(z.programs.outside[1:], []string{"zypper", "--non-interactive"}, z.options, args)...)
}

func TestZypperFails(t *testing.T) {
	h, _ := newZypperHost(t)
	h.fails()
}

func TestZypperDistrusts(t *testing.T) {
	h, z := newZypperHost(t)
	z.options = z.options[:2]
	h.distrusts()
}

func TestZypperRepairs(t *testing.T) {
	h, _ := newZypperHost(t)
	h.repairs()
}

func TestZypperWaits(t *testing.T) {
	h, _ := newZypperHost(t)
	h.publish(rpmPackage{name: "hello", version: "1.0"})
	h.waits("run/zypp.pid", `{"packages":{"refresh":true,"install":["hello"]}}`)
}

func TestZypperRestarts(t *testing.T) {
	is := is.New(t)
	h, z := newZypperHost(t)
	h.publish(rpmPackage{name: "hello", version: "1.0"}, rpmPackage{name: "glibc", version: "2.0"})
	is.NoErr(h.stage(`{"packages":{"refresh":true,"install":["hello"]}}`))
	reasons, err := z.RestartReasons(t.Context())
	is.NoErr(err)
	is.Equal(len(reasons), 0)
	h.write("run/reboot-needed", "")
	reasons, err = z.RestartReasons(t.Context())
	is.NoErr(err)
	is.Equal(reasons, []string{"/run/reboot-needed"})
	is.NoErr(h.stage(`{"packages":{"install":["glibc"]}}`))
	view := h.observe(`{"packages":{"install":["glibc"]}}`)
	is.True(view.NeedsRestart)
	is.True(strings.Contains(view.Detail, "glibc is now 2.0-1"))
}

func TestZypperRepositoryIsDown(t *testing.T) {
	is := is.New(t)
	h, _ := newZypperHost(t)
	h.publish(rpmPackage{name: "hello", version: "1.0"})
	is.NoErr(h.stage(`{"packages":{"refresh":true}}`))
	h.must(os.RemoveAll(filepath.Join(h.repository, "noarch")))
	h.isDown(h.stage(`{"packages":{"install":["hello"]}}`))
	h.write("etc/zypp/repos.d/test.repo", strings.Replace(h.read("etc/zypp/repos.d/test.repo"), "file://", "http://127.0.0.1:9", 1))
	h.isDown(h.stage(`{"packages":{"refresh":true,"install":["hello"]}}`))
}
