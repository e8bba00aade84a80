package deploy

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"
)

// Kind is what an entry of a layer is.
type Kind string

// The kinds of entries.
const (
	KindFile     Kind = "file"
	KindFolder   Kind = "folder"
	KindSymlink  Kind = "symlink"
	KindHardLink Kind = "hardlink" // another name of what the layers hold so far
	KindChar     Kind = "char"
	KindBlock    Kind = "block"
	KindFIFO     Kind = "fifo"
	KindWhiteout Kind = "whiteout" // what the layers below have by this name is gone
	KindOpaque   Kind = "opaque"   // what the layers below have in this folder is gone
)

// Entry is one entry of a layer, in the order of its tar.
type Entry struct {
	Name    name            `json:"n"` // from the top of the tree, without a leading slash; empty for the top itself
	Kind    Kind            `json:"k"`
	Mode    uint32          `json:"m,omitempty"` // permissions with setuid, setgid and sticky, as stat has them
	UID     int             `json:"u,omitempty"`
	GID     int             `json:"g,omitempty"`
	Size    int64           `json:"s,omitempty"`
	Seconds int64           `json:"t,omitempty"` // of the time of modification, since 1970
	Nanos   int64           `json:"ns,omitempty"`
	Object  ObjectID        `json:"o,omitzero"` // of a file
	Link    name            `json:"l,omitempty"`
	Major   int64           `json:"maj,omitempty"`
	Minor   int64           `json:"min,omitempty"`
	Xattrs  map[name][]byte `json:"x,omitempty"`
}

// name is a path or a name as the file system has it: bytes, which need not be UTF-8. JSON would replace the
// ones that are not.
type name string

// rawName marks the hexadecimal form of a name that is not UTF-8. No path holds a NUL byte.
const rawName = "\x00hex:"

// MarshalText writes the name.
func (n name) MarshalText() ([]byte, error) {
	if utf8.ValidString(string(n)) {
		return []byte(n), nil
	}
	return []byte(rawName + hex.EncodeToString([]byte(n))), nil
}

// UnmarshalText reads the name.
func (n *name) UnmarshalText(text []byte) error {
	raw, is := strings.CutPrefix(string(text), rawName)
	if !is {
		*n = name(text)
		return nil
	}
	content, err := hex.DecodeString(raw)
	*n = name(content)
	return err
}

// base is the last part of the name.
func (n name) base() string { return path.Base(string(n)) }

// recordWriter writes what a layer holds, one entry a line, compressed.
type recordWriter struct {
	file    *os.File
	packed  *zstd.Encoder
	encoder *json.Encoder
}

func newRecordWriter(file string) (*recordWriter, error) {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("writing the record of a layer: %w", err)
	}
	packed, err := zstd.NewWriter(f, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("writing the record of a layer: %w", err), f.Close())
	}
	encoder := json.NewEncoder(packed)
	encoder.SetEscapeHTML(false)
	return &recordWriter{file: f, packed: packed, encoder: encoder}, nil
}

func (w *recordWriter) write(e Entry) error {
	if err := w.encoder.Encode(e); err != nil {
		return fmt.Errorf("writing the record of a layer: %w", err)
	}
	return nil
}

func (w *recordWriter) close() error {
	if err := errors.Join(w.packed.Close(), w.file.Close()); err != nil {
		return fmt.Errorf("writing the record of a layer: %w", err)
	}
	return nil
}

// maxRecordLine bounds one entry of a record; its name, link and attributes are bounded far below.
const maxRecordLine = 4 << 20

// readRecord calls visit with each entry of a layer's record.
func readRecord(file string, visit func(Entry) error) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("reading the record of a layer: %w", err)
	}
	defer f.Close()
	packed, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8<<20))
	if err != nil {
		return fmt.Errorf("reading the record of a layer: %w", err)
	}
	defer packed.Close()
	lines := bufio.NewScanner(packed)
	lines.Buffer(make([]byte, 64<<10), maxRecordLine)
	for lines.Scan() {
		var e Entry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return fmt.Errorf("reading the record %s: %w", file, err)
		}
		if err := visit(e); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading the record %s: %w", file, err)
	}
	return nil
}
