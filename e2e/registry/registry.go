// Package registry is an OCI registry inside the test's process, and the images of the systems that the
// tests' hosts run. It can go away and come back, as registries do.
package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Registry is one registry on a port of 127.0.0.1, spoken to without TLS.
type Registry struct {
	address string
	handler http.Handler
	blobs   *blobs

	mu     sync.Mutex
	server *http.Server
}

// Start serves an empty registry on a free port.
func Start() (*Registry, error) {
	r := &Registry{address: "127.0.0.1:0", blobs: &blobs{known: map[v1.Hash]v1.Layer{}}}
	inner := registry.New(registry.WithBlobHandler(r.blobs), registry.Logger(log.New(io.Discard, "", 0)))
	r.handler = r.ranges(inner)
	if err := r.Resume(); err != nil {
		return nil, err
	}
	return r, nil
}

// Address is host and port, as an image reference and plainHTTP name them.
func (r *Registry) Address() string { return r.address }

// Stop is an outage: connections break and new ones are refused. What was pushed is kept.
func (r *Registry) Stop() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.server == nil {
		return nil
	}
	err := r.server.Close()
	r.server = nil
	return err
}

// Resume ends an outage: the registry is back on its old port.
func (r *Registry) Resume() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.server != nil {
		return nil
	}
	listener, err := net.Listen("tcp", r.address)
	if err != nil {
		return fmt.Errorf("serving a registry: %w", err)
	}
	r.address = listener.Addr().String()
	server := &http.Server{Handler: r.handler, ReadHeaderTimeout: 10 * time.Second}
	r.server = server
	go func() { _ = server.Serve(listener) }() // It ends with Close, which is the only error there is.
	return nil
}

// Pushed is an image in the registry.
type Pushed struct {
	Reference string // oci://host:port/repository:tag
	Digest    string // of the manifest
}

// Push publishes an image under a repository and tag, such as elemental/system:v1. A tag that exists moves.
func (r *Registry) Push(ctx context.Context, repository string, image v1.Image) (Pushed, error) {
	ref, err := name.ParseReference(r.address+"/"+repository, name.Insecure, name.StrictValidation)
	if err != nil {
		return Pushed{}, err
	}
	layers, err := image.Layers()
	if err != nil {
		return Pushed{}, err
	}
	// The registry has the layers before they are written to it: nothing large goes through memory.
	for _, layer := range layers {
		if err := r.blobs.know(layer); err != nil {
			return Pushed{}, err
		}
	}
	if err := remote.Write(ref, image, remote.WithContext(ctx)); err != nil {
		return Pushed{}, fmt.Errorf("pushing %s: %w", ref, err)
	}
	digest, err := image.Digest()
	return Pushed{Reference: "oci://" + ref.Name(), Digest: digest.String()}, err
}

// ranges answers requests for a part of a blob, which the registry of the library understands in one form
// only.
func (r *Registry) ranges(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_, digest, found := strings.Cut(req.URL.Path, "/blobs/sha256:")
		if !found || req.Method != http.MethodGet || req.Header.Get("Range") == "" {
			next.ServeHTTP(w, req)
			return
		}
		content, err := r.blobs.Get(req.Context(), "", v1.Hash{Algorithm: "sha256", Hex: digest})
		if err != nil {
			http.NotFound(w, req)
			return
		}
		defer func() { _ = content.Close() }()
		seeker, ok := content.(io.ReadSeeker)
		if !ok {
			next.ServeHTTP(w, req)
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Docker-Content-Digest", "sha256:"+digest)
		http.ServeContent(w, req, "", time.Time{}, seeker)
	})
}

// blobs keeps layers where they are: in files or in memory.
type blobs struct {
	mu    sync.Mutex
	known map[v1.Hash]v1.Layer
}

func (b *blobs) know(layer v1.Layer) error {
	digest, err := layer.Digest()
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.known[digest] = layer
	return nil
}

func (b *blobs) find(digest v1.Hash) (v1.Layer, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	layer, ok := b.known[digest]
	if !ok {
		return nil, registry.ErrNotFound
	}
	return layer, nil
}

// Get opens a blob.
func (b *blobs) Get(_ context.Context, _ string, digest v1.Hash) (io.ReadCloser, error) {
	layer, err := b.find(digest)
	if err != nil {
		return nil, err
	}
	return layer.Compressed()
}

// Stat tells a blob's size in bytes.
func (b *blobs) Stat(_ context.Context, _ string, digest v1.Hash) (int64, error) {
	layer, err := b.find(digest)
	if err != nil {
		return 0, err
	}
	return layer.Size()
}

// Put takes a blob that came over the wire, such as an image's config.
func (b *blobs) Put(_ context.Context, _ string, digest v1.Hash, content io.ReadCloser) error {
	all, err := io.ReadAll(content)
	if err := errors.Join(err, content.Close()); err != nil {
		return err
	}
	return b.know(&layer{digest: digest, size: int64(len(all)), content: all})
}
