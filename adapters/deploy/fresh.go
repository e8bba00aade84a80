package deploy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"elemental/adapters/deploy/reset"
	"elemental/core"
	"elemental/ports"
)

// preparation makes what a host is reset to, in the staging folder.
type preparation struct {
	engine     *Engine
	deployment string
	boot       string
	keep       []string
}

// freshMargin is what preparing a reset leaves free, and what its folders may take.
const freshMargin = 4 << 20

// make writes the fresh trees and the record of the reset, and makes them durable. They count for nothing until the
// folder has its name.
func (p *preparation) make(ctx context.Context) error {
	e := p.engine
	need, err := p.measure(ctx)
	if err != nil {
		return err
	}
	free, err := e.Free(e.Root)
	if err != nil {
		return err
	}
	if uint64(need) > free {
		return noRoomForReset(need, int64(free))
	}
	err = p.write(ctx)
	if isFull(err) {
		left, _ := e.Free(e.Root) // Zero is near enough to the truth here.
		return fmt.Errorf("%w (%w)", noRoomForReset(need, int64(left)), err)
	}
	return err
}

// folder is where a reset is prepared.
func (p *preparation) folder() string { return p.engine.path("staging", "reset") }

func (p *preparation) write(ctx context.Context) error {
	e := p.engine
	for _, folder := range []string{"staging", "staging/reset"} {
		if err := makePrivate(e.path(folder)); err != nil {
			return fmt.Errorf("making the folder of a reset: %w", err)
		}
	}
	if err := fillVar(ctx, e.deployment(p.deployment, "root"), reset.FreshVar(p.folder())); err != nil {
		return err
	}
	if err := copyTree(ctx, e.deployment(p.deployment, "root", "etc"), reset.FreshEtc(p.folder())); err != nil {
		return fmt.Errorf("copying the image's /etc: %w", err)
	}
	record := reset.Record{Stage: reset.Triggered, Deployment: p.deployment, Boot: p.boot, Keep: p.keep}
	var err error
	if record.Var, err = reset.Inode(reset.FreshVar(p.folder())); err != nil {
		return err
	}
	if record.Etc, err = reset.Inode(reset.FreshEtc(p.folder())); err != nil {
		return err
	}
	content, err := record.Marshal()
	if err != nil {
		return err
	}
	if err := writeFile(reset.File(p.folder()), content, 0o600); err != nil {
		return err
	}
	return syncFileSystem(e.Root)
}

// publish gives the folder its name, in place of that of an earlier reset.
func (p *preparation) publish() error {
	e := p.engine
	final := reset.Folder(e.Root)
	err := os.Rename(p.folder(), final)
	if errors.Is(err, fs.ErrExist) || errors.Is(err, unix.ENOTEMPTY) {
		err = unix.Renameat2(unix.AT_FDCWD, p.folder(), unix.AT_FDCWD, final, unix.RENAME_EXCHANGE)
	}
	if err != nil {
		return fmt.Errorf("triggering the reset: %w", err)
	}
	return syncFolder(e.Root)
}

// measure is what the fresh trees take on the disk, about.
func (p *preparation) measure(ctx context.Context) (int64, error) {
	need := int64(freshMargin)
	trees := []string{"etc", "var"}
	for _, shared := range sharedFolders {
		trees = append(trees, shared.shown)
	}
	for _, tree := range trees {
		err := filepath.WalkDir(p.engine.deployment(p.deployment, "root", tree), func(at string, entry fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err = errors.Join(err, ctx.Err()); err != nil {
				return err
			}
			info, err := entry.Info()
			if err == nil && info.Mode().IsRegular() {
				need += info.Size()
			}
			return err
		})
		if err != nil {
			return 0, fmt.Errorf("measuring the /%s of deployment %s: %w", tree, p.deployment, err)
		}
	}
	return need, nil
}

// noRoomForReset is the refusal of a reset that can't be prepared.
func noRoomForReset(need, free int64) error {
	return core.Failure{
		Class: core.FailureFailed, Reason: ReasonDiskFull,
		Message: fmt.Sprintf("preparing the reset needs %s and %s is free; make room on the host's disk", bytesText(need), bytesText(free)),
	}
}

// bootAgain makes the running system, which is confirmed, the next to be booted.
func (e *Engine) bootAgain(ctx context.Context, now state) error {
	if highest, found := now.confirmed(); !found || highest.Deployment == now.booted {
		return nil
	}
	running, _ := now.entry(now.booted)
	running.Order = now.nextOrder()
	if err := e.Loader.Add(ctx, running); err != nil {
		return fmt.Errorf("making the running deployment %s the next to be booted: %w", now.booted, err)
	}
	return nil
}

// tellStep is the progress of a verb without numbers.
func tellStep(tell func(ports.Progress), step, message string) {
	if tell != nil {
		tell(ports.Progress{Step: step, Percent: -1, Message: message})
	}
}
