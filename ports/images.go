package ports

import (
	"context"
	"io"
)

// Images are OCI images, wherever they lie.
type Images interface {
	// Resolve finds the image that a reference names now, for one architecture (as Go names it). Its errors
	// are core.Failures: a malformed reference or another architecture is invalid, a tag that does not exist
	// failed, a registry that does not answer retryable.
	Resolve(ctx context.Context, reference, architecture string) (Image, error)
	// Blob opens one compressed layer at an offset in bytes. What it returns is not verified: the caller
	// checks the digest of the whole before it uses any of it. Retryable errors are core.Failures.
	Blob(ctx context.Context, image Image, layer Layer, offset int64) (io.ReadCloser, error)
}

// Image is one image of one architecture, resolved.
type Image struct {
	Reference    string // as it was asked for
	Digest       string // of the manifest
	Architecture string
	Layers       []Layer // the lowest first
}

// Layer is one layer of an image.
type Layer struct {
	Digest    string // of the compressed blob
	DiffID    string // of the tar within
	Size      int64  // of the compressed blob, in bytes
	MediaType string
}
