package portstest

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/matryer/is"

	"elemental/core"
	"elemental/ports"
)

// Shelf is where a test puts images for a ports.Images to find.
type Shelf interface {
	// Put stores an image made of uncompressed tars, the lowest first, under a tag, and returns the reference
	// that finds it. Several architectures under one tag make an index.
	Put(t *testing.T, tag, architecture string, layers ...[]byte) (reference string)
}

// Images is an in-memory ports.Images, and its own Shelf. References are fake://TAG. The zero value is empty.
type Images struct {
	// OnBlob, when set, sees every opening of a blob before it happens; an error that it returns is the answer.
	OnBlob func(layer ports.Layer, offset int64) error

	mu     sync.Mutex
	tags   map[string][]ports.Image
	blobs  map[string][]byte
	broken map[string]int64
	opened []ports.Layer
}

var (
	_ ports.Images = (*Images)(nil)
	_ Shelf        = (*Images)(nil)
)

// Put stores an image; its layers are gzipped.
func (i *Images) Put(t *testing.T, tag, architecture string, layers ...[]byte) string {
	t.Helper()
	image := ports.Image{Reference: "fake://" + tag, Architecture: architecture}
	manifest := architecture
	for _, layer := range layers {
		compressed := Gzip(t, layer)
		image.Layers = append(image.Layers, ports.Layer{
			Digest: Digest(compressed), DiffID: Digest(layer), Size: int64(len(compressed)),
			MediaType: "application/vnd.oci.image.layer.v1.tar+gzip",
		})
		manifest += " " + Digest(compressed)
		i.Swap(Digest(compressed), compressed)
	}
	image.Digest = Digest([]byte(manifest))
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.tags == nil {
		i.tags = map[string][]ports.Image{}
	}
	others := slices.DeleteFunc(i.tags[tag], func(o ports.Image) bool { return o.Architecture == architecture })
	i.tags[tag] = append(others, image)
	return image.Reference
}

// Remove forgets a tag.
func (i *Images) Remove(tag string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.tags, tag)
}

// Swap replaces the bytes that lie under a digest, whether or not they have it.
func (i *Images) Swap(digest string, content []byte) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.blobs == nil {
		i.blobs = map[string][]byte{}
	}
	i.blobs[digest] = content
}

// Repack gives the layers of a tag that have a diff ID another blob, with the digest that it has.
func (i *Images) Repack(tag, diffID string, blob []byte) {
	i.Swap(Digest(blob), blob)
	i.mu.Lock()
	defer i.mu.Unlock()
	for n, image := range i.tags[tag] {
		layers := slices.Clone(image.Layers)
		for m, layer := range layers {
			if layer.DiffID == diffID {
				layers[m].Digest, layers[m].Size = Digest(blob), int64(len(blob))
			}
		}
		i.tags[tag][n].Layers = layers
	}
}

// Break ends the next reading of a blob with an error after so many bytes.
func (i *Images) Break(digest string, after int64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.broken == nil {
		i.broken = map[string]int64{}
	}
	i.broken[digest] = after
}

// Opened lists the layers whose blobs were opened, in order, and forgets them.
func (i *Images) Opened() []ports.Layer {
	i.mu.Lock()
	defer i.mu.Unlock()
	opened := i.opened
	i.opened = nil
	return opened
}

