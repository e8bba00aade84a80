package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// A need is something of the operating system that some layer of the tests runs.
type need struct {
	// sign is a program in PATH or, with a slash, a file whose presence proves the package.
	sign string
	pkg  string // Debian's name
	why  string
	// hosts says that only the layers that start whole hosts need it. Those layers run as root on Linux.
	hosts bool
}

var needs = []need{
	{sign: "make", pkg: "make", why: "every target"},
	{sign: "git", pkg: "git", why: "the version in the binary"},
	{sign: "gcc", pkg: "gcc", why: "the race detector"},
	{sign: "/usr/include/stdlib.h", pkg: "libc6-dev", why: "the race detector"},
	{sign: "/etc/ssl/certs/ca-certificates.crt", pkg: "ca-certificates", why: "downloads over HTTPS"},
	{sign: "jq", pkg: "jq", why: "the plugin that the documentation shows"},
	{sign: "/usr/bin/python3", pkg: "python3", why: "the same plugin in Python"},
	{sign: "zsh", pkg: "zsh", why: "completion in zsh", hosts: true},
	{sign: "fish", pkg: "fish", why: "completion in fish", hosts: true},
	{sign: "systemd-nspawn", pkg: "systemd-container", why: "hosts with their own systemd", hosts: true},
	{sign: "mmdebstrap", pkg: "mmdebstrap", why: "the hosts' root file system", hosts: true},
	{sign: "dbus-daemon", pkg: "dbus", why: "hosts' D-Bus", hosts: true},
	{sign: "mkfs.ext4", pkg: "e2fsprogs", why: "disks", hosts: true},
	{sign: "dnf", pkg: "dnf", why: "the plugin packages with dnf", hosts: true},
	{sign: "zypper", pkg: "zypper", why: "the plugin packages with zypper", hosts: true},
	{sign: "rpmbuild", pkg: "rpm", why: "packages for dnf and zypper", hosts: true},
	{sign: "createrepo_c", pkg: "createrepo-c", why: "repositories for dnf and zypper", hosts: true},
}

// checkPackages fails when a layer of the tests that this machine could run would lack a program.
// Without all, only the layers of `make test-fast` count.
func checkPackages(all bool) error {
	hosts := all && runtime.GOOS == "linux" && os.Geteuid() == 0
	if all && !hosts {
		say("Only root on Linux can start hosts and machines: the tests that need them are skipped.")
	}
	var missing, reasons []string
	for _, n := range needs {
		if n.hosts && !hosts || n.present() {
			continue
		}
		if !slices.Contains(missing, n.pkg) {
			missing = append(missing, n.pkg)
		}
		reasons = append(reasons, fmt.Sprintf("  %s (%s)", n.sign, n.why))
	}
	if len(missing) == 0 {
		return nil
	}
	return errors.New("the tests need programs that this machine lacks:\n" + strings.Join(reasons, "\n") +
		"\nOn Debian this command installs them:\n  apt-get install --no-install-recommends " + strings.Join(missing, " "))
}

func (n need) present() bool {
	if strings.Contains(n.sign, "/") {
		return exists(n.sign)
	}
	if _, err := exec.LookPath(n.sign); err == nil {
		return true
	}
	// Debian keeps disk tools out of an ordinary user's PATH.
	return exists(filepath.Join("/usr/sbin", n.sign)) || exists(filepath.Join("/sbin", n.sign))
}

func allPackages() []string {
	var names []string
	for _, n := range needs {
		names = append(names, n.pkg)
	}
	return names
}
