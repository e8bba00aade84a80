package pid1

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/matryer/is"
	"golang.org/x/sys/unix"
)

// childDisk tells the test binary that it is the first process of a namespace, and where its disk is.
const childDisk = "ELEMENTAL_TEST_DISK"

func TestMain(m *testing.M) {
	if disk := os.Getenv(childDisk); disk != "" {
		if err := firstProcess(disk); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// firstProcess makes a folder the root, as a kernel does with a disk, enters the deployment, and prints what
// the deployment's init would find.
func firstProcess(disk string) error {
	for _, step := range []Step{{Do: Private, To: "/"}, {Do: Bind, From: disk, To: disk}, {Do: Enter, To: disk}} {
		if err := step.carryOut(); err != nil {
			return err
		}
	}
	init, err := enterDeployment(anID, func(line string) { fmt.Println(line) })
	if err != nil {
		return err
	}
	fmt.Println("init:", init)
	for _, name := range []string{BootedFile, "/etc/hostname", "/var/kept", "/boot/loader/entries/one.conf", "/home/me/letter"} {
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		fmt.Printf("%s: %s\n", name, strings.TrimSpace(string(text)))
	}
	for _, folder := range []string{"/", "/usr", "/etc", "/var", "/root", "/tmp", "/run", "/elemental/deployments"} {
		err := os.WriteFile(filepath.Join(folder, "new"), nil, 0o644)
		fmt.Printf("writing in %s: %v\n", folder, err == nil)
		if err != nil && !errors.Is(err, unix.EROFS) {
			return err
		}
	}
	self, err := os.Readlink("/proc/self")
	fmt.Println("pid:", self)
	return err
}

// aDisk lays out the disk of a host with one deployment.
func aDisk(t *testing.T) string {
	t.Helper()
	is := is.New(t)
	disk := t.TempDir()
	tree := "elemental/deployments/" + anID
	for _, folder := range []string{"proc", "sys", "dev", "run", "elemental/var/home/me", "boot/loader/entries",
		tree + "/etc", tree + "/root/etc", tree + "/root/usr/sbin", tree + "/root/var", tree + "/root/run"} {
		is.NoErr(os.MkdirAll(filepath.Join(disk, folder), 0o755))
	}
	is.NoErr(os.Symlink("usr/sbin", filepath.Join(disk, tree, "root/sbin")))
	for name, text := range map[string]string{
		tree + "/etc/hostname": "host", tree + "/root/etc/hostname": "default", "elemental/var/kept": "yes",
		"boot/loader/entries/one.conf": "title One", "elemental/var/home/me/letter": "Dear",
	} {
		is.NoErr(os.WriteFile(filepath.Join(disk, name), []byte(text), 0o644))
	}
	is.NoErr(os.Symlink("/lib/systemd/systemd", filepath.Join(disk, tree, "root/usr/sbin/init")))
	return disk
}

// enterInNamespace enters the deployment of a disk as the first process of new namespaces.
func enterInNamespace(t *testing.T, disk string) (said string, err error) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can make namespaces with mounts of their own")
	}
	child := exec.Command("/proc/self/exe")
	child.Env = []string{childDisk + "=" + disk}
	child.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID}
	out, err := child.CombinedOutput()
	return string(out), err
}

func TestEnterDeployment(t *testing.T) {
	is := is.New(t)
	disk := aDisk(t)
	for range 2 { // A host boots more than once from one disk.
		said, err := enterInNamespace(t, disk)
		t.Log(said)
		is.NoErr(err)
		is.Equal(said, strings.Join([]string{
			"init: /sbin/init",
			BootedFile + ": " + anID,
			"/etc/hostname: host",
			"/var/kept: yes",
			"/boot/loader/entries/one.conf: title One",
			"/home/me/letter: Dear",
			"writing in /: false",
			"writing in /usr: false",
			"writing in /etc: true",
			"writing in /var: true",
			"writing in /root: true",
			"writing in /tmp: true",
			"writing in /run: true",
			"writing in /elemental/deployments: true",
			"pid: 1",
			"",
		}, "\n"))
	}
	info, err := os.Stat(filepath.Join(disk, "elemental/var/roothome"))
	is.NoErr(err)
	is.Equal(info.Mode().Perm(), fs.FileMode(0o700)) // root's home is root's alone
	_, err = os.Stat(filepath.Join(disk, "run/elemental"))
	is.True(errors.Is(err, fs.ErrNotExist)) // nothing of a boot stays on the disk
}

