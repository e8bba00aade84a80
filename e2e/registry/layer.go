package registry

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// layer is a layer whose digests are known, in a file or in memory.
type layer struct {
	digest, diffID v1.Hash
	size           int64
	file           string
	content        []byte // where there is no file
}

func (l *layer) Digest() (v1.Hash, error)            { return l.digest, nil }
func (l *layer) DiffID() (v1.Hash, error)            { return l.diffID, nil }
func (l *layer) Size() (int64, error)                { return l.size, nil }
func (l *layer) MediaType() (types.MediaType, error) { return types.OCILayer, nil }

// Compressed opens the layer as it is stored. The content can be sought in.
func (l *layer) Compressed() (io.ReadCloser, error) {
	if l.file != "" {
		return os.Open(l.file)
	}
	return inMemory{bytes.NewReader(l.content)}, nil
}

// Uncompressed opens the tar.
func (l *layer) Uncompressed() (io.ReadCloser, error) {
	stored, err := l.Compressed()
	if err != nil {
		return nil, err
	}
	return gzip.NewReader(stored)
}

type inMemory struct{ *bytes.Reader }

func (inMemory) Close() error { return nil }

// compress writes a tar as a layer's blob and learns its digests.
func compress(to io.Writer, from io.Reader) (*layer, error) {
	digest, diffID := sha256.New(), sha256.New()
	counted := &counter{to: io.MultiWriter(to, digest)}
	zip, err := gzip.NewWriterLevel(counted, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(io.MultiWriter(zip, diffID), from); err != nil {
		return nil, err
	}
	if err := zip.Close(); err != nil {
		return nil, err
	}
	hash := func(sum []byte) v1.Hash { return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum)} }
	return &layer{digest: hash(digest.Sum(nil)), diffID: hash(diffID.Sum(nil)), size: counted.bytes}, nil
}

type counter struct {
	to    io.Writer
	bytes int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	c.bytes += int64(n)
	return n, err
}

// File is one entry of a layer: a file with its text or with the content of a file on this machine, a link,
// or the absence of what a lower layer has.
type File struct {
	Path string // without a slash in front
	Mode int64  // 0644 where it is 0
	Text string
	From string // a file on this machine
	Link string // the target of a symbolic link
	Gone bool
}

// Mask keeps a systemd unit from ever starting.
func Mask(unit string) File {
	return File{Path: "etc/systemd/system/" + unit, Link: "/dev/null"}
}

// Enable makes a target want a unit.
func Enable(unit, target string) File {
	return File{Path: "etc/systemd/system/" + target + ".wants/" + unit, Link: "/usr/lib/systemd/system/" + unit}
}

// Layer makes a layer of files. The same files make the same layer.
func Layer(files ...File) (v1.Layer, error) {
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	made := map[string]bool{}
	for _, file := range files {
		if err := folders(w, path.Dir(file.Path), made); err != nil {
			return nil, err
		}
		if err := file.write(w); err != nil {
			return nil, fmt.Errorf("adding %s to a layer: %w", file.Path, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	var blob bytes.Buffer
	l, err := compress(&blob, &archive)
	if err != nil {
		return nil, err
	}
	l.content = blob.Bytes()
	return l, nil
}

// epoch is the age of all that the tests put into images.
const epoch = 1_700_000_000 // seconds since 1970

func folders(w *tar.Writer, folder string, made map[string]bool) error {
	if folder == "." || made[folder] {
		return nil
	}
	if err := folders(w, path.Dir(folder), made); err != nil {
		return err
	}
	made[folder] = true
	return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: folder + "/", Mode: 0o755, ModTime: time.Unix(epoch, 0)})
}

func (f File) write(w *tar.Writer) error {
	header := &tar.Header{Typeflag: tar.TypeReg, Name: f.Path, Mode: cmp.Or(f.Mode, 0o644), ModTime: time.Unix(epoch, 0)}
	content := []byte(f.Text)
	switch {
	case f.Gone:
		header.Name = path.Join(path.Dir(f.Path), ".wh."+path.Base(f.Path))
	case f.Link != "":
		header.Typeflag, header.Linkname, header.Mode = tar.TypeSymlink, f.Link, 0o777
	case f.From != "":
		var err error
		if content, err = os.ReadFile(f.From); err != nil {
			return err
		}
	}
	header.Size = int64(len(content))
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	_, err := w.Write(content)
	return err
}
