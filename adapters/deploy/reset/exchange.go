package reset

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// CarryOut carries out the reset that was triggered for a deployment, if there is one, and says whether it did: now, or
// in an earlier boot that was cut short. It is for the first process of a host, before anything is mounted. Where it
// fails, the host is what it was, whole, and why is kept for the engine to tell. A reset of another deployment than the
// one that is booted is dropped, unless it was carried out: what this one writes must outlive the next boot of the other.
func CarryOut(root, deployment string) (done bool, err error) {
	record, found, err := Read(root)
	if err != nil || !found || record.Stage != Triggered {
		return false, err
	}
	if record.Deployment != deployment {
		return false, drop(root, record)
	}
	disk, err := Look(root, record)
	if err == nil {
		if disk.Fresh() {
			return true, nil
		}
		err = run(Plan(disk))
	}
	if err == nil {
		return true, nil
	}
	err = fmt.Errorf("resetting the host: %w", err)
	if undone := undo(root, record); undone != nil {
		err = fmt.Errorf("%w; and then: %w", err, undone)
	}
	return false, errors.Join(err, blame(root, err))
}

// drop forgets a reset that was not carried out, and brings back what was exchanged of one that was cut short. One that
// lost its trees stays: it can't be carried out any more.
func drop(root string, record Record) error {
	disk, err := Look(root, record)
	if errors.Is(err, ErrLost) || err == nil && disk.Fresh() {
		return nil
	}
	if err == nil {
		err = run(Undo(disk))
	}
	if err == nil {
		err = os.Remove(File(Folder(root)))
	}
	if err == nil {
		err = syncAll(Folder(root))
	}
	if err != nil {
		return fmt.Errorf("dropping the reset of deployment %s, which was not booted: %w", record.Deployment, err)
	}
	return nil
}

func run(steps []Step) error {
	for _, step := range steps {
		if err := step.carryOut(); err != nil {
			return fmt.Errorf("%s: %w", step, err)
		}
	}
	return nil
}

// undo brings back what was exchanged, unless all was: then only the sync failed, and there is nothing to go back to.
func undo(root string, record Record) error {
	disk, err := Look(root, record)
	if err != nil {
		return err
	}
	return run(Undo(disk))
}

func (s Step) carryOut() error {
	switch s.Do {
	case Keep:
		return keep(s.From, s.To, s.Path)
	case Exchange:
		return unix.Renameat2(unix.AT_FDCWD, s.From, unix.AT_FDCWD, s.To, unix.RENAME_EXCHANGE)
	case Sync:
		return syncAll(s.To)
	default:
		return fmt.Errorf("no such action: %q", s.Do)
	}
}

// syncAll makes the file system of a folder durable.
func syncAll(folder string) error {
	fd, err := unix.Open(folder, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening %s: %w", folder, err)
	}
	defer func() { _ = unix.Close(fd) }() // It was only read.
	if err := unix.Syncfs(fd); err != nil {
		return fmt.Errorf("syncing the file system of %s: %w", folder, err)
	}
	return nil
}
