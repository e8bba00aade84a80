package pid1

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// mountFlags keep set-user-ID programs and devices off file systems that have no business with them.
var mountFlags = map[string]uintptr{
	"proc":     unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC,
	"sysfs":    unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC,
	"devtmpfs": unix.MS_NOSUID,
	"tmpfs":    unix.MS_NOSUID | unix.MS_NODEV,
}

// carryOut does one step.
func (s Step) carryOut() error {
	switch s.Do {
	case Private:
		return unix.Mount("", s.To, "", unix.MS_PRIVATE|unix.MS_REC, "")
	case Shared:
		return unix.Mount("", s.To, "", unix.MS_SHARED|unix.MS_REC, "")
	case Folder:
		return makeFolder(s.To, s.Mode)
	case Bind:
		return unix.Mount(s.From, s.To, "", unix.MS_BIND, "")
	case ReadOnly:
		return unix.Mount("", s.To, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
	case Move:
		return unix.Mount(s.From, s.To, "", unix.MS_MOVE, "")
	case Mount:
		return unix.Mount(s.From, s.To, s.From, mountFlags[s.From], s.Data)
	case Write:
		return os.WriteFile(s.To, []byte(s.From), s.Mode)
	case Enter:
		return enter(s.To)
	default:
		return fmt.Errorf("no such action: %q", s.Do)
	}
}

// makeFolder makes a folder where none is. Something else in its place is an error: a mount would follow a
// link out of the tree.
func makeFolder(name string, mode fs.FileMode) error {
	info, err := os.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return os.Mkdir(name, mode)
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is not a folder", name)
	}
	return nil
}

// enter makes a mount the root. The old root is stacked below the new one for a moment and then let go, so
// that no folder is needed to put it in.
func enter(root string) error {
	if err := os.Chdir(root); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("exchanging the roots: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("letting the old root go: %w", err)
	}
	return os.Chdir("/")
}

// writable makes the disk's root writable. The kernel mounts it read-only unless it is told otherwise.
func writable() error {
	var state unix.Statfs_t
	if err := unix.Statfs("/", &state); err != nil {
		return fmt.Errorf("looking at the root file system: %w", err)
	}
	if state.Flags&unix.ST_RDONLY == 0 {
		return nil
	}
	if err := unix.Mount("", "/", "", unix.MS_REMOUNT, ""); err != nil {
		return fmt.Errorf("making the root file system writable: %w", err)
	}
	return nil
}

// isMountPoint says whether something is mounted on a folder.
func isMountPoint(folder string) (bool, error) {
	var state unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, folder, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, 0, &state)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking for a mount at %s: %w", folder, err)
	}
	return state.Attributes_mask&state.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, nil
}
