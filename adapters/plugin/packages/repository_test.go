package packages

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"elemental/core"
	"elemental/ports"
)

// debian is a root of its own, with a real apt and dpkg at work in it, and a repository of its own.
type debian struct {
	*testing.T
	root, repository string
	apt              *apt
	plugin           *Plugin
	boot             string
	progress         []ports.Progress
	log              strings.Builder
}

func newDebian(t *testing.T) *debian {
	t.Helper()
	for _, name := range []string{"apt-get", "dpkg", "dpkg-deb"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skip("this machine has no " + name)
		}
	}
	d := &debian{T: t, root: t.TempDir(), repository: t.TempDir(), boot: "boot-1"}
	for _, folder := range []string{
		"etc/apt/preferences.d", "etc/apt/apt.conf.d", "etc/apt/sources.list.d", "var/lib/dpkg/info", "var/lib/dpkg/updates",
		"var/lib/dpkg/triggers", "var/lib/apt/lists/partial", "var/cache/apt/archives/partial", "var/log/apt", "run",
	} {
		d.must(os.MkdirAll(filepath.Join(d.root, folder), 0o755))
	}
	d.write("var/lib/dpkg/status", "")
	d.write("etc/apt/sources.list", "deb [trusted=yes] copy:"+d.repository+" ./\n")
	admin := "--admindir=" + d.path("var/lib/dpkg")
	d.apt = &apt{
		programs: programs{log: &d.log}, root: d.root, admin: []string{admin},
		options: []string{"-o", "Dir=" + d.root, "-o", "Dir::State::status=" + d.path("var/lib/dpkg/status"), "-o", "APT::Sandbox::User=root"},
	}
	for _, option := range []string{admin, "--instdir=" + d.root, "--force-script-chrootless", "--force-not-root", "--force-unsafe-io", "--log=" + d.path("var/log/dpkg.log")} {
		d.apt.options = append(d.apt.options, "-o", "DPkg::Options::="+option)
		d.apt.dpkg = append(d.apt.dpkg, option)
	}
	d.plugin = New(filepath.Join(d.root, "work"), func() (string, error) { return d.boot, nil }, &d.log)
	d.plugin.detect = func(programs) (manager, error) { return d.apt, nil }
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the programs said:\n%s", d.log.String())
		}
	})
	return d
}

func (d *debian) must(err error) {
	d.Helper()
	if err != nil {
		d.Fatal(err)
	}
}

func (d *debian) path(name string) string { return filepath.Join(d.root, name) }

func (d *debian) write(name, text string) { d.must(os.WriteFile(d.path(name), []byte(text), 0o644)) }

// deb is a package. Its scripts see the test's root as $ROOT.
type deb struct{ name, version, fields, preinst, postinst, settings string }

// publish puts packages into the repository.
func (d *debian) publish(packages ...deb) {
	d.Helper()
	for _, p := range packages {
		folder := d.TempDir()
		control := filepath.Join(folder, "DEBIAN")
		content := filepath.Join(folder, "usr/share", p.name)
		d.must(os.MkdirAll(control, 0o755))
		d.must(os.MkdirAll(content, 0o755))
		d.must(os.WriteFile(filepath.Join(content, "version"), []byte(p.version), 0o644))
		text := fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: Test <test@example.com>\nDescription: test\n%s", p.name, p.version, p.fields)
		d.must(os.WriteFile(filepath.Join(control, "control"), []byte(text), 0o644))
		for name, script := range map[string]string{"preinst": p.preinst, "postinst": p.postinst} {
			if script != "" {
				d.must(os.WriteFile(filepath.Join(control, name), []byte("#!/bin/sh\nROOT="+d.root+"\n"+script+"\n"), 0o755))
			}
		}
		if p.settings != "" { // Its configuration file.
			d.must(os.MkdirAll(filepath.Join(folder, "etc"), 0o755))
			d.must(os.WriteFile(filepath.Join(folder, "etc", p.name+".conf"), []byte(p.settings), 0o644))
			d.must(os.WriteFile(filepath.Join(control, "conffiles"), []byte("/etc/"+p.name+".conf\n"), 0o644))
		}
		file := filepath.Join(d.repository, p.name+"_"+p.version+".deb")
		d.run("dpkg-deb", "-Znone", "--root-owner-group", "--build", folder, file)
	}
	files, err := filepath.Glob(filepath.Join(d.repository, "*.deb"))
	d.must(err)
	var index strings.Builder
	for _, file := range files {
		info, err := os.Stat(file)
		d.must(err)
		fmt.Fprintf(&index, "%sFilename: ./%s\nSize: %d\nSHA256: %s\n\n", d.run("dpkg-deb", "--field", file), filepath.Base(file), info.Size(),
			strings.Fields(d.run("sha256sum", file))[0])
	}
	d.must(os.WriteFile(filepath.Join(d.repository, "Packages"), []byte(index.String()), 0o644))
}

func (d *debian) run(name string, args ...string) string {
	d.Helper()
	out, err := exec.CommandContext(d.Context(), name, args...).Output()
	d.must(err)
	return string(out)
}

func asked(text string) ports.Request {
	hash, err := core.HashRequest([]byte(text))
	if err != nil {
		panic(err)
	}
	return ports.Request{Host: "test", OSVersion: []byte(text), Hash: hash}
}

func (d *debian) observe(text string) core.View {
	d.Helper()
	o, err := d.plugin.Observe(d.Context(), asked(text))
	d.must(err)
	return o.View
}

func (d *debian) stage(text string) error {
	d.progress = nil
	return d.plugin.Do(d.Context(), core.VerbStage, asked(text), func(p ports.Progress) { d.progress = append(d.progress, p) })
}

// installed lists what dpkg has, each as name=version.
func (d *debian) installed() string {
	d.Helper()
	return strings.Join(strings.Fields(d.run("dpkg-query", d.apt.admin[0], "--show", "--showformat=${db:Status-Abbrev}${Package}=${Version}\n")), " ")
}