// Resolve finds an image by its tag.
func (i *Images) Resolve(ctx context.Context, reference, architecture string) (ports.Image, error) {
	if err := ctx.Err(); err != nil {
		return ports.Image{}, err
	}
	tag, ok := strings.CutPrefix(reference, "fake://")
	if !ok || tag == "" {
		return ports.Image{}, core.Failure{
			Class: core.FailureInvalid, Reason: ports.ReasonMalformedReference, Path: "osVersion.imageUri",
			Message: fmt.Sprintf("%q is not of the form fake://TAG", reference),
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	images := i.tags[tag]
	if len(images) == 0 {
		return ports.Image{}, core.Failure{Class: core.FailureFailed, Reason: ports.ReasonImageNotFound, Message: "there is no image " + reference}
	}
	for _, image := range images {
		if image.Architecture == architecture {
			return image, nil
		}
	}
	return ports.Image{}, core.Failure{
		Class: core.FailureInvalid, Reason: ports.ReasonArchitectureMismatch, Path: "osVersion.imageUri",
		Message: fmt.Sprintf("%s is for %s; this host needs %s", reference, images[0].Architecture, architecture),
	}
}

// Blob opens a layer.
func (i *Images) Blob(ctx context.Context, _ ports.Image, layer ports.Layer, offset int64) (io.ReadCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if i.OnBlob != nil {
		if err := i.OnBlob(layer, offset); err != nil {
			return nil, err
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.opened = append(i.opened, layer)
	content, ok := i.blobs[layer.Digest]
	if !ok {
		return nil, core.Failure{Class: core.FailureFailed, Reason: ports.ReasonImageNotFound, Message: "there is no blob " + layer.Digest}
	}
	rest := content[min(offset, int64(len(content))):]
	after, breaks := i.broken[layer.Digest]
	if !breaks {
		return io.NopCloser(bytes.NewReader(rest)), nil
	}
	delete(i.broken, layer.Digest)
	return io.NopCloser(io.MultiReader(bytes.NewReader(rest[:min(after, int64(len(rest)))]), brokenReader{})), nil
}

// brokenReader is a connection that was cut.
type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("the connection was cut") }

// Gzip compresses a layer.
func Gzip(t *testing.T, content []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// Digest is the sha256 of some bytes, as OCI writes it.
func Digest(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// TestImages is the contract of ports.Images. The architecture "mips" must be one that the host is not asked for.
func TestImages(t *testing.T, create func(t *testing.T) (ports.Images, Shelf)) {
	layers := [][]byte{bytes.Repeat([]byte("lower "), 5000), bytes.Repeat([]byte("upper "), 3000)}

	t.Run("finds the image of a tag, with its layers in order", func(t *testing.T) {
		is := is.New(t)
		images, shelf := create(t)
		reference := shelf.Put(t, "v1", "amd64", layers...)
		image, err := images.Resolve(t.Context(), reference, "amd64")
		is.NoErr(err)
		is.Equal(image.Reference, reference)
		is.Equal(image.Architecture, "amd64")
		is.True(strings.HasPrefix(image.Digest, "sha256:"))
		is.Equal(len(image.Layers), 2)
		for n, layer := range image.Layers {
			is.Equal(layer.DiffID, Digest(layers[n]))
			blob := readBlob(t, images, image, layer, 0)
			is.Equal(Digest(blob), layer.Digest)
			is.Equal(int64(len(blob)), layer.Size)
		}
	})
	t.Run("opens a blob anywhere", func(t *testing.T) {
		is := is.New(t)
		images, shelf := create(t)
		image, err := images.Resolve(t.Context(), shelf.Put(t, "v1", "amd64", layers...), "amd64")
		is.NoErr(err)
		layer := image.Layers[0]
		whole := readBlob(t, images, image, layer, 0)
		is.Equal(readBlob(t, images, image, layer, 10), whole[10:])
		is.Equal(readBlob(t, images, image, layer, layer.Size-1), whole[layer.Size-1:])
		is.Equal(len(readBlob(t, images, image, layer, layer.Size)), 0)
	})
	t.Run("a tag that moves is another digest", func(t *testing.T) {
		is := is.New(t)
		images, shelf := create(t)
		reference := shelf.Put(t, "latest", "amd64", layers[0])
		first, err := images.Resolve(t.Context(), reference, "amd64")
		is.NoErr(err)
		shelf.Put(t, "latest", "amd64", layers[1])
		second, err := images.Resolve(t.Context(), reference, "amd64")
		is.NoErr(err)
		is.True(first.Digest != second.Digest)
	})
	t.Run("picks the architecture asked for", func(t *testing.T) {
		is := is.New(t)
		images, shelf := create(t)
		shelf.Put(t, "both", "mips", layers[0])
		reference := shelf.Put(t, "both", "amd64", layers[1])
		image, err := images.Resolve(t.Context(), reference, "amd64")
		is.NoErr(err)
		is.Equal(image.Layers[0].DiffID, Digest(layers[1]))
	})
	t.Run("refuses another architecture and names both", func(t *testing.T) {
		is := is.New(t)
		images, shelf := create(t)
		_, err := images.Resolve(t.Context(), shelf.Put(t, "foreign", "mips", layers[0]), "amd64")
		failure := failureOf(t, err)
		is.Equal(failure.Class, core.FailureInvalid)
		is.Equal(failure.Reason, ports.ReasonArchitectureMismatch)
		is.True(strings.Contains(failure.Message, "mips") && strings.Contains(failure.Message, "amd64"))
	})
	t.Run("a tag that does not exist is not found", func(t *testing.T) {
		is := is.New(t)
		images, shelf := create(t)
		reference := strings.Replace(shelf.Put(t, "v1", "amd64", layers[0]), "v1", "v2", 1)
		_, err := images.Resolve(t.Context(), reference, "amd64")
		failure := failureOf(t, err)
		is.Equal(failure.Class, core.FailureFailed)
		is.Equal(failure.Reason, ports.ReasonImageNotFound)
	})
	t.Run("a reference that says nothing is malformed", func(t *testing.T) {
		is := is.New(t)
		images, _ := create(t)
		for _, reference := range []string{"", "registry.example/os:v1", "ftp://x/y", "://", "oci://", "oci-layout:"} {
			_, err := images.Resolve(t.Context(), reference, "amd64")
			failure := failureOf(t, err)
			is.Equal(failure.Class, core.FailureInvalid)
			is.Equal(failure.Reason, ports.ReasonMalformedReference)
			is.Equal(failure.Path, "osVersion.imageUri")
		}
	})
	t.Run("obeys a context that ended", func(t *testing.T) {
		is := is.New(t)
		images, shelf := create(t)
		reference := shelf.Put(t, "v1", "amd64", layers[0])
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := images.Resolve(ctx, reference, "amd64")
		is.True(errors.Is(err, context.Canceled))
	})
}

func readBlob(t *testing.T, images ports.Images, image ports.Image, layer ports.Layer, offset int64) []byte {
	t.Helper()
	blob, err := images.Blob(t.Context(), image, layer, offset)
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Close()
	content, err := io.ReadAll(blob)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func failureOf(t *testing.T, err error) core.Failure {
	t.Helper()
	var failure core.Failure
	if !errors.As(err, &failure) {
		t.Fatalf("not a core.Failure: %v", err)
	}
	return failure
}
