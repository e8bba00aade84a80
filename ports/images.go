package ports

import (
	"context"
	"io"
)

// Images are OCI images, wherever they lie.
type Images interface {
	// Resolve finds the image that a reference names now, for one architecture (as Go names it). Its errors
	// are core.Failures: a malformed reference or another architecture is invalid, a tag that does not exist
	// failed, a registry that does not answer retryable. Their reasons are those below.
	Resolve(ctx context.Context, reference, architecture string) (Image, error)
	// Blob opens one compressed layer at an offset in bytes; past its end there is nothing to read. What it
	// returns is not verified: the caller checks the digest of the whole before it uses any of it. Its errors
	// are core.Failures; an error while reading is the network's, and worth another try from there.
	Blob(ctx context.Context, image Image, layer Layer, offset int64) (io.ReadCloser, error)
}

// The reasons of the failures of Images.
const (
	ReasonMalformedReference   = "MalformedReference"   // invalid
	ReasonArchitectureMismatch = "ArchitectureMismatch" // invalid
	ReasonImageNotFound        = "ImageNotFound"        // failed
	ReasonRegistryDenied       = "RegistryDenied"       // failed
	ReasonRegistryUnavailable  = "RegistryUnavailable"  // retryable
	ReasonNoResume             = "NoResume"             // retryable, from the blob's beginning
)

// Image is one image of one architecture, resolved.
type Image struct {
	Reference    string // as it was asked for
	Digest       string // of the manifest
	Index        string // digest of the index that led to the manifest; empty without one
	Architecture string
	Version      string  // as its maker labels it (org.opencontainers.image.version); empty: not at all
	Layers       []Layer // the lowest first
}

// Layer is one layer of an image.
type Layer struct {
	Digest    string // of the compressed blob
	DiffID    string // of the tar within
	Size      int64  // of the compressed blob, in bytes
	MediaType string
}
