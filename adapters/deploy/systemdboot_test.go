package deploy_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/matryer/is"

	"elemental/adapters/deploy"
	"elemental/ports"
	"elemental/ports/portstest"
)

// firmware plays systemd-boot on a folder. It knows the files only by what the Boot Loader Specification and
// Automatic Boot Assessment say of them.
type firmware struct {
	deploy.SystemdBoot
}

func newFirmware(t *testing.T) firmware {
	t.Helper()
	run := t.TempDir()
	commandLine := filepath.Join(run, "cmdline")
	if err := os.WriteFile(commandLine, []byte("quiet root=LABEL=x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return firmware{deploy.SystemdBoot{Boot: t.TempDir(), BootedFile: filepath.Join(run, "deployment"), CommandLine: commandLine}}
}

var counters = regexp.MustCompile(`^(.*?)(?:\+(\d+)(?:-(\d+))?)?\.conf$`)

func (f firmware) Boot(t *testing.T) string {
	t.Helper()
	type choice struct {
		file, stem, version, deployment string
		left, done                      int
	}
	var choices []choice
	folder := filepath.Join(f.SystemdBoot.Boot, "loader", "entries")
	files, err := filepath.Glob(filepath.Join(folder, "*.conf"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		parts := counters.FindStringSubmatch(filepath.Base(file))
		c := choice{file: file, stem: parts[1], left: -1, deployment: strings.TrimPrefix(parts[1], "elemental-")}
		if parts[2] != "" {
			c.left, _ = strconv.Atoi(parts[2])
			c.done, _ = strconv.Atoi(parts[3])
		}
		for line := range strings.Lines(string(content)) {
			if version, ok := strings.CutPrefix(line, "version "); ok {
				c.version = strings.TrimSpace(version)
			}
		}
		choices = append(choices, c)
	}
	slices.SortFunc(choices, func(a, b choice) int {
		if (a.left == 0) != (b.left == 0) {
			if a.left == 0 {
				return 1
			}
			return -1
		}
		return strings.Compare(b.version, a.version) // Padded with zeros, they sort as text.
	})
	if len(choices) == 0 {
		return ""
	}
	chosen := choices[0]
	if chosen.left > 0 {
		counted := chosen.stem + "+" + strconv.Itoa(chosen.left-1) + "-" + strconv.Itoa(chosen.done+1) + ".conf"
		if err := os.Rename(chosen.file, filepath.Join(folder, counted)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(f.BootedFile, []byte(chosen.deployment+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return chosen.deployment
}

func TestSystemdBoot(t *testing.T) {
	portstest.TestBootLoader(t, func(t *testing.T) (ports.BootLoader, portstest.Starter) {
		f := newFirmware(t)
		return f.SystemdBoot, f
	})
}

func TestFakeBootLoader(t *testing.T) {
	portstest.TestBootLoader(t, func(*testing.T) (ports.BootLoader, portstest.Starter) {
		fake := &portstest.BootLoader{}
		return fake, fake
	})
}

const someDeployment = "00112233445566778899aabbccddeeff"

func TestAnEntryIsWhatSystemdBootReads(t *testing.T) {
	is := is.New(t)
	f := newFirmware(t)
	is.NoErr(f.Add(t.Context(), ports.BootEntry{
		Deployment: someDeployment, Title: "Test 2", Order: 7, Trial: true, Tries: 3,
		Kernel: "/elemental/ab/linux", Initrd: "/elemental/ab/initrd", Options: "quiet elemental.deployment=" + someDeployment,
	}))
	content, err := os.ReadFile(filepath.Join(f.SystemdBoot.Boot, "loader/entries/elemental-"+someDeployment+"+3.conf"))
	is.NoErr(err)
	is.Equal(string(content), `title Test 2
version 00000000000000000007
sort-key elemental
linux /elemental/ab/linux
initrd /elemental/ab/initrd
options quiet elemental.deployment=`+someDeployment+"\n")
}

func TestNothingCanBeSmuggledIntoAnEntry(t *testing.T) {
	is := is.New(t)
	f := newFirmware(t)
	is.True(f.Add(t.Context(), ports.BootEntry{Deployment: someDeployment, Title: "x\nlinux /evil"}) != nil)
	is.True(f.Add(t.Context(), ports.BootEntry{Deployment: "../../etc"}) != nil)
}

func TestForeignAndHalfWrittenEntriesAreLeftAlone(t *testing.T) {
	is := is.New(t)
	f := newFirmware(t)
	folder := filepath.Join(f.SystemdBoot.Boot, "loader", "entries")
	is.NoErr(os.MkdirAll(folder, 0o755))
	for _, name := range []string{"debian.conf", "elemental-" + someDeployment + "+3.conf.tmp", "elemental-short.conf"} {
		is.NoErr(os.WriteFile(filepath.Join(folder, name), []byte("version 9\n"), 0o600))
	}
	entries, err := f.Entries(t.Context())
	is.NoErr(err)
	is.Equal(len(entries), 0)
	is.NoErr(f.Add(t.Context(), ports.BootEntry{Deployment: someDeployment, Order: 1, Trial: true, Tries: 3}))
	is.NoErr(f.Remove(t.Context(), someDeployment))
	is.True(exists(t, filepath.Join(folder, "debian.conf")))
}

func TestACrashBetweenTheNewEntryAndTheOldLeavesTheNew(t *testing.T) {
	is := is.New(t)
	f := newFirmware(t)
	is.NoErr(f.Add(t.Context(), ports.BootEntry{Deployment: someDeployment, Order: 5, Trial: true, Tries: 3}))
	folder := filepath.Join(f.SystemdBoot.Boot, "loader", "entries")
	is.NoErr(os.WriteFile(filepath.Join(folder, "elemental-"+someDeployment+"+0-3.conf"), []byte("title old\nversion 2\n"), 0o600))
	entries, err := f.Entries(t.Context())
	is.NoErr(err)
	is.Equal(len(entries), 1)
	is.Equal(entries[0].Tries, 3)
	is.NoErr(f.Confirm(t.Context(), someDeployment))
	files, err := os.ReadDir(folder)
	is.NoErr(err)
	is.Equal(len(files), 1)
	is.Equal(files[0].Name(), "elemental-"+someDeployment+".conf")
}

func TestWhatWasBootedStandsOnTheCommandLineToo(t *testing.T) {
	is := is.New(t)
	f := newFirmware(t)
	is.NoErr(os.WriteFile(f.CommandLine, []byte("quiet elemental.deployment="+someDeployment+" ro\n"), 0o600))
	booted, err := f.Booted(t.Context())
	is.NoErr(err)
	is.Equal(booted, someDeployment)
	is.NoErr(os.WriteFile(f.CommandLine, []byte("elemental.deployment=../../x\n"), 0o600))
	booted, err = f.Booted(t.Context())
	is.NoErr(err)
	is.Equal(booted, "")
}
