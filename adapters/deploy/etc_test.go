package deploy_test

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"
	"golang.org/x/sys/unix"

	"elemental/adapters/deploy"
	"elemental/core"
	"elemental/ports"
)

func TestWhatTheAdministratorChangedIsCarriedOver(t *testing.T) {
	is := is.New(t)
	h := newHost(t)
	common := []item{
		folder("etc/d/"), {name: "etc/d/unit", content: "default\n"}, {name: "etc/removed", content: "x"}, {name: "etc/both", content: "1"},
		{name: "etc/mode", content: "x", xattrs: map[string]string{"user.note": "kept", "user.empty": ""}}, symlink("etc/localtime", "/usr/share/zoneinfo/UTC"), {name: "etc/removed-and-changed", content: "1"},
		folder("etc/becomes-link/"), {name: "etc/becomes-link/mine", content: "default"},
	}
	v1 := h.put("v1", system(t, "1", common...))
	v2 := h.put("v2", system(t, "2",
		folder("etc/d/"), item{name: "etc/d/unit", content: "default\n"}, item{name: "etc/removed", content: "x"}, item{name: "etc/both", content: "2"},
		item{name: "etc/mode", content: "x"}, symlink("etc/localtime", "/usr/share/zoneinfo/UTC"), item{name: "etc/new", content: "new default"},
		item{name: "etc/removed-and-changed", content: "2"}, symlink("etc/becomes-link", "/usr/lib")))
	h.install(v1)
	own := func(elements ...string) string {
		return h.path(append([]string{"deployments", h.next(), "etc"}, elements...)...)
	}
	for at, content := range map[string]string{"d/unit": "mine\n", "machine-id": "0123\n", "both": "mine", "becomes-link/mine": "mine"} {
		is.NoErr(os.WriteFile(own(at), []byte(content), 0o644))
	}
	is.NoErr(os.MkdirAll(own("fresh", "deep"), 0o710))
	is.NoErr(os.WriteFile(own("fresh", "deep", "file"), []byte("secret"), 0o600))
	is.NoErr(os.Remove(own("removed")))
	is.NoErr(os.Remove(own("removed-and-changed")))
	is.NoErr(os.Chmod(own("mode"), 0o600))
	is.NoErr(os.Chmod(own("d"), 0o700))
	is.NoErr(os.Remove(own("localtime")))
	is.NoErr(os.Symlink("/usr/share/zoneinfo/Europe/Rome", own("localtime")))
	is.NoErr(os.Chtimes(own("same"), time.Now(), time.Now())) // Touched is not changed.

	var said []string
	is.NoErr(h.Stage(t.Context(), request(v2), func(p ports.Progress) { said = append(said, p.Message) }))
	for _, conflict := range []string{"/etc/both", "/etc/removed-and-changed"} {
		is.True(slices.ContainsFunc(said, func(m string) bool {
			return strings.HasPrefix(m, "kept the local file") && strings.HasSuffix(m, conflict)
		}))
	}
	two := h.next()
	for at, want := range map[string]string{
		"d/unit": "mine\n", "machine-id": "0123\n", "both": "mine", "fresh/deep/file": "secret", "new": "new default",
		"hostname": "image-2\n", "same": "the same in all\n", "becomes-link/mine": "mine",
	} {
		is.Equal(h.read(two, "etc", at), want)
	}
	for _, gone := range []string{"removed", "removed-and-changed"} {
		is.True(!exists(t, own(gone)))
	}
	mode := func(at string) os.FileMode {
		info, err := os.Lstat(own(at))
		is.NoErr(err)
		return info.Mode().Perm()
	}
	is.Equal(mode("mode"), os.FileMode(0o600))
	value := make([]byte, 10)
	n, err := unix.Lgetxattr(own("mode"), "user.note", value)
	is.NoErr(err)
	is.Equal(string(value[:n]), "kept")
	is.Equal(mode("d"), os.FileMode(0o700))
	is.Equal(mode("fresh/deep/file"), os.FileMode(0o600))
	link, err := os.Readlink(own("localtime"))
	is.NoErr(err)
	is.Equal(link, "/usr/share/zoneinfo/Europe/Rome")
	is.Equal(h.read(two, "root/etc/both"), "2") // The image's own stays what it is.
}

