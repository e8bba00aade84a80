package deploy

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path"
	"strings"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"elemental/core"
	"elemental/ports"
)

// spending counts what all layers of an image cost together, against its budget.
type spending struct {
	budget  Budget
	entries atomic.Int64
	bytes   atomic.Int64
	record  atomic.Int64
}

// take counts one entry.
func (s *spending) take(e Entry) error {
	text := len(e.Name) + len(e.Link)
	for key, value := range e.Xattrs {
		text += len(key) + len(value)
	}
	switch {
	case s.entries.Add(1) > int64(s.budget.Entries):
		return tooMany(s.budget.Entries)
	case e.Size < 0 || e.Size > s.budget.Bytes || s.bytes.Add(e.Size) > s.budget.Bytes:
		return tooLarge(s.budget.Bytes)
	case s.record.Add(int64(text)) > s.budget.Record:
		return badImage(ReasonTooBig, "the names, links and attributes of the image take more than %d bytes", s.budget.Record)
	}
	return nil
}

// deepest is how deep an entry may lie.
func (s *spending) deepest() int { return s.budget.Depth }

// account is what the entries of a layer are charged to.
type account interface {
	take(e Entry) error
	deepest() int
}

// layerSpending holds the files of one layer to its ratio as well. The length of its stream says little: the holes
// of a file take no bytes of it, and are written all the same.
type layerSpending struct {
	*spending
	left int64 // bytes
}

// take counts one entry before anything of it is written.
func (l *layerSpending) take(e Entry) error {
	if err := l.spending.take(e); err != nil {
		return err
	}
	if l.left -= e.Size; l.left < 0 {
		return errTooLong
	}
	return nil
}

// decompress opens a layer by what its first bytes say, since media types are often wrong.
func decompress(blob io.Reader) (io.Reader, func(), error) {
	buffered := bufio.NewReaderSize(blob, 256<<10)
	magic, err := buffered.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		reader, err := gzip.NewReader(buffered)
		return reader, func() {}, err
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		reader, err := zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(16<<20), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, nil, err
		}
		return reader, reader.Close, nil
	default:
		return buffered, func() {}, nil
	}
}

// capped ends a stream that is longer than it may be.
type capped struct {
	from io.Reader
	left int64
}

var errTooLong = errors.New("it unpacks to far more than its size allows")

func (c *capped) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	if c.left -= int64(n); c.left < 0 {
		return n, errTooLong
	}
	return n, err
}

// interruptible ends a stream when its context ends.
type interruptible struct {
	ctx  context.Context
	from io.Reader
}

func (i interruptible) Read(p []byte) (int, error) {
	if err := i.ctx.Err(); err != nil {
		return 0, err
	}
	return i.from.Read(p)
}

// unpackLayer puts the files of one layer, whose blob was verified, into the store, and what it holds into a record.
func unpackLayer(ctx context.Context, blob io.Reader, layer ports.Layer, objects *store, spent *spending, record string) error {
	plain, done, err := decompress(interruptible{ctx, blob})
	if err != nil {
		return wrapLayer(layer, err)
	}
	defer done()
	limit := min(spent.budget.Bytes+int64(spent.budget.Entries)*2048, max(spent.budget.Small, layer.Size*spent.budget.Ratio))
	hash := sha256.New()
	content := io.TeeReader(&capped{plain, limit}, hash)
	out, err := newRecordWriter(record)
	if err != nil {
		return err
	}
	if err = readLayer(content, &layerSpending{spent, limit}, objects, out.write); err == nil {
		_, err = io.Copy(io.Discard, content) // What follows the end of a tar is part of its digest.
	}
	if err = errors.Join(err, out.close()); err != nil {
		return wrapLayer(layer, err)
	}
	if got := "sha256:" + hex.EncodeToString(hash.Sum(nil)); got != layer.DiffID {
		return core.Failure{
			Class: core.FailureFailed, Reason: ReasonBadDigest, Path: imagePath,
			Message: fmt.Sprintf("layer %s unpacks to %s, and the image says %s; build the image anew", layer.Digest, got, layer.DiffID),
		}
	}
	return nil
}

// wrapLayer tells what a person can do about an error of a layer: nothing about the disk's or their own, and
// build the image anew where the layer itself is at fault.
func wrapLayer(layer ports.Layer, err error) error {
	var failure core.Failure
	var disk *fs.PathError
	switch {
	case errors.As(err, &failure), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("unpacking layer %s: %w", layer.Digest, err)
	case errors.Is(err, errTooLong):
		return badImage(ReasonTooBig, "layer %s: %v", layer.Digest, err)
	case isTar(err), !errors.As(err, &disk) && !isDisk(err):
		return badImage(ReasonBadLayer, "layer %s: %v", layer.Digest, err)
	default:
		return fmt.Errorf("unpacking layer %s: %w", layer.Digest, err)
	}
}

func isTar(err error) bool {
	return errors.Is(err, tar.ErrHeader) || errors.Is(err, tar.ErrFieldTooLong) || errors.Is(err, io.ErrUnexpectedEOF)
}

// readLayer reads a tar and hands out its entries in order, with the content of each file in the store.
func readLayer(content io.Reader, spent account, objects *store, emit func(Entry) error) error {
	reader := tar.NewReader(content)
	var buffer bytes.Buffer
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the tar: %w", err)
		}
		if header.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		e, err := readHeader(header, spent.deepest())
		if err != nil {
			return err
		}
		if e.Kind == "" {
			continue
		}
		if err := spent.take(e); err != nil {
			return err
		}
		if e.Kind == KindFile {
			if e.Object, err = objects.put(e, &watched{from: reader, room: objects.room}, &buffer); err != nil {
				return err
			}
		}
		if err := emit(e); err != nil {
			return err
		}
	}
}

