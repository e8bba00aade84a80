package deploy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"elemental/core"
	"elemental/ports"
)

// download is one blob on its way to the disk. What was fetched is kept, and an interrupted download goes on
// from there.
type download struct {
	staging *staging
	layer   ports.Layer
	file    *os.File
	hash    hash.Hash
	offset  int64
}

// fetchBlob brings a blob to a file and checks its digest over its full length.
func (s *staging) fetchBlob(ctx context.Context, layer ports.Layer, at string) (*os.File, error) {
	file, err := os.OpenFile(at, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("fetching layer %s: %w", layer.Digest, err)
	}
	d := &download{staging: s, layer: layer, file: file, hash: sha256.New()}
	err = d.reserve()
	if err == nil {
		err = d.persist(ctx)
	}
	if err == nil {
		err = d.check()
	}
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		_ = file.Close() // The error that matters is the one above.
		return nil, fmt.Errorf("fetching layer %s: %w", layer.Digest, err)
	}
	return file, nil
}

// reserve turns held room into room of the file.
func (d *download) reserve() error {
	if err := d.staging.room.use(d.layer.Size); err != nil {
		return err
	}
	err := unix.Fallocate(int(d.file.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, max(1, d.layer.Size))
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return nil
	}
	return err
}

// The waits between two tries of a download.
const (
	firstWait = 200 * time.Millisecond
	mostWait  = 10 * time.Second
	// vainEnds is how often a blob may end too early, without an error and without one more byte, until it is
	// taken to be shorter than the image says.
	vainEnds = 3
	// restarts is how often a blob is begun anew where its registry can't resume.
	restarts = 3
)

// persist goes on until the blob is whole. It gives up where a failure is for good, and where no byte came for
// as long as the engine has patience.
func (d *download) persist(ctx context.Context) error {
	wait, ends, begun := firstWait, 0, 0
	last := time.Now()
	for d.offset < d.layer.Size {
		before := d.offset
		err := d.once(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var failure core.Failure
		switch {
		case isDisk(err):
			return err
		case errors.As(err, &failure) && failure.Class != core.FailureRetryable:
			return err
		case failure.Reason == ports.ReasonNoResume:
			if begun++; begun > restarts {
				return err
			}
			d.restart()
		case d.offset > before:
			wait, ends, last = firstWait, 0, time.Now()
			continue
		case err == nil:
			if ends++; ends >= vainEnds {
				return d.bad(fmt.Sprintf("the registry has %d bytes of it and the image says %d", d.offset, d.layer.Size))
			}
		case time.Since(last) > d.staging.engine.FetchTimeout:
			return core.Failure{
				Class: core.FailureRetryable, Reason: ports.ReasonRegistryUnavailable,
				Message: fmt.Sprintf("no byte came for %s: %v", d.staging.engine.FetchTimeout, err),
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		wait = min(2*wait, mostWait)
	}
	return nil
}

// restart forgets what was fetched.
func (d *download) restart() {
	d.staging.progress.fetched(-d.offset)
	d.offset = 0
	d.hash.Reset()
}

// once reads as far as one connection goes.
func (d *download) once(ctx context.Context) error {
	blob, err := d.staging.engine.Images.Blob(ctx, d.staging.image, d.layer, d.offset)
	if err != nil {
		return err
	}
	defer blob.Close()
	_, err = io.Copy(d, io.LimitReader(interruptible{ctx, blob}, d.layer.Size-d.offset+1))
	return err
}

// Write keeps what came.
func (d *download) Write(p []byte) (int, error) {
	if d.offset+int64(len(p)) > d.layer.Size {
		return 0, d.bad(fmt.Sprintf("the registry has more than the %d bytes that the image says", d.layer.Size))
	}
	n, err := d.file.WriteAt(p, d.offset)
	d.hash.Write(p[:n])
	d.offset += int64(n)
	d.staging.progress.fetched(int64(n))
	return n, err
}

// check compares the digest of the whole.
func (d *download) check() error {
	if got := "sha256:" + hex.EncodeToString(d.hash.Sum(nil)); got != d.layer.Digest {
		return d.bad("what the registry sent is " + got)
	}
	return nil
}

func (d *download) bad(what string) error {
	return core.Failure{
		Class: core.FailureFailed, Reason: ReasonBadDigest, Path: imagePath,
		Message: fmt.Sprintf("layer %s is damaged: %s; push the image anew", d.layer.Digest, what),
	}
}