func TestConflictsAreNamedAndWhatChangesBeforeTheRestartIsCarriedToo(t *testing.T) {
	is := is.New(t)
	h := newHost(t)
	v1, v2 := h.put("v1", system(t, "1")), h.put("v2", system(t, "2"))
	h.install(v1)
	one := h.next()
	conflicts, err := h.CarryEtc(t.Context())
	is.NoErr(err)
	is.Equal(len(conflicts), 0) // Nothing is staged.
	h.mustStage(v2)
	two := h.next()
	is.Equal(h.read(two, "etc/hostname"), "image-2\n")

	is.NoErr(os.WriteFile(h.path("deployments", one, "etc/hostname"), []byte("mine\n"), 0o644))
	is.NoErr(os.WriteFile(h.path("deployments", one, "etc/late"), []byte("late\n"), 0o644))
	conflicts, err = h.CarryEtc(t.Context())
	is.NoErr(err)
	is.True(slices.Equal(conflicts, []string{"/etc/hostname"}))
	is.Equal(h.read(two, "etc/hostname"), "mine\n")
	is.Equal(h.read(two, "etc/late"), "late\n")

	is.NoErr(os.Remove(h.path("deployments", one, "etc/late")))
	_, err = h.CarryEtc(t.Context())
	is.NoErr(err)
	is.True(!exists(t, h.path("deployments", two, "etc/late"))) // Carrying over is made anew, not added to.
	is.True(!exists(t, h.path("staging")))
}

func TestVarStartsFromTheImageOnceAndIsSharedThen(t *testing.T) {
	is := is.New(t)
	h := newHost(t)
	is.NoErr(os.MkdirAll(h.path("var", "lib"), 0o755))
	is.NoErr(os.WriteFile(h.path("var", "lib", "mine"), []byte("mine"), 0o600))
	v1 := h.put("v1", system(t, "1",
		item{name: "var/lib/mine", content: "default"}, item{name: "var/lib/other", content: "default"}, item{name: "root/.profile", content: "p"},
		folder("home/"), item{name: "home/user/file", content: "f"}))
	h.install(v1)
	for at, want := range map[string]string{"lib/mine": "mine", "lib/other": "default", "roothome/.profile": "p", "home/user/file": "f"} {
		content, err := os.ReadFile(h.path("var", at))
		is.NoErr(err)
		is.Equal(string(content), want)
	}
	info, err := os.Stat(h.path("var", "roothome"))
	is.NoErr(err)
	is.Equal(info.Mode().Perm(), os.FileMode(0o700))
	is.NoErr(os.Remove(h.path("var", "lib", "other")))
	h.update(h.put("v2", system(t, "2", item{name: "var/lib/other", content: "again"})))
	is.True(!exists(t, h.path("var", "lib", "other"))) // It belongs to what runs now.
}

