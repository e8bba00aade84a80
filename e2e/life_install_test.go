package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"elemental/e2e/hosts"
	"elemental/e2e/lab"
	"elemental/e2e/registry"
)

// TestLifeInstall tells of a host that begins with an install medium and an empty disk: the medium lets it join, installs its
// system and turns it off; the disk is the same host from then on.
func TestLifeInstall(t *testing.T) {
	t.Parallel()
	if err := hosts.Missing(); err != nil {
		if os.Getuid() == 0 {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	s := newSettingLike(t, func(l *lab.Lab) { l.ControllerManager = true })
	g := &door{s.newGate(t, fmt.Sprintf(`{"hostLabels":{"site":"north"},"config":{"elemental":{
		"agent":{"osPlugin":"image","debug":true,"hostname":{"prefix":"edge-"},"postInstall":{"powerOff":true}},
		"install":{"image":%q,"root":"/mnt/disk"}}}}`, s.v1.Reference))}
	disk := t.TempDir()
	medium := g.bootMedium(t, disk)

	// The medium lets the host join, installs its system, and turns it off.
	if err := medium.WaitOff(t.Context()); err != nil {
		t.Fatal(err)
	}
	if boots := medium.Boots(); len(boots) != 1 || boots[0].End != hosts.PoweredOff {
		t.Fatalf("the medium was booted so: %+v", boots)
	}
	g.eventually("its request has served", func() bool { return len(g.names("elementalhostrequests")) == 0 })
	if found := g.names("elementalhosts"); len(found) != 1 {
		t.Fatalf("it is %d hosts: %s", len(found), found)
	}
	st := &stage{T: t, setting: s, namespace: g.namespace, name: g.names("elementalhosts")[0]}
	waiting, err := st.host()
	if err != nil {
		t.Fatal(err)
	}
	st.equal("its InstallationReady", waiting.condition("InstallationReady").Reason, "WaitingForInstallation")
	before := st.uid()

	// The disk is that host, and lives as any other.
	st.machine = g.bootDisk(t, st.name, disk)
	installed := st.await("it is installed", func(h host) bool {
		return h.ready() && h.condition("InstallationReady").Status == "True" && h.condition("AgentConnected").Status == "True"
	})
	st.equal("its phase", installed.Status.Phase, "Running")
	st.equal("its system", st.runs(), "v1")
	st.equal("the host", st.uid(), before)
	st.equal("the number of requests", len(g.names("elementalhostrequests")), 0)
	st.equal("its name", strings.TrimSpace(st.exec("hostname")), st.name)
	st.ask(s.v2.Reference)
	st.waitReady()
	st.equal("its system after the upgrade", st.runs(), "v2")
	st.equal("the number of its boots", len(st.machine.Boots()), 2)

	// Who boots the medium once more is told, and loses nothing.
	if err := st.machine.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	entries := listing(t, filepath.Join(disk, "boot/loader/entries"))
	if err := medium.On(); err != nil {
		t.Fatal(err)
	}
	g.eventually("the medium says why it does nothing", func() bool {
		return strings.Contains(medium.Journal(t.Context(), "elemental-install.service"), "it is not installed again: start this host from it")
	})
	st.equal("what the disk boots", listing(t, filepath.Join(disk, "boot/loader/entries")), entries)
	st.equal("the host", st.uid(), before)
	if boots := medium.Boots(); len(boots) != 2 || boots[1].End != "" {
		t.Errorf("the medium was booted so: %+v", boots)
	}
	if err := medium.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := st.machine.On(); err != nil {
		t.Fatal(err)
	}
	st.await("it runs as before", func(h host) bool { return h.ready() && h.condition("AgentConnected").Status == "True" })
	st.equal("its system at last", st.runs(), "v2")
}

// bootMedium starts a machine from an install medium; the disk is a folder.
func (d *door) bootMedium(t *testing.T, disk string) *hosts.Host {
	t.Helper()
	system := registry.System{Version: "medium", Files: []registry.File{
		{Path: "usr/lib/systemd/system/elemental-install.service", From: filepath.Join(d.Checkout, "packaging", "systemd", "elemental-install.service")},
		registry.Enable("elemental-install.service", "multi-user.target"),
		registry.Mask("elemental-agent.service"),
	}}
	printed := d.says("registration", "config", "field")
	if !strings.Contains(printed, "powerOff: true") {
		t.Fatalf("the configuration does not say what follows the installation:\n%s", printed)
	}
	medium, err := d.StartPlainHost(t.Context(), hosts.Config{
		Host: "medium", Registry: d.Images.Address(), Printed: printed, Mounts: map[string]string{"/mnt/disk": disk},
	}, system)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(medium.Report(t.Context()), medium.Journal(t.Context(), "elemental-install.service"))
		}
		medium.Remove()
	})
	return medium
}

// bootDisk starts a machine from a disk that was installed.
func (d *door) bootDisk(t *testing.T, name, disk string) *hosts.Host {
	t.Helper()
	machine, err := hosts.Start(t.Context(), hosts.Options{Name: name, Binary: d.Binary, Disk: disk})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(machine.Report(t.Context()))
		}
		machine.Remove()
	})
	return machine
}

// listing names what is in a folder.
func listing(t *testing.T, folder string) string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}
