package reset

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"
	"golang.org/x/sys/unix"
)

const anID = "3bfc269594ef649228e9a74bab00f042"

// keptHere is what the disk of these tests keeps.
var keptHere = []string{"etc/elemental", "etc/hostname", "etc/link", "etc/deep/er/file", "etc/missing", "etc/through/file", "var/lib/agent/identity", "var/lib/data", "var/home/me"}

// aDisk is the root of an engine on which a reset was triggered.
func aDisk(t *testing.T) string {
	t.Helper()
	is := is.New(t)
	root := filepath.Join(t.TempDir(), "elemental")
	etc := Etc(anID)
	write := func(name, text string, mode fs.FileMode) {
		at := filepath.Join(root, name)
		is.NoErr(os.MkdirAll(filepath.Dir(at), 0o755))
		is.NoErr(os.WriteFile(at, []byte(text), mode))
	}
	for name, text := range map[string]string{
		"elemental/agent.yaml": "old", "hostname": "host", "deep/er/file": "old", "secret": "old", "real/file": "old",
	} {
		write(filepath.Join(etc, name), text, 0o600)
	}
	is.NoErr(os.Symlink("/nowhere", filepath.Join(root, etc, "link")))
	is.NoErr(os.Symlink("real", filepath.Join(root, etc, "through")))
	for name, text := range map[string]string{"lib/agent/identity": "me", "lib/agent/log": "old", "lib/data/one": "1", "lib/data/sub/two": "2", "home/me/letter": "Dear", "secret": "old"} {
		write(filepath.Join("var", name), text, 0o640)
	}
	is.NoErr(unix.Mkfifo(filepath.Join(root, "var/lib/data/fifo"), 0o600))
	is.NoErr(os.Chmod(filepath.Join(root, "var/lib/agent"), 0o700))
	is.NoErr(os.Chown(filepath.Join(root, "var/lib/data"), 12, 34))
	is.NoErr(os.Chmod(filepath.Join(root, "var/lib/data"), 0o750|fs.ModeSetgid))
	is.NoErr(unix.Setxattr(filepath.Join(root, "var/lib/data"), "user.mark", []byte("x"), 0))

	at := Folder(root)
	for name, text := range map[string]string{
		"etc/hostname": "image", "etc/elemental/leftover": "image", "etc/new": "image", "etc/deep/er": "a file where the host has a folder",
		"var/lib/new": "image", "var/home/new": "image",
	} {
		write(filepath.Join("reset", name), text, 0o644)
	}
	record := Record{Stage: Triggered, Deployment: anID, Boot: "one", Keep: keptHere}
	var err error
	record.Var, err = Inode(FreshVar(at))
	is.NoErr(err)
	record.Etc, err = Inode(FreshEtc(at))
	is.NoErr(err)
	text, err := record.Marshal()
	is.NoErr(err)
	is.NoErr(os.WriteFile(File(at), text, 0o600))
	return root
}