// The names that layers use to take away what is below them.
const (
	whiteoutPrefix = ".wh."
	opaqueName     = ".wh..wh..opq"
	plumbingPrefix = ".wh..wh." // Other names with it are an old overlay's own; they mean nothing here.
)

// readHeader turns a tar's header into an entry. The kind of an entry that means nothing is empty.
func readHeader(header *tar.Header, depth int) (Entry, error) {
	at, err := cleanName(header.Name, depth)
	if err != nil {
		return Entry{}, err
	}
	e := Entry{
		Name: at, Mode: uint32(header.Mode) & 0o7777, UID: header.Uid, GID: header.Gid,
		Seconds: header.ModTime.Unix(), Nanos: int64(header.ModTime.Nanosecond()),
	}
	if base := at.base(); strings.HasPrefix(base, whiteoutPrefix) {
		folder := strings.TrimSuffix(string(at), base)
		switch {
		case base == opaqueName:
			return Entry{Name: name(strings.TrimSuffix(folder, "/")), Kind: KindOpaque}, nil
		case strings.HasPrefix(base, plumbingPrefix):
			return Entry{}, nil
		}
		hidden, err := cleanName(folder+strings.TrimPrefix(base, whiteoutPrefix), depth)
		if err != nil || hidden == "" || hidden.base() != strings.TrimPrefix(base, whiteoutPrefix) {
			return Entry{}, badImage(ReasonBadLayer, "the whiteout %q hides nothing that can have a name", header.Name)
		}
		return Entry{Name: hidden, Kind: KindWhiteout}, nil
	}
	if !isOwner(e.UID) || !isOwner(e.GID) {
		return Entry{}, badImage(ReasonBadLayer, "%q belongs to %d:%d, which can't be", header.Name, e.UID, e.GID)
	}
	if e.Xattrs, err = readXattrs(header); err != nil {
		return Entry{}, err
	}
	return withKind(e, header, depth)
}

// isOwner says whether a number can be a user or a group. The highest means "leave it" to the kernel.
func isOwner(id int) bool { return id >= 0 && id < math.MaxUint32 }

func withKind(e Entry, header *tar.Header, depth int) (Entry, error) {
	switch header.Typeflag {
	case tar.TypeReg, '\x00', tar.TypeCont, tar.TypeGNUSparse: // NUL is what tars of the 1970s have for a file.
		e.Kind, e.Size = KindFile, header.Size
	case tar.TypeDir:
		e.Kind = KindFolder
	case tar.TypeSymlink:
		e.Kind, e.Link = KindSymlink, name(header.Linkname)
		if e.Link == "" || len(e.Link) > maxName || strings.Contains(header.Linkname, "\x00") {
			return Entry{}, badImage(ReasonBadLayer, "the link %q leads to %.80q, which can't be", header.Name, header.Linkname)
		}
	case tar.TypeLink:
		target, err := cleanName(header.Linkname, depth)
		if err != nil {
			return Entry{}, err
		}
		e = Entry{Name: e.Name, Kind: KindHardLink, Link: target}
	case tar.TypeChar:
		e.Kind, e.Major, e.Minor = KindChar, header.Devmajor, header.Devminor
	case tar.TypeBlock:
		e.Kind, e.Major, e.Minor = KindBlock, header.Devmajor, header.Devminor
	case tar.TypeFifo:
		e.Kind = KindFIFO
	default:
		return Entry{}, badImage(ReasonBadLayer, "%q is of the unknown type %q", header.Name, header.Typeflag)
	}
	if e.Name == "" && e.Kind != KindFolder {
		return Entry{}, badImage(ReasonBadLayer, "the top of the tree is a %s; it must be a folder", e.Kind)
	}
	return e, nil
}

const (
	maxName      = 4096 // bytes of a path, as the kernel has it
	maxComponent = 255  // bytes of one part of it
)

// cleanName reads a path of a tar. Absolute ones are taken from the top of the tree, as every other tool does;
// one that climbs above it is refused.
func cleanName(raw string, depth int) (name, error) {
	if len(raw) > maxName || strings.Contains(raw, "\x00") {
		return "", badImage(ReasonBadLayer, "the name %.80q can't be one", raw)
	}
	relative := path.Clean(strings.TrimLeft(raw, "/"))
	if relative == "." || relative == "" {
		return "", nil
	}
	if relative == ".." || strings.HasPrefix(relative, "../") {
		return "", badImage(ReasonBadLayer, "the name %q leads out of the image", raw)
	}
	parts := strings.Split(relative, "/")
	if len(parts) > depth {
		return "", tooDeep(raw, depth)
	}
	for _, part := range parts {
		if len(part) > maxComponent {
			return "", badImage(ReasonBadLayer, "the name %.80q… is longer than a file system takes", part)
		}
	}
	return name(relative), nil
}

// xattrPrefix marks extended attributes in the extra records of a tar.
const xattrPrefix = "SCHILY.xattr."

func readXattrs(header *tar.Header) (map[name][]byte, error) {
	var xattrs map[name][]byte
	for key, value := range header.PAXRecords {
		attribute, ok := strings.CutPrefix(key, xattrPrefix)
		if !ok {
			continue
		}
		if attribute == "" || len(attribute) > maxComponent || len(value) > 64<<10 || strings.Contains(attribute, "\x00") {
			return nil, badImage(ReasonBadLayer, "%q has the attribute %.80q, which can't be", header.Name, attribute)
		}
		if xattrs == nil {
			xattrs = map[name][]byte{}
		}
		xattrs[name(attribute)] = []byte(value)
	}
	return xattrs, nil
}