// TestEnterDeploymentResets lays a reset on the disk, as the image engine does, and starts the host twice.
func TestEnterDeploymentResets(t *testing.T) {
	for name, c := range map[string]struct {
		spoil   func(disk string) error
		said    string
		outcome string
	}{
		"a reset of what is booted": {
			func(string) error { return nil }, "the host has a fresh /var and /etc",
			"/etc/hostname: fresh\n/var/kept: yes\n/boot/loader/entries/one.conf: title One\n/home/me/letter: fresh\n",
		},
		"one whose record is damaged": {
			func(disk string) error {
				return os.WriteFile(filepath.Join(disk, "elemental/reset/reset.json"), []byte("{"), 0o600)
			},
			"reading the record of a reset", "/etc/hostname: host\n/var/kept: yes\n/boot/loader/entries/one.conf: title One\n/home/me/letter: Dear\n",
		},
		"one whose fresh /etc is gone": {
			func(disk string) error { return os.RemoveAll(filepath.Join(disk, "elemental/reset/etc")) },
			"looking for the fresh /etc", "/etc/hostname: host\n/var/kept: yes\n/boot/loader/entries/one.conf: title One\n/home/me/letter: Dear\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			disk := aDisk(t)
			layReset(t, disk)
			is.NoErr(c.spoil(disk))
			for range 2 {
				said, err := enterInNamespace(t, disk)
				t.Log(said)
				is.NoErr(err)
				is.True(strings.Contains(said, c.said))
				is.True(strings.Contains(said, c.outcome))
			}
		})
	}
}

// layReset lays down a reset that keeps /var/kept.
func layReset(t *testing.T, disk string) {
	t.Helper()
	is := is.New(t)
	inode := func(folder string) uint64 {
		var state unix.Stat_t
		is.NoErr(unix.Lstat(folder, &state))
		return state.Ino
	}
	at := filepath.Join(disk, "elemental/reset")
	for _, folder := range []string{"etc", "var/home/me"} {
		is.NoErr(os.MkdirAll(filepath.Join(at, folder), 0o755))
	}
	for _, name := range []string{"etc/hostname", "var/home/me/letter"} {
		is.NoErr(os.WriteFile(filepath.Join(at, name), []byte("fresh"), 0o644))
	}
	record := fmt.Sprintf(`{"stage":"triggered","deployment":%q,"keep":["var/kept"],"var":%d,"etc":%d}`,
		anID, inode(filepath.Join(at, "var")), inode(filepath.Join(at, "etc")))
	is.NoErr(os.WriteFile(filepath.Join(at, "reset.json"), []byte(record), 0o600))
}

func TestEnterDeploymentRefuses(t *testing.T) {
	tree := "elemental/deployments/" + anID
	for name, c := range map[string]struct {
		spoil   func(disk string) error
		problem string
	}{
		"a deployment that is not there": {
			func(disk string) error { return os.RemoveAll(filepath.Join(disk, tree)) },
			"there is no folder /" + tree + "/root on this disk",
		},
		"a deployment without its etc": {
			func(disk string) error { return os.RemoveAll(filepath.Join(disk, tree, "etc")) },
			"there is no folder /" + tree + "/etc on this disk",
		},
		"an image without init": {
			func(disk string) error { return os.Remove(filepath.Join(disk, tree, "root/usr/sbin/init")) },
			"its image has no init",
		},
		"an image whose var leads elsewhere": {
			func(disk string) error {
				if err := os.Remove(filepath.Join(disk, tree, "root/var")); err != nil {
					return err
				}
				return os.Symlink("/etc", filepath.Join(disk, tree, "root/var"))
			},
			"root/var is not a folder",
		},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			disk := aDisk(t)
			is.NoErr(c.spoil(disk))
			said, err := enterInNamespace(t, disk)
			is.True(err != nil)
			t.Log(said)
			is.True(strings.Contains(said, c.problem))
		})
	}
}
