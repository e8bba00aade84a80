package deploy

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// ObjectID names a file by all that tells it from another: content, mode, owner, attributes and time.
type ObjectID [sha256.Size]byte

// String is the ID in hexadecimal.
func (id ObjectID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText writes the ID in hexadecimal.
func (id ObjectID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads the ID.
func (id *ObjectID) UnmarshalText(text []byte) error {
	if len(text) != hex.EncodedLen(len(id)) {
		return fmt.Errorf("an object is named by %d hexadecimal digits, not by %q", hex.EncodedLen(len(id)), text)
	}
	_, err := hex.Decode(id[:], text)
	return err
}

// path is where the object lies below its store.
func (id ObjectID) path() string {
	text := id.String()
	return text[:2] + "/" + text[2:]
}

// identify derives the identity of a file from the sha256 of its content and from the rest of its entry.
func identify(content [sha256.Size]byte, e Entry) ObjectID {
	h := sha256.New()
	h.Write(content[:])
	number := func(n int64) {
		var b [8]byte
		binary.BigEndian.PutUint64(b[:], uint64(n))
		h.Write(b[:])
	}
	for _, n := range []int64{int64(e.Mode), int64(e.UID), int64(e.GID), e.Seconds, e.Nanos, int64(len(e.Xattrs))} {
		number(n)
	}
	for _, key := range sortedKeys(e.Xattrs) {
		number(int64(len(key)))
		h.Write([]byte(key))
		number(int64(len(e.Xattrs[key])))
		h.Write(e.Xattrs[key])
	}
	return ObjectID(h.Sum(nil))
}

func sortedKeys(xattrs map[name][]byte) []name {
	keys := make([]name, 0, len(xattrs))
	for key := range xattrs {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// store holds objects: those of earlier stagings, which are durable, and fresh ones, which are not until they
// are moved over. A power cut can leave a fresh file empty under its final name, so fresh ones are kept apart
// and nothing trusts them after a crash.
type store struct {
	kept  *os.File // objects/
	fresh *os.File // staging/objects/
	room  *room

	large atomic.Int64 // how many large files were begun

	mu    sync.Mutex
	added map[ObjectID]struct{}
	made  [256]bool // which folders of fresh exist
}

func openStore(kept, fresh string, r *room) (*store, error) {
	for _, folder := range []string{kept, fresh} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return nil, fmt.Errorf("making the object store: %w", err)
		}
	}
	k, err := os.Open(kept)
	if err != nil {
		return nil, fmt.Errorf("opening the object store: %w", err)
	}
	f, err := os.Open(fresh)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the object store: %w", err), k.Close())
	}
	return &store{kept: k, fresh: f, room: r, added: map[ObjectID]struct{}{}}, nil
}

// close lets go of the folders, which were never written to through these.
func (s *store) close() { _, _ = s.kept.Close(), s.fresh.Close() }

// has says whether the object is there already.
func (s *store) has(id ObjectID) bool {
	s.mu.Lock()
	_, fresh := s.added[id]
	s.mu.Unlock()
	return fresh || s.keeps(id)
}

// keeps says whether an earlier staging left the object.
func (s *store) keeps(id ObjectID) bool {
	return unix.Faccessat(int(s.kept.Fd()), id.path(), unix.F_OK, unix.AT_SYMLINK_NOFOLLOW) == nil
}

// buffered is up to which size a file is hashed in memory before anything is written: most files of a new
// version are there already, and then nothing is.
const buffered = 1 << 20

// put stores a file and returns the ID of its object.
func (s *store) put(e Entry, content io.Reader, buffer *bytes.Buffer) (ObjectID, error) {
	if e.Size > buffered {
		return s.stream(e, content)
	}
	buffer.Reset()
	if _, err := io.Copy(buffer, content); err != nil {
		return ObjectID{}, err
	}
	id := identify(sha256.Sum256(buffer.Bytes()), e)
	if s.has(id) {
		return id, nil
	}
	if err := s.makeFolder(id); err != nil {
		return id, err
	}
	err := s.write(id.path(), e, bytes.NewReader(buffer.Bytes()))
	if errors.Is(err, fs.ErrExist) { // Another layer is writing the very same file.
		return id, nil
	}
	s.add(id)
	return id, err
}

// stream stores a file that is too large to be held in memory.
func (s *store) stream(e Entry, content io.Reader) (ObjectID, error) {
	base := fmt.Sprintf("large-%d", s.large.Add(1))
	defer func() { _ = unix.Unlinkat(int(s.fresh.Fd()), base, 0) }() // It is gone already where it was kept.
	hash := sha256.New()
	if err := s.write(base, e, io.TeeReader(content, hash)); err != nil {
		return ObjectID{}, err
	}
	id := identify([sha256.Size]byte(hash.Sum(nil)), e)
	if s.has(id) {
		return id, nil
	}
	if err := s.makeFolder(id); err != nil {
		return id, err
	}
	if err := unix.Renameat(int(s.fresh.Fd()), base, int(s.fresh.Fd()), id.path()); err != nil {
		return id, fmt.Errorf("writing object %s: %w", id, err)
	}
	s.add(id)
	return id, nil
}

func (s *store) add(id ObjectID) {
	s.mu.Lock()
	s.added[id] = struct{}{}
	s.mu.Unlock()
}

func (s *store) makeFolder(id ObjectID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.made[id[0]] {
		return nil
	}
	if err := unix.Mkdirat(int(s.fresh.Fd()), id.path()[:2], 0o700); err != nil {
		return fmt.Errorf("making a folder of the object store: %w", err)
	}
	s.made[id[0]] = true
	return nil
}

// write makes one fresh file with all that its entry says of it.
func (s *store) write(at string, e Entry, content io.Reader) error {
	if err := s.room.use(e.Size); err != nil {
		return err
	}
	folder := int(s.fresh.Fd())
	fd, err := unix.Openat(folder, at, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return &fs.PathError{Op: "writing an object", Path: at, Err: err}
	}
	file := os.NewFile(uintptr(fd), at)
	_, err = io.Copy(onlyWriter{file}, content)
	if err == nil {
		err = setMetadata(fd, e)
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", e.Name, err)
	}
	return setTimes(folder, at, e)
}

// onlyWriter hides that a file can copy by itself, which allocates a buffer for each.
type onlyWriter struct{ io.Writer }

// setMetadata gives an open file or folder its owner, its mode and its attributes. The order matters: a
// change of owner takes setuid bits and capabilities away.
func setMetadata(fd int, e Entry) error {
	if err := unix.Fchown(fd, e.UID, e.GID); err != nil {
		return fmt.Errorf("giving it to %d:%d: %w", e.UID, e.GID, err)
	}
	if err := unix.Fchmod(fd, e.Mode); err != nil {
		return fmt.Errorf("giving it mode %o: %w", e.Mode, err)
	}
	for _, key := range sortedKeys(e.Xattrs) {
		if err := unix.Fsetxattr(fd, string(key), e.Xattrs[key], 0); err != nil {
			return fmt.Errorf("giving it the attribute %s: %w", key, err)
		}
	}
	return nil
}

// setTimes gives a file, folder or link its time.
func setTimes(folder int, at string, e Entry) error {
	when := unix.Timespec{Sec: e.Seconds, Nsec: e.Nanos}
	if err := unix.UtimesNanoAt(folder, at, []unix.Timespec{when, when}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("giving %s its time: %w", e.Name, err)
	}
	return nil
}

// link gives an object one more name.
func (s *store) link(id ObjectID, folder int, base string) error {
	s.mu.Lock()
	_, fresh := s.added[id]
	s.mu.Unlock()
	from := s.kept
	if fresh {
		from = s.fresh
	}
	err := unix.Linkat(int(from.Fd()), id.path(), folder, base, 0)
	if err != nil {
		return fmt.Errorf("linking object %s to %s: %w", id, base, err)
	}
	return nil
}

// open opens an object to be read.
func (s *store) open(id ObjectID) (*os.File, error) {
	for _, folder := range []*os.File{s.fresh, s.kept} {
		fd, err := unix.Openat(int(folder.Fd()), id.path(), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
		if err == nil {
			return os.NewFile(uintptr(fd), id.String()), nil
		}
		if !errors.Is(err, unix.ENOENT) {
			return nil, fmt.Errorf("opening object %s: %w", id, err)
		}
	}
	return nil, fmt.Errorf("opening object %s: %w", id, fs.ErrNotExist)
}

// keep moves the fresh objects, which must be durable by now, to those that are trusted.
func (s *store) keep() error {
	for n := range s.made {
		if !s.made[n] {
			continue
		}
		folder := fmt.Sprintf("%02x", n)
		if err := unix.Mkdirat(int(s.kept.Fd()), folder, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("making a folder of the object store: %w", err)
		}
	}
	for id := range s.added {
		if err := unix.Renameat(int(s.fresh.Fd()), id.path(), int(s.kept.Fd()), id.path()); err != nil {
			return fmt.Errorf("keeping object %s: %w", id, err)
		}
	}
	clear(s.added)
	return nil
}
