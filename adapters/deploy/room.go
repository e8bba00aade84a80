package deploy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"elemental/core"
	"elemental/ports"
)

// plan is what a staging will cost.
type plan struct {
	unknown []ports.Layer // to be fetched and unpacked, each once
	fetch   int64         // bytes to fetch
	write   int64         // bytes to write, as far as can be told beforehand
}

// expansion is how many bytes a compressed byte is taken to unpack to: system images lie between 2 and 3.
const expansion = 3

// margin is what must stay free beside what is needed: a tenth of it, and room for folders and for what else
// the host writes meanwhile.
func (p plan) margin() int64 { return p.write/10 + 32<<20 }

// makePlan finds which layers are not known yet, and what they cost.
func (s *staging) makePlan(ctx context.Context) (plan, error) {
	var p plan
	seen := map[string]bool{}
	for _, layer := range s.image.Layers {
		if err := ctx.Err(); err != nil {
			return p, err
		}
		if seen[layer.DiffID] || s.known(layer) {
			seen[layer.DiffID] = true
			continue
		}
		seen[layer.DiffID] = true
		p.add(layer)
	}
	return p, nil
}

// add counts a layer that is not known.
func (p *plan) add(layer ports.Layer) {
	p.unknown = append(p.unknown, layer)
	p.fetch += layer.Size
	p.write += layer.Size * (1 + expansion)
}

// known says whether a layer was unpacked before and all of its files are still there.
func (s *staging) known(layer ports.Layer) bool {
	errGone := errors.New("an object is gone")
	err := readRecord(s.engine.recordOf(layer.DiffID), func(e Entry) error {
		if e.Kind == KindFile && !s.objects.keeps(e.Object) {
			return errGone
		}
		return nil
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		s.engine.Log.Info("a known layer is fetched anew", "layer", layer.DiffID, "because", err)
	}
	return err == nil
}

// diskFull is the refusal of a staging for which there is no room.
func diskFull(need, free int64) error {
	return core.Failure{
		Class: core.FailureFailed, Reason: ReasonDiskFull,
		Message: fmt.Sprintf("staging needs %s and %s is free; make room on the host's disk or choose a smaller image", bytesText(need), bytesText(free)),
	}
}

// bytesText writes a size for people, and exactly.
func bytesText(n int64) string {
	return fmt.Sprintf("%.1f MiB (%d bytes)", float64(n)/(1<<20), n)
}

// room is disk space that is held for a staging. Handing it out as files are written means that a disk which
// fills up meanwhile is noticed at once, and not as files without content. An image that unpacks to more than was
// held goes on only as long as it leaves the margin to the system that runs.
type room struct {
	mu   sync.Mutex
	file *os.File
	held int64
	owed int64

	margin int64                 // bytes that stay free when nothing is held any more
	free   func() (int64, error) // bytes that are free to write
}

// roomStep is how much is handed out at a time; less would be a system call for each file.
const roomStep = 16 << 20

// holdRoom takes so many bytes of the file system.
func holdRoom(file string, size int64) (*room, error) {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("holding room: %w", err)
	}
	r := &room{file: f, held: size, margin: plan{write: size}.margin()}
	r.free = func() (int64, error) {
		free, err := freeBytes(file)
		return int64(free), err
	}
	if size == 0 {
		return r, nil
	}
	switch err := unix.Fallocate(int(f.Fd()), 0, 0, size); {
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
		r.held = 0 // This file system can't; what is free is looked at instead.
	case err != nil:
		return nil, errors.Join(fmt.Errorf("holding %s of room: %w", bytesText(size), err), r.close())
	}
	return r, nil
}

// use hands out room before so many bytes are written, and refuses where none is left.
func (r *room) use(n int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.owed += n; r.owed < roomStep {
		return nil
	}
	if r.held > 0 {
		r.held = max(0, r.held-r.owed)
		if err := r.file.Truncate(r.held); err != nil {
			return fmt.Errorf("handing out room: %w", err)
		}
	}
	if err := r.look(n); err != nil {
		return err // What is owed stays, so that whoever comes next is refused as well.
	}
	r.owed = 0
	return nil
}

// look refuses to write so many bytes where nothing is held any more and the margin would not stay free.
func (r *room) look(n int64) error {
	if r.held > 0 {
		return nil
	}
	free, err := r.free()
	if err != nil {
		return err
	}
	if n > free-r.margin {
		return diskFull(n+r.margin, free)
	}
	return nil
}

// watched is the content of a large file. While it is written others write as well, so that what was free at
// its beginning says too little.
type watched struct {
	from io.Reader
	room *room
	read int64 // since the last look
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.from.Read(p)
	if w.read += int64(n); w.read < roomStep {
		return n, err
	}
	w.read = 0
	w.room.mu.Lock()
	defer w.room.mu.Unlock()
	if full := w.room.look(0); full != nil {
		return n, full
	}
	return n, err
}

// close gives back what is left.
func (r *room) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return errors.Join(r.file.Truncate(0), r.file.Close())
}

// isDisk says that an error is the disk's, not the image's.
func isDisk(err error) bool {
	for _, disk := range []error{unix.ENOSPC, unix.EDQUOT, unix.EIO, unix.EROFS, unix.EMLINK, unix.EMFILE, unix.ENFILE, unix.EPERM, unix.EACCES, unix.EOPNOTSUPP} {
		if errors.Is(err, disk) {
			return true
		}
	}
	return false
}