// listing is a tree as text: each name with its mode and its content.
func listing(t *testing.T, root string) string {
	t.Helper()
	var out bytes.Buffer
	err := filepath.WalkDir(root, func(at string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(root, at)
		fmt.Fprintf(&out, "%s %s", name, info.Mode())
		switch {
		case info.Mode().IsRegular():
			text, err := os.ReadFile(at)
			if err != nil {
				return err
			}
			fmt.Fprintf(&out, " %q", text)
		case info.Mode()&fs.ModeSymlink != 0:
			to, _ := os.Readlink(at)
			fmt.Fprintf(&out, " -> %s", to)
		}
		fmt.Fprintln(&out)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

const (
	freshEtc = `. drwxr-xr-x
deep drwxr-xr-x
deep/er drwxr-xr-x
deep/er/file -rw------- "old"
elemental drwxr-xr-x
elemental/agent.yaml -rw------- "old"
hostname -rw------- "host"
link Lrwxrwxrwx -> /nowhere
new -rw-r--r-- "image"
`
	freshVar = `. drwxr-xr-x
home drwxr-xr-x
home/me drwxr-xr-x
home/me/letter -rw-r----- "Dear"
home/new -rw-r--r-- "image"
lib drwxr-xr-x
lib/agent drwx------
lib/agent/identity -rw-r----- "me"
lib/data dgrwxr-x---
lib/data/fifo prw-------
lib/data/one -rw-r----- "1"
lib/data/sub drwxr-xr-x
lib/data/sub/two -rw-r----- "2"
lib/new -rw-r--r-- "image"
`
)

func asRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("a reset is for root")
	}
}

func checkFresh(t *testing.T, root string) {
	t.Helper()
	is := is.New(t)
	is.Equal(listing(t, filepath.Join(root, Etc(anID))), freshEtc)
	is.Equal(listing(t, filepath.Join(root, "var")), freshVar)
	var state unix.Stat_t
	is.NoErr(unix.Lstat(filepath.Join(root, "var/lib/data"), &state))
	is.Equal([]uint32{state.Uid, state.Gid}, []uint32{12, 34})
	mark := make([]byte, 8)
	n, err := unix.Lgetxattr(filepath.Join(root, "var/lib/data"), "user.mark", mark)
	is.NoErr(err)
	is.Equal(string(mark[:n]), "x")
}

func TestAResetIsCarriedOutOnce(t *testing.T) {
	asRoot(t)
	is := is.New(t)
	root := aDisk(t)
	oldEtc, oldVar := listing(t, filepath.Join(root, Etc(anID))), listing(t, filepath.Join(root, "var"))
	for range 3 { // A host boots more often before the engine ends it.
		done, err := CarryOut(root, anID)
		is.NoErr(err)
		is.True(done)
		checkFresh(t, root)
		is.Equal(listing(t, FreshEtc(Folder(root))), oldEtc) // The former trees are whole.
		is.Equal(listing(t, FreshVar(Folder(root))), oldVar)
	}
}

func TestAKillAtAnyStepIsGoneOnFrom(t *testing.T) {
	asRoot(t)
	record := func(root string) Record {
		r, found, err := Read(root)
		if err != nil || !found {
			t.Fatal(found, err)
		}
		return r
	}
	first, err := Look("/", Record{})
	if err == nil {
		t.Fatal("a disk without a reset has one", first)
	}
	root := aDisk(t)
	disk, err := Look(root, record(root))
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(Plan(disk)) + 1 {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			is := is.New(t)
			root := aDisk(t)
			disk, err := Look(root, record(root))
			is.NoErr(err)
			is.NoErr(run(Plan(disk)[:n]))
			// What runs goes on to change until the next boot of this deployment: another one shares /var.
			if !exists(filepath.Join(root, "var/lib/new")) {
				is.NoErr(os.WriteFile(filepath.Join(root, "var/lib/agent/identity.tmp"), []byte("me"), 0o640))
				is.NoErr(os.Rename(filepath.Join(root, "var/lib/agent/identity.tmp"), filepath.Join(root, "var/lib/agent/identity")))
			}
			done, err := CarryOut(root, anID)
			is.NoErr(err)
			is.True(done)
			checkFresh(t, root)
		})
	}
}

// TestTheBootOfAnotherDeploymentDropsAReset boots it after each step, and then the one that was to be reset.
func TestTheBootOfAnotherDeploymentDropsAReset(t *testing.T) {
	asRoot(t)
	const another = "fb04dcb6970e4c3d1873de51fd5a50d7"
	plan := func(root string) []Step {
		record, _, err := Read(root)
		if err != nil {
			t.Fatal(err)
		}
		disk, err := Look(root, record)
		if err != nil {
			t.Fatal(err)
		}
		return Plan(disk)
	}
	steps := len(plan(aDisk(t)))
	for n := range steps + 1 {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			is := is.New(t)
			root := aDisk(t)
			etc, shared := listing(t, filepath.Join(root, Etc(anID))), listing(t, filepath.Join(root, "var"))
			is.NoErr(run(plan(root)[:n]))
			carriedOut := n >= steps-1 // Only the last sync is missing, or nothing.
			for range 2 {
				done, err := CarryOut(root, another)
				is.NoErr(err)
				is.True(!done)
			}
			is.Equal(exists(File(Folder(root))), carriedOut)
			done, err := CarryOut(root, anID)
			is.NoErr(err)
			is.Equal(done, carriedOut)
			if carriedOut {
				checkFresh(t, root)
				return
			}
			is.Equal(listing(t, filepath.Join(root, Etc(anID))), etc)
			is.Equal(listing(t, filepath.Join(root, "var")), shared)
		})
	}
}

func exists(name string) bool {
	_, err := os.Lstat(name)
	return err == nil
}

