package deploy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"elemental/ports"
)

// cleared are Elemental's own files in a target. The program stays: it is replaced.
func (t *target) cleared() []string {
	return []string{
		filepath.Join(t.Boot, "elemental"), t.path("deployments"), t.path("layers"), t.path("objects"), t.path("staging"), t.path("reset"), t.path("var"), t.path(markFile),
	}
}

// clear removes Elemental's own files from a target, the boot entries first: half a system is never booted.
func (t *target) clear(ctx context.Context) error {
	entries, err := t.Loader.Entries(ctx)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := t.Loader.Remove(ctx, entry.Deployment); err != nil {
			return err
		}
	}
	for _, folder := range t.cleared() {
		if err := os.RemoveAll(folder); err != nil {
			return fmt.Errorf("removing the system before from %s: %w", t.at, err)
		}
	}
	return syncFileSystem(t.Root)
}

// checkRoom refuses an image that does not fit, counting as free what the system before takes.
func (t *target) checkRoom(image ports.Image) error {
	var p plan
	seen := map[string]bool{}
	for _, layer := range image.Layers {
		if !seen[layer.DiffID] {
			seen[layer.DiffID] = true
			p.add(layer)
		}
	}
	free, err := t.Free(t.Root)
	if err != nil {
		return err
	}
	taken, err := t.taken()
	if err != nil {
		return err
	}
	if need := p.write + p.margin(); need > int64(free)+taken {
		return diskFull(need, int64(free)+taken)
	}
	return nil
}

// taken is how many bytes the system before has on the disk. Files have many names, and count once.
func (t *target) taken() (int64, error) {
	var taken int64
	type file struct{ device, inode uint64 }
	seen := map[file]bool{}
	for _, folder := range t.cleared() {
		err := filepath.WalkDir(folder, func(_ string, entry fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			info, err := entry.Info()
			if err != nil {
				return err
			}
			state, known := info.Sys().(*syscall.Stat_t)
			if known && !seen[file{uint64(state.Dev), state.Ino}] {
				seen[file{uint64(state.Dev), state.Ino}] = true
				taken += state.Blocks * 512 // Whatever the file system's own blocks are.
			}
			return nil
		})
		if err != nil {
			return 0, fmt.Errorf("measuring the system before in %s: %w", t.at, err)
		}
	}
	return taken, nil
}
