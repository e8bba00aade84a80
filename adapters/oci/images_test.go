package oci_test

import (
	"archive/tar"
	"bytes"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/match"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"elemental/adapters/oci"
	"elemental/ports"
	"elemental/ports/portstest"
)

// build makes an image.
func build(t *testing.T, architecture string, layers ...[]byte) v1.Image {
	t.Helper()
	image := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	image = mutate.ConfigMediaType(image, types.OCIConfigJSON)
	for _, content := range layers {
		made, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil })
		must(t, err)
		image, err = mutate.AppendLayers(image, made)
		must(t, err)
	}
	config, err := image.ConfigFile()
	must(t, err)
	config = config.DeepCopy()
	config.Architecture, config.OS = architecture, "linux"
	image, err = mutate.ConfigFile(image, config)
	must(t, err)
	return image
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// architectures are what a shelf has under each tag.
type architectures map[string]map[string]v1.Image

// add returns what is to be stored under a tag now: an image, or an index of several.
func (a architectures) add(tag, architecture string, image v1.Image) (v1.Image, v1.ImageIndex) {
	if a[tag] == nil {
		a[tag] = map[string]v1.Image{}
	}
	a[tag][architecture] = image
	if len(a[tag]) == 1 {
		return image, nil
	}
	var index v1.ImageIndex = mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for architecture, image := range a[tag] {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: architecture}},
		})
	}
	return nil, index
}

// registryShelf puts images into a registry.
type registryShelf struct {
	architectures
	host string
}

func (r registryShelf) Put(t *testing.T, tag, architecture string, layers ...[]byte) string {
	t.Helper()
	at, err := name.NewTag(r.host + "/os/test:" + tag)
	must(t, err)
	image, index := r.add(tag, architecture, build(t, architecture, layers...))
	if index != nil {
		must(t, remote.WriteIndex(at, index))
	} else {
		must(t, remote.Write(at, image))
	}
	return "oci://" + at.String()
}

// layoutShelf puts images into a layout.
type layoutShelf struct {
	architectures
	at string
}

func (l layoutShelf) Put(t *testing.T, tag, architecture string, layers ...[]byte) string {
	t.Helper()
	path, err := layout.FromPath(l.at)
	if err != nil {
		path, err = layout.Write(l.at, empty.Index)
		must(t, err)
	}
	tagged := layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": tag})
	image, index := l.add(tag, architecture, build(t, architecture, layers...))
	if index != nil {
		must(t, path.ReplaceIndex(index, match.Name(tag), tagged))
	} else {
		must(t, path.ReplaceImage(image, match.Name(tag), tagged))
	}
	return "oci-layout:" + l.at + ":" + tag
}

// archiveShelf puts images into an archive.
type archiveShelf struct {
	layoutShelf
	archive string
}

func (a archiveShelf) Put(t *testing.T, tag, architecture string, layers ...[]byte) string {
	t.Helper()
	a.layoutShelf.Put(t, tag, architecture, layers...)
	out, err := os.Create(a.archive)
	must(t, err)
	w := tar.NewWriter(out)
	must(t, w.AddFS(os.DirFS(a.at)))
	must(t, w.Close())
	must(t, out.Close())
	return "oci-archive:" + a.archive + ":" + tag
}

func newRegistry(t *testing.T, wrap ...func(http.Handler) http.Handler) (*httptest.Server, string) {
	t.Helper()
	handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	for _, w := range wrap {
		handler = w(handler)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server, strings.TrimPrefix(server.URL, "http://")
}

func TestRegistry(t *testing.T) {
	portstest.TestImages(t, func(t *testing.T) (ports.Images, portstest.Shelf) {
		_, host := newRegistry(t)
		return oci.New(oci.Config{PlainHTTP: []string{host}}), registryShelf{architectures{}, host}
	})
}

func TestLayout(t *testing.T) {
	portstest.TestImages(t, func(t *testing.T) (ports.Images, portstest.Shelf) {
		return oci.New(oci.Config{}), layoutShelf{architectures{}, filepath.Join(t.TempDir(), "layout")}
	})
}

func TestArchive(t *testing.T) {
	portstest.TestImages(t, func(t *testing.T) (ports.Images, portstest.Shelf) {
		at := t.TempDir()
		return oci.New(oci.Config{}), archiveShelf{layoutShelf{architectures{}, filepath.Join(at, "layout")}, filepath.Join(at, "image.tar")}
	})
}

func TestFake(t *testing.T) {
	portstest.TestImages(t, func(*testing.T) (ports.Images, portstest.Shelf) {
		fake := &portstest.Images{}
		return fake, fake
	})
}