// TestWhatFailsLeavesTheFormerSystem lets steps fail for real, and the host be mended.
func TestWhatFailsLeavesTheFormerSystem(t *testing.T) {
	asRoot(t)
	mounted := func(t *testing.T, at string) func() {
		if err := unix.Mount("tmpfs", at, "tmpfs", 0, "mode=0755"); err != nil {
			t.Skipf("nothing can be mounted here: %v", err)
		}
		return func() {
			if err := unix.Unmount(at, 0); err != nil {
				t.Error(err)
			}
		}
	}
	for name, spoil := range map[string]func(t *testing.T, root string) func(){
		"the fresh /var can't be written": func(t *testing.T, root string) func() {
			return immutable(t, filepath.Join(FreshVar(Folder(root)), "lib"))
		},
		"the former /var can't be moved": func(t *testing.T, root string) func() { return immutable(t, filepath.Join(root, "var")) },
		"a kept folder is another disk": func(t *testing.T, root string) func() {
			end := mounted(t, filepath.Join(root, "var/lib/data/sub"))
			if err := os.WriteFile(filepath.Join(root, "var/lib/data/sub/two"), []byte("2"), 0o640); err != nil {
				t.Fatal(err)
			}
			return end
		},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			root := aDisk(t)
			mend := spoil(t, root)
			oldEtc, oldVar := listing(t, filepath.Join(root, Etc(anID))), listing(t, filepath.Join(root, "var"))
			done, err := CarryOut(root, anID)
			is.True(err != nil)
			t.Log(err)
			is.True(!done)
			is.Equal(listing(t, filepath.Join(root, Etc(anID))), oldEtc)
			is.Equal(listing(t, filepath.Join(root, "var")), oldVar)
			is.Equal(Failure(root), err.Error())
			mend()
			done, err = CarryOut(root, anID)
			is.NoErr(err)
			is.True(done)
			checkFresh(t, root)
		})
	}
}

// immutable lets nobody change a folder, not even root.
func immutable(t *testing.T, at string) (mend func()) {
	t.Helper()
	set := func(flags int) error {
		file, err := os.Open(at)
		if err != nil {
			return err
		}
		defer func() { _ = file.Close() }()
		return unix.IoctlSetPointerInt(int(file.Fd()), unix.FS_IOC_SETFLAGS, flags)
	}
	const immutable = 0x10 // FS_IMMUTABLE_FL
	if err := set(immutable); err != nil {
		t.Skipf("nothing can be made immutable here: %v", err)
	}
	t.Cleanup(func() { _ = set(0) }) // Else the folder could not be thrown away.
	return func() {
		if err := set(0); err != nil {
			t.Error(err)
		}
	}
}

func TestThePlanOfAReset(t *testing.T) {
	const sync = "sync /e"
	etc, lib := "keeping /e/deployments/"+anID+"/etc/elemental", "keeping /e/var/lib/agent"
	swapEtc, swapVar := "exchanging /e/deployments/"+anID+"/etc and /e/reset/etc", "exchanging /e/var and /e/reset/var"
	for name, c := range map[string]struct {
		etc, var_  bool
		plan, undo []string
	}{
		"nothing was done":          {false, false, []string{etc, lib, sync, swapEtc, swapVar, sync}, nil},
		"cut short after the /etc":  {true, false, []string{lib, sync, swapVar, sync}, []string{swapEtc, sync}},
		"the /etc was brought back": {false, true, []string{etc, sync, swapEtc, sync}, []string{swapVar, sync}},
		"all was done":              {true, true, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			disk := Disk{Root: "/e", EtcFresh: c.etc, VarFresh: c.var_, Record: Record{Deployment: anID, Keep: []string{"etc/elemental", "etcetera/x", "etc/", "etc/.", "var/../etc", "/etc", "var/lib/agent"}}}
			is.Equal(lines(Plan(disk)), c.plan)
			is.Equal(lines(Undo(disk)), c.undo)
		})
	}
}

func lines(steps []Step) []string {
	var all []string
	for _, s := range steps {
		all = append(all, s.String())
	}
	return slices.Clip(all)
}

func TestARecordThatIsDamagedIsAnError(t *testing.T) {
	is := is.New(t)
	root := t.TempDir()
	is.NoErr(os.Mkdir(Folder(root), 0o700))
	is.NoErr(os.WriteFile(File(Folder(root)), []byte("{"), 0o600))
	done, err := CarryOut(root, anID)
	is.True(!done)
	is.True(err != nil && strings.Contains(err.Error(), "reading the record of a reset"))
}
