package deploy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"elemental/ports"
)

// isFull says that an error is that of a disk without room.
func isFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// assemble builds the deployment's folder in staging and moves it, whole and durable, to its place.
func (s *staging) assemble(ctx context.Context) (Record, error) {
	e := s.engine
	s.progress.begin(StepBuild, "")
	t, err := s.merge(ctx)
	if err != nil {
		return Record{}, err
	}
	if err := checkInit(t); err != nil {
		return Record{}, err
	}
	if err := e.checkFolders(t); err != nil {
		return Record{}, err
	}
	kernel, err := e.findKernel(t)
	if err != nil {
		return Record{}, err
	}
	t.addMountPoints(e.mountPoints())
	b := &builder{ctx: ctx, objects: s.objects, room: s.room, warn: s.warn}
	if err := b.build(t, e.path("staging/deployment/root")); err != nil {
		return Record{}, err
	}
	conflicts, err := e.makeEtc(ctx, s.state.booted, e.path("staging/deployment/root/etc"), e.path("staging/deployment/etc"))
	if err != nil {
		return Record{}, err
	}
	s.warnOf(conflicts)
	if err := s.seedVar(ctx); err != nil {
		return Record{}, err
	}
	record := Record{ID: s.id, Digest: s.image.Digest, Created: e.Now().UTC(), Version: s.versionOf(t)}
	for _, layer := range s.image.Layers {
		record.Layers = append(record.Layers, layer.DiffID)
	}
	if record.Kernel, record.Initrd, err = s.copyKernel(kernel); err != nil {
		return Record{}, err
	}
	content, err := marshalRecord(s.sign(record))
	if err != nil {
		return Record{}, err
	}
	if err := os.WriteFile(e.path("staging/deployment/deployment.json"), content, 0o644); err != nil {
		return Record{}, fmt.Errorf("writing deployment %s: %w", s.id, err)
	}
	if err := ctx.Err(); err != nil {
		return Record{}, err
	}
	return record, s.settle()
}

// settle makes all that was written durable and only then gives it the names that are trusted.
func (s *staging) settle() error {
	e := s.engine
	s.progress.begin(StepPublish, "")
	if err := syncFileSystem(e.Root); err != nil {
		return err
	}
	if err := s.objects.keep(); err != nil {
		return err
	}
	for _, layer := range s.image.Layers {
		if err := os.Rename(s.fresh(layer.DiffID), e.recordOf(layer.DiffID)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("keeping the record of layer %s: %w", layer.DiffID, err)
		}
	}
	final := e.deployment(s.id)
	if err := os.RemoveAll(final); err != nil { // Only a damaged one is there.
		return fmt.Errorf("removing the damaged deployment %s: %w", s.id, err)
	}
	if err := os.Rename(e.path("staging/deployment"), final); err != nil {
		return fmt.Errorf("publishing deployment %s: %w", s.id, err)
	}
	s.created = true
	return nil // Publishing syncs all of it once more before the boot entry is written.
}

// warnOf names the files of which both the administrator and the image have a new version.
func (s *staging) warnOf(conflicts []string) {
	for _, path := range conflicts {
		s.warn("kept the local file where the new system brings another", "file", path)
	}
}

// publish makes a deployment that is on the disk the next to be booted. The boot entry comes last: without it
// there is only debris, with it a complete deployment.
func (s *staging) publish(ctx context.Context, record Record) error {
	e := s.engine
	s.progress.begin(StepPublish, "")
	if err := os.Remove(e.deployment(s.id, failureFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("forgetting why deployment %s fell: %w", s.id, err)
	}
	record = s.sign(record)
	if err := e.writeRecord(record); err != nil {
		return err
	}
	if s.state.booted != "" && !s.created {
		conflicts, err := e.carryEtc(ctx, s.state.booted, s.id)
		if err != nil {
			return err
		}
		s.warnOf(conflicts)
	}
	if err := syncFileSystem(e.Root); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.clearWay(ctx); err != nil {
		return err
	}
	entry := ports.BootEntry{
		Deployment: s.id, Title: e.title(record), Order: s.state.nextOrder(), Kernel: record.Kernel, Initrd: record.Initrd,
		Options: e.options(s.id, s.state), Trial: s.trial,
	}
	if s.trial {
		entry.Tries = e.Tries
	}
	if err := e.Loader.Add(ctx, entry); err != nil {
		return fmt.Errorf("adding the boot entry of deployment %s: %w", s.id, err)
	}
	e.Log.Info("staged", "deployment", s.id, "version", record.version().String(), "tries", entry.Tries)
	return nil
}

// clearWay sees to what the boot loader takes when the new trial falls: the system that runs now. A trial that was
// staged before and is not wanted any more goes, and a running system that is not the highest of the confirmed ones,
// since it was chosen in the boot menu, becomes it.
func (s *staging) clearWay(ctx context.Context) error {
	if !s.trial {
		return nil
	}
	e := s.engine
	for _, entry := range s.state.entries {
		if !entry.Trial || entry.Tries == 0 || entry.Deployment == s.state.booted || entry.Deployment == s.id {
			continue
		}
		if err := e.Loader.Remove(ctx, entry.Deployment); err != nil {
			return fmt.Errorf("unstaging deployment %s: %w", entry.Deployment, err)
		}
	}
	running, ok := s.state.entry(s.state.booted)
	if highest, found := s.state.confirmed(); ok && !running.Trial && found && highest.Deployment != running.Deployment {
		running.Order = s.state.nextOrder()
		if err := e.Loader.Add(ctx, running); err != nil {
			return fmt.Errorf("making the running deployment %s the one to fall back to: %w", running.Deployment, err)
		}
	}
	var err error
	s.state, err = e.look(ctx)
	return err
}

// title is what the boot menu shows.
func (e *Engine) title(r Record) string {
	if r.Version != "" {
		return r.Version
	}
	return "Elemental " + r.ID[:12]
}

// deploymentOption names the deployment on the kernel command line.
const deploymentOption = "elemental.deployment="

// options is the kernel command line of a deployment: the host's own, or that of the entry that runs, or the one
// that makes a boot which fails end in a restart.
func (e *Engine) options(id string, now state) string {
	base := e.Options
	if running, ok := now.entry(now.booted); base == "" && ok {
		base = running.Options
	}
	if base == "" {
		base = "panic=10 rd.emergency=reboot rd.shell=0 systemd.crash_reboot=yes"
	}
	var words []string
	for word := range strings.FieldsSeq(base) {
		if !strings.HasPrefix(word, deploymentOption) {
			words = append(words, word)
		}
	}
	return strings.Join(append(words, deploymentOption+id), " ")
}

// CarryEtc carries to the staged system what was changed in the running system's /etc since. It is for the
// moment of the restart, and does nothing when nothing is staged. A system on trial carries nothing: what it would
// fall back to must stay as it was found good.
func (e *Engine) CarryEtc(ctx context.Context) ([]string, error) {
	unlock, err := e.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	now, err := e.look(ctx)
	if err != nil {
		return nil, err
	}
	next, waits := now.staged()
	if now.booted == "" || now.onTrial() || !waits || now.entries[0].Deployment != next.Deployment {
		return nil, nil
	}
	if err := os.RemoveAll(e.path("staging")); err != nil {
		return nil, fmt.Errorf("cleaning the staging folder: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(e.Root, "staging"), private); err != nil {
		return nil, fmt.Errorf("making the staging folder: %w", err)
	}
	conflicts, err := e.carryEtc(ctx, now.booted, next.Deployment)
	return conflicts, errors.Join(err, os.RemoveAll(e.path("staging")))
}
