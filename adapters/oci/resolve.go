package oci

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"elemental/core"
	"elemental/ports"
)

// maxDocument bounds manifests, indexes and configurations.
const maxDocument = 4 << 20

// versionLabel is where an image says which version it is: in the labels of its configuration, or, as some tools have it,
// in the annotations of its manifest.
const versionLabel = "org.opencontainers.image.version"

// resolve walks from what a reference names to the layers for one architecture. Every document on the way has
// the digest by which it was asked for.
func resolve(ctx context.Context, from source, reference, architecture string) (ports.Image, error) {
	image := ports.Image{Reference: reference, Architecture: architecture}
	top, err := from.top(ctx)
	if err != nil {
		return image, err
	}
	if types.MediaType(top.mediaType).IsIndex() {
		index, err := v1.ParseIndexManifest(bytes.NewReader(top.content))
		if err != nil {
			return image, badImage(reference, "its index can't be read: %v", err)
		}
		chosen, err := choose(reference, index.Manifests, architecture)
		if err != nil {
			return image, err
		}
		image.Index = top.digest
		top = document{digest: chosen.Digest.String(), mediaType: string(chosen.MediaType)}
		if top.content, err = from.manifest(ctx, top.digest); err != nil {
			return image, err
		}
	}
	if !types.MediaType(top.mediaType).IsImage() {
		return image, badImage(reference, "it is a %q and not an image", top.mediaType)
	}
	image.Digest = top.digest
	manifest, err := v1.ParseManifest(bytes.NewReader(top.content))
	if err != nil {
		return image, badImage(reference, "its manifest can't be read: %v", err)
	}
	config, err := readConfig(ctx, from, reference, manifest.Config)
	if err != nil {
		return image, err
	}
	if config.Architecture != architecture {
		return image, otherArchitecture(reference, architecture, config.Architecture)
	}
	if image.Version = config.Config.Labels[versionLabel]; image.Version == "" {
		image.Version = manifest.Annotations[versionLabel]
	}
	if len(config.RootFS.DiffIDs) != len(manifest.Layers) {
		return image, badImage(reference, "its configuration speaks of %d layers and its manifest of %d", len(config.RootFS.DiffIDs), len(manifest.Layers))
	}
	for n, layer := range manifest.Layers {
		image.Layers = append(image.Layers, ports.Layer{
			Digest: layer.Digest.String(), DiffID: config.RootFS.DiffIDs[n].String(), Size: layer.Size, MediaType: string(layer.MediaType),
		})
	}
	return image, nil
}

// choose finds the manifest for an architecture in an index. One that does not say what it is for is taken when
// nothing else fits; its configuration has the last word.
func choose(reference string, manifests []v1.Descriptor, architecture string) (v1.Descriptor, error) {
	var offered []string
	var silent *v1.Descriptor
	for _, m := range manifests {
		switch {
		case !m.MediaType.IsImage():
		case m.Platform == nil || m.Platform.Architecture == "":
			if silent == nil {
				silent = &m
			}
		case m.Platform.Architecture == architecture && (m.Platform.OS == "linux" || m.Platform.OS == ""):
			return m, nil
		case m.Platform.Architecture != "unknown": // Attestations call themselves so.
			offered = append(offered, m.Platform.Architecture)
		}
	}
	if silent != nil {
		return *silent, nil
	}
	slices.Sort(offered)
	return v1.Descriptor{}, otherArchitecture(reference, architecture, strings.Join(slices.Compact(offered), ", "))
}

func readConfig(ctx context.Context, from source, reference string, config v1.Descriptor) (*v1.ConfigFile, error) {
	if config.Size <= 0 || config.Size > maxDocument {
		return nil, badImage(reference, "its configuration has %d bytes", config.Size)
	}
	blob, err := from.blob(ctx, config.Digest.String(), config.Size, 0)
	if err != nil {
		return nil, err
	}
	defer blob.Close()
	content, err := io.ReadAll(io.LimitReader(blob, config.Size+1))
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	if err := checkDigest(content, config.Digest.String()); err != nil {
		return nil, err
	}
	file, err := v1.ParseConfigFile(bytes.NewReader(content))
	if err != nil {
		return nil, badImage(reference, "its configuration can't be read: %v", err)
	}
	return file, nil
}

// checkDigest compares the digest of a document with the one that it was asked for by.
func checkDigest(content []byte, want string) error {
	sum := sha256.Sum256(content)
	if got := "sha256:" + hex.EncodeToString(sum[:]); got != want {
		return core.Failure{
			Class: core.FailureFailed, Reason: "DigestMismatch", Path: referencePath,
			Message: fmt.Sprintf("what should be %s is %s; push the image anew", want, got),
		}
	}
	return nil
}

func otherArchitecture(reference, want, got string) core.Failure {
	if got == "" {
		got = "no architecture"
	}
	return core.Failure{
		Class: core.FailureInvalid, Reason: ports.ReasonArchitectureMismatch, Path: referencePath,
		Message: fmt.Sprintf("%s is for %s; this host needs %s", reference, got, want),
	}
}

func badImage(reference, format string, args ...any) core.Failure {
	return core.Failure{
		Class: core.FailureInvalid, Reason: "MalformedImage", Path: referencePath,
		Message: reference + ": " + fmt.Sprintf(format, args...),
	}
}