func TestAFolderThatBothTheAdministratorAndTheNewImageMadeIsMerged(t *testing.T) {
	is := is.New(t)
	h := newHost(t)
	v1 := h.put("v1", system(t, "1", symlink("etc/was-link", "/usr/lib"), item{name: "etc/was-file", content: "x"}))
	v2 := h.put("v2", system(t, "2",
		folder("etc/elemental/"), item{name: "etc/elemental/image.yaml", content: "default"}, item{name: "etc/elemental/both", content: "image"},
		item{name: "etc/elemental/agreed", content: "agreed"}, folder("etc/elemental/deep/"), item{name: "etc/elemental/deep/default", content: "default"},
		folder("etc/closed/"), item{name: "etc/closed/default", content: "default"},
		folder("etc/was-link/"), item{name: "etc/was-link/default", content: "default"},
		folder("etc/was-file/"), item{name: "etc/was-file/default", content: "default"}))
	h.install(v1)
	own := func(elements ...string) string {
		return h.path(append([]string{"deployments", h.next(), "etc"}, elements...)...)
	}
	is.NoErr(os.Remove(own("was-link")))
	is.NoErr(os.Remove(own("was-file")))
	for _, made := range []string{"elemental", "elemental/deep", "closed", "was-link", "was-file"} {
		is.NoErr(os.Mkdir(own(made), 0o755))
		is.NoErr(os.WriteFile(own(made, "mine"), []byte("mine"), 0o600))
	}
	is.NoErr(os.WriteFile(own("elemental", "agent.yaml"), []byte("mine"), 0o600))
	is.NoErr(os.WriteFile(own("elemental", "both"), []byte("mine"), 0o644))
	is.NoErr(os.WriteFile(own("elemental", "agreed"), []byte("agreed"), 0o644))
	is.NoErr(os.Chmod(own("closed"), 0o700))

	h.mustStage(v2)
	two := h.next()
	look := func() {
		for at, want := range map[string]string{
			"elemental/agent.yaml": "mine", "elemental/image.yaml": "default", "elemental/both": "mine", "elemental/agreed": "agreed",
			"elemental/mine": "mine", "elemental/deep/mine": "mine", "elemental/deep/default": "default",
			"closed/mine": "mine", "closed/default": "default",
			"was-link/mine": "mine", "was-link/default": "default", "was-file/mine": "mine", "was-file/default": "default",
		} {
			is.Equal(h.read(two, "etc", at), want)
		}
		info, err := os.Lstat(own("closed"))
		is.NoErr(err)
		is.Equal(info.Mode().Perm(), os.FileMode(0o700))
	}
	look()
	conflicts, err := h.CarryEtc(t.Context())
	is.NoErr(err)
	is.True(slices.Equal(conflicts, []string{"/etc/closed", "/etc/elemental/both"}))
	look()
}

func TestAnImageWithoutAFolderToMountOnIsRefused(t *testing.T) {
	for _, what := range []string{"etc", "var", "dev", "proc", "sys", "run"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			is := is.New(t)
			h := newHost(t)
			around := t.TempDir()
			is.NoErr(os.WriteFile(around+"/secret", []byte("the host's own"), 0o600))
			for n, instead := range []item{symlink(what, around), symlink(what, "usr"), symlink(what, "nowhere"), {name: what, content: "x"}} {
				bad := h.put("bad"+string(rune('a'+n)), system(t, "1"), layer(t, instead))
				failure := failureOf(t, h.stage(bad))
				is.Equal(failure.Class, core.FailureInvalid)
				is.Equal(failure.Reason, deploy.ReasonNoFolder)
				is.True(strings.Contains(failure.Message, "/"+what+" "))
			}
			is.True(!exists(t, h.path("staging")))
		})
	}
}

func TestEtcIsNeverReadThroughALink(t *testing.T) {
	is := is.New(t)
	h := newHost(t)
	h.install(h.put("v1", system(t, "1")))
	h.mustStage(h.put("v2", system(t, "2")))
	around := t.TempDir()
	is.NoErr(os.WriteFile(around+"/secret", []byte("the host's own"), 0o600))
	etc := h.path("deployments", h.next(), "root", "etc")
	is.NoErr(os.RemoveAll(etc))
	is.NoErr(os.Symlink(around, etc)) // As a deployment that an older engine laid down may have it.
	_, err := h.CarryEtc(t.Context())
	is.True(err != nil)
	is.True(strings.Contains(err.Error(), "not a folder"))
	is.True(!exists(t, h.path("deployments", h.next(), "etc", "secret")))
}
