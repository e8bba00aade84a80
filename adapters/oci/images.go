// Package oci finds OCI images and reads their layers: in registries, and, for sites without a network, in OCI
// layouts and archives on the disk.
package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"

	"elemental/core"
	"elemental/ports"
)

// Config is what a host allows, and how it is known to registries.
type Config struct {
	PlainHTTP   []string          // registries, as HOST or HOST:PORT, that may be spoken to without TLS
	Credentials string            // file with credentials in the form of a container tool's auth.json; may be missing
	Transport   http.RoundTripper // by default one with bounded waits
	// Allow says whether images may come from a place, which is REGISTRY/REPOSITORY or the path of a folder or file. It
	// is asked before anything else; its error is what the caller gets. nil: from anywhere.
	Allow func(place string) error
}

// Images implements ports.Images. References are oci://REGISTRY/REPOSITORY:TAG, the same with @sha256:DIGEST,
// oci-layout:/PATH[:TAG] and oci-archive:/PATH[:TAG].
type Images struct {
	config    Config
	transport http.RoundTripper

	mu       sync.Mutex
	sessions map[string]http.RoundTripper // of a repository, authenticated
}

var _ ports.Images = (*Images)(nil)

// New returns images as one host may see them.
func New(config Config) *Images {
	base := config.Transport
	if base == nil {
		base = patientTransport()
	}
	return &Images{
		config: config, sessions: map[string]http.RoundTripper{},
		transport: tlsOnly{inner: base, except: config.PlainHTTP},
	}
}

// source is where the parts of one image lie.
type source interface {
	// top returns the manifest or index that the reference names.
	top(ctx context.Context) (document, error)
	// manifest returns a manifest by its digest.
	manifest(ctx context.Context, digest string) ([]byte, error)
	// blob opens a blob of a known size at an offset below it.
	blob(ctx context.Context, digest string, size, offset int64) (io.ReadCloser, error)
}

// document is a manifest or an index.
type document struct {
	content   []byte
	mediaType string
	digest    string
}

// Resolve finds the image that a reference names now.
func (i *Images) Resolve(ctx context.Context, reference, architecture string) (ports.Image, error) {
	if err := ctx.Err(); err != nil {
		return ports.Image{}, err
	}
	from, err := i.open(ctx, reference)
	if err != nil {
		return ports.Image{}, err
	}
	image, err := resolve(ctx, from, reference, architecture)
	if err != nil {
		return ports.Image{}, classify(reference, err)
	}
	return image, nil
}

// Blob opens one compressed layer of an image at an offset.
func (i *Images) Blob(ctx context.Context, image ports.Image, layer ports.Layer, offset int64) (io.ReadCloser, error) {
	if offset >= layer.Size {
		return io.NopCloser(strings.NewReader("")), ctx.Err()
	}
	from, err := i.open(ctx, image.Reference)
	if err != nil {
		return nil, err
	}
	blob, err := from.blob(ctx, layer.Digest, layer.Size, offset)
	if err != nil {
		return nil, classify(image.Reference, err)
	}
	return blob, nil
}

// open finds the source that a reference speaks of.
func (i *Images) open(ctx context.Context, reference string) (source, error) {
	scheme, rest, _ := strings.Cut(reference, ":")
	switch scheme {
	case "oci":
		return i.openRegistry(ctx, reference)
	case "oci-layout", "oci-archive":
		at, tag, err := splitPath(reference, rest)
		if err != nil {
			return nil, err
		}
		at = path.Clean(at)
		if err := i.allow(at); err != nil {
			return nil, err
		}
		if scheme == "oci-layout" {
			return layout{files: folderFiles(at), tag: tag, reference: reference}, nil
		}
		return layout{files: archiveFiles(at), tag: tag, reference: reference}, nil
	default:
		return nil, malformed(reference, "it names no kind of place")
	}
}

func (i *Images) openRegistry(ctx context.Context, reference string) (source, error) {
	rest, ok := strings.CutPrefix(reference, "oci://")
	if !ok || rest == "" {
		return nil, malformed(reference, "it names no registry")
	}
	parsed, err := name.ParseReference(rest, name.StrictValidation)
	if err != nil {
		return nil, malformed(reference, err.Error())
	}
	registry := parsed.Context().RegistryStr()
	if err := i.allow(registry + "/" + parsed.Context().RepositoryStr()); err != nil {
		return nil, err
	}
	if listed(i.config.PlainHTTP, registry) {
		if parsed, err = name.ParseReference(rest, name.StrictValidation, name.Insecure); err != nil {
			return nil, malformed(reference, err.Error())
		}
	}
	session, err := i.session(ctx, parsed.Context())
	if err != nil {
		return nil, classify(reference, err)
	}
	return registrySource{reference: parsed, client: &http.Client{Transport: session}}, nil
}

// allow asks the host whether it takes images from a repository, or from a folder or file.
func (i *Images) allow(place string) error {
	if i.config.Allow == nil {
		return nil
	}
	return i.config.Allow(place)
}

// tagForm is what a tag may be; what follows the last colon of a path and is none belongs to the path.
var tagForm = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)

// splitPath splits /PATH[:TAG].
func splitPath(reference, rest string) (at, tag string, err error) {
	if !strings.HasPrefix(rest, "/") {
		return "", "", malformed(reference, "the path must be absolute")
	}
	at = rest
	if colon := strings.LastIndexByte(rest, ':'); colon > strings.LastIndexByte(rest, '/') {
		at, tag = rest[:colon], rest[colon+1:]
		if !tagForm.MatchString(tag) {
			return "", "", malformed(reference, fmt.Sprintf("%q can't be a tag", tag))
		}
	}
	return filepath.Clean(at), tag, nil
}

// referencePath is the field of a request that holds the reference.
const referencePath = "osVersion.imageUri"

func malformed(reference, why string) core.Failure {
	return core.Failure{
		Class: core.FailureInvalid, Reason: ports.ReasonMalformedReference, Path: referencePath,
		Message: fmt.Sprintf("%q is no image reference: %s; write oci://REGISTRY/REPOSITORY:TAG, oci://REGISTRY/REPOSITORY@sha256:DIGEST, "+
			"oci-layout:/PATH[:TAG] or oci-archive:/PATH[:TAG]", reference, why),
	}
}

// isFailure says whether an error is a failure already.
func isFailure(err error) bool {
	var failure core.Failure
	return errors.As(err, &failure)
}
