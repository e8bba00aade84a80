package packages

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"
)

func newDNFHost(t *testing.T) (*rpmHost, *dnf) {
	t.Helper()
	h := newRPMHost(t, "dnf")
	d := &dnf{
		rpm: rpm{programs: programs{log: &h.log}, root: h.root}, program: "/usr/bin/dnf",
		options: []string{"--installroot=" + h.root, "--releasever=1", "--setopt=pluginconfpath=" + h.path("etc/dnf/plugins")},
		locks:   versionLock{conf: h.path("etc/dnf/plugins/versionlock.conf")},
	}
	h.plugin.detect = func(programs) (manager, error) { return d, nil }
	h.write("etc/dnf/plugins/versionlock.conf", "[main]\nenabled = 0\n")
	h.write("etc/dnf/dnf.conf", "[main]\ngpgcheck=0\n")
	h.write("etc/yum.repos.d/test.repo", "[test]\nname=test\nskip_if_unavailable=1\nbaseurl=file://"+h.repository+"\n")
	return h, d
}

func TestDNFMakesTrue(t *testing.T) {
	h, _ := newDNFHost(t)
	h.makesTrue()
}

func TestDNFLocksVersions(t *testing.T) {
	is := is.New(t)
	h, d := newDNFHost(t)
	h.write("etc/dnf/plugins/versionlock.conf", "[main]\nenabled = 1\nlocklist = "+h.path("locks")+"\n")
	h.write("locks", "# by hand\nworld-0:1.0-1.*\n")
	h.publish(rpmPackage{name: "hello", version: "1.0"}, rpmPackage{name: "hello", version: "2.0"}, rpmPackage{name: "world", version: "1.0"})
	pinned := `{"packages":{"refresh":true,"versions":{"hello":"1.0"},"install":["world"]}}`
	is.NoErr(h.stage(pinned))
	is.Equal(h.installed(), "hello-1.0 world-1.0")
	is.Equal(h.read("locks"), "# by hand\nworld-0:1.0-1.*\n# elemental: hello 1.0\nhello-1.0\n")
	is.True(!h.observe(pinned).NeedsRestart)
	if _, err := os.Stat("/usr/lib/python3/dist-packages/dnf-plugins/versionlock.py"); err == nil {
		// Nor does a person's dnf move it.
		h.run("dnf", append(d.settings(), "upgrade", "hello")...)
		is.Equal(h.installed(), "hello-1.0 world-1.0")
	}
	is.NoErr(h.stage(`{"packages":{"upgrade":["hello"]}}`))
	is.Equal(h.installed(), "hello-2.0 world-1.0")
	is.Equal(h.read("locks"), "# by hand\nworld-0:1.0-1.*\n")
}

func TestDNFFails(t *testing.T) {
	h, _ := newDNFHost(t)
	h.fails()
}

func TestDNFDistrusts(t *testing.T) {
	h, _ := newDNFHost(t)
	h.write("etc/dnf/dnf.conf", "[main]\ngpgcheck=1\nlocalpkg_gpgcheck=1\n")
	h.distrusts()
}

func TestDNFRepairs(t *testing.T) {
	h, _ := newDNFHost(t)
	h.repairs()
}

func TestDNFWaits(t *testing.T) {
	h, _ := newDNFHost(t)
	h.publish(rpmPackage{name: "hello", version: "1.0"})
	h.waits("var/cache/dnf/metadata_lock.pid", `{"packages":{"refresh":true,"install":["hello"]}}`)
	h.waits("var/lib/dnf/rpmdb_lock.pid", `{"packages":{"remove":["hello"]}}`)
}

func TestDNFRepositoryIsDown(t *testing.T) {
	is := is.New(t)
	h, _ := newDNFHost(t)
	h.publish(rpmPackage{name: "hello", version: "1.0"})
	is.NoErr(h.stage(`{"packages":{"refresh":true}}`))
	h.must(os.RemoveAll(filepath.Join(h.repository, "noarch")))
	h.isDown(h.stage(`{"packages":{"install":["hello"]}}`))
	h.must(os.RemoveAll(filepath.Join(h.repository, "repodata")))
	h.isDown(h.stage(`{"packages":{"refresh":true}}`))
	h.write("etc/yum.repos.d/test.repo", strings.Replace(h.read("etc/yum.repos.d/test.repo"), "file://", "http://127.0.0.1:9", 1))
	h.isDown(h.stage(`{"packages":{"refresh":true,"install":["hello"]}}`))
}

// TestCredentialsStayOnTheHost is about the URLs of repositories, which may hold a password, and stand in what dnf says.
func TestCredentialsStayOnTheHost(t *testing.T) {
	is := is.New(t)
	for said, told := range map[string]string{
		"for https://bob:secret@host/repo [x]":   "for https://host/repo [x]",
		"for https://bob:se@cret@host/repo":      "for https://host/repo",
		"https://host/repo mail@host http://b/@": "https://host/repo mail@host http://b/@",
		"proxy 'http://token@proxy:3128'":        "proxy 'http://proxy:3128'",
	} {
		is.Equal(withoutCredentials(said), told)
	}
	h, _ := newDNFHost(t)
	h.write("etc/yum.repos.d/test.repo", "[test]\nname=test\nbaseurl=http://bob:secret@127.0.0.1:9/repo\n")
	err := h.stage(`{"packages":{"refresh":true,"install":["hello"]}}`)
	is.True(err != nil && strings.Contains(err.Error(), "http://127.0.0.1:9/repo"))
	is.True(!strings.Contains(err.Error()+h.log.String(), "secret"))
}

// TestDNF4BesideDNF5 does what the message on a host with dnf 5 says.
func TestDNF4BesideDNF5(t *testing.T) {
	is := is.New(t)
	folder := t.TempDir()
	is.NoErr(os.WriteFile(filepath.Join(folder, "dnf"), []byte("\x7fELF is dnf 5"), 0o755))
	_, err := interpreter(dnfProgram(folder))
	is.True(err != nil && strings.Contains(err.Error(), "brings /usr/bin/dnf-3"))
	is.NoErr(os.WriteFile(filepath.Join(folder, "dnf-3"), []byte("#!/usr/bin/python3\n"), 0o755))
	python, err := interpreter(dnfProgram(folder))
	is.NoErr(err)
	is.Equal(python, "/usr/bin/python3")
}
