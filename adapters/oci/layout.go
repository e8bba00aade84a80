package oci

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"elemental/core"
	"elemental/ports"
)

// files opens the parts of a layout by their name.
type files func(name string) (io.ReadSeekCloser, error)

// folderFiles are those of a layout in a folder. Nothing is read from outside it.
func folderFiles(at string) files {
	return func(name string) (io.ReadSeekCloser, error) {
		root, err := os.OpenRoot(at)
		if err != nil {
			return nil, err
		}
		defer root.Close()
		return root.Open(filepath.FromSlash(name))
	}
}

// archiveFiles are those of a layout in a tar.
func archiveFiles(at string) files {
	return func(name string) (io.ReadSeekCloser, error) {
		archive, err := os.Open(at)
		if err != nil {
			return nil, err
		}
		for entries := tar.NewReader(archive); ; {
			header, err := entries.Next()
			if errors.Is(err, io.EOF) {
				err = &fs.PathError{Op: "open", Path: at + ":" + name, Err: fs.ErrNotExist}
			}
			if err != nil {
				_ = archive.Close() // It was only read.
				return nil, err
			}
			if path.Clean(header.Name) != name || header.Typeflag != tar.TypeReg {
				continue
			}
			// The reader of a tar does not read ahead: the file stands where the entry's content begins.
			start, err := archive.Seek(0, io.SeekCurrent)
			if err != nil {
				_ = archive.Close() // It was only read.
				return nil, err
			}
			return section{io.NewSectionReader(archive, start, header.Size), archive}, nil
		}
	}
}

// section is a part of a file.
type section struct {
	*io.SectionReader
	file *os.File
}

func (s section) Close() error { return s.file.Close() }

// layout is an image in an OCI layout.
type layout struct {
	files files
	tag   string // may be empty where there is one image only

	reference string // for errors
}

// tagAnnotation holds the tag of an image in a layout.
const tagAnnotation = "org.opencontainers.image.ref.name"

func (l layout) top(ctx context.Context) (document, error) {
	if err := ctx.Err(); err != nil {
		return document{}, err
	}
	content, err := l.read("index.json")
	if err != nil {
		return document{}, err
	}
	index, err := v1.ParseIndexManifest(bytes.NewReader(content))
	if err != nil {
		return document{}, badImage(l.reference, "index.json of the layout can't be read: %v", err)
	}
	var found []v1.Descriptor
	var tags []string
	for _, m := range index.Manifests {
		tag := m.Annotations[tagAnnotation]
		tags = append(tags, tag)
		if l.tag == "" || tag == l.tag || strings.HasSuffix(tag, ":"+l.tag) {
			found = append(found, m)
		}
	}
	switch {
	case len(found) == 0:
		return document{}, core.Failure{
			Class: core.FailureFailed, Reason: ports.ReasonImageNotFound,
			Message: fmt.Sprintf("the layout has no image with the tag %q; it has %q", l.tag, tags),
		}
	case len(found) > 1 && l.tag == "":
		return document{}, malformed(l.reference, fmt.Sprintf("the layout has several images; add one of the tags %q", tags))
	case len(found) > 1:
		// Several architectures under one tag: what the layout says of them is an index.
		index.Manifests = found
		if content, err = json.Marshal(index); err != nil {
			return document{}, fmt.Errorf("choosing among the architectures of %s: %w", l.reference, err)
		}
		return document{content: content, mediaType: string(types.OCIImageIndex)}, nil
	}
	top := document{mediaType: string(found[0].MediaType), digest: found[0].Digest.String()}
	top.content, err = l.manifest(ctx, top.digest)
	return top, err
}

func (l layout) manifest(ctx context.Context, digest string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	at, err := blobPath(digest)
	if err != nil {
		return nil, err
	}
	content, err := l.read(at)
	if err != nil {
		return nil, err
	}
	return content, checkDigest(content, digest)
}

func (l layout) blob(ctx context.Context, digest string, _, offset int64) (io.ReadCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	at, err := blobPath(digest)
	if err != nil {
		return nil, err
	}
	file, err := l.open(at)
	if err != nil {
		return nil, err
	}
	if _, err := file.Seek(offset, io.SeekStart); err != nil {
		return nil, errors.Join(fmt.Errorf("reading %s: %w", at, err), file.Close())
	}
	return file, nil
}

// blobPath is where a layout keeps a blob.
func blobPath(digest string) (string, error) {
	hash, err := v1.NewHash(digest)
	if err != nil {
		return "", fmt.Errorf("the digest %.100q: %w", digest, err)
	}
	return path.Join("blobs", hash.Algorithm, hash.Hex), nil
}

// open opens a part of the layout. What a disk does not have will not come by waiting.
func (l layout) open(name string) (io.ReadSeekCloser, error) {
	file, err := l.files(name)
	if err != nil {
		return nil, core.Failure{Class: core.FailureFailed, Reason: ports.ReasonImageNotFound, Message: fmt.Sprintf("reading the image: %v", err)}
	}
	return file, nil
}

func (l layout) read(name string) ([]byte, error) {
	file, err := l.open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxDocument+1))
	if err != nil {
		return nil, core.Failure{Class: core.FailureFailed, Reason: ports.ReasonImageNotFound, Message: fmt.Sprintf("reading %s: %v", name, err)}
	}
	if len(content) > maxDocument {
		return nil, badImage(name, "it has more than %d bytes", maxDocument)
	}
	return content, nil
}
