package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// PushHuge publishes an image whose manifest announces so many layers of so many bytes, which nobody has. What
// looks at the size before it fetches never learns that.
func (r *Registry) PushHuge(ctx context.Context, tag string, like v1.Image, layers int, size int64) (Pushed, error) {
	pushed, err := r.Push(ctx, tag, like)
	if err != nil {
		return Pushed{}, err
	}
	manifest, err := like.Manifest()
	if err != nil {
		return Pushed{}, err
	}
	config, err := like.ConfigFile()
	if err != nil {
		return Pushed{}, err
	}
	manifest, config = manifest.DeepCopy(), config.DeepCopy()
	manifest.Layers, config.RootFS.DiffIDs = nil, nil
	for i := range layers {
		nobodys := v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%064x", i)}
		manifest.Layers = append(manifest.Layers, v1.Descriptor{MediaType: types.OCILayer, Size: size, Digest: nobodys})
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, nobodys)
	}
	text, err := json.Marshal(config)
	if err != nil {
		return Pushed{}, err
	}
	manifest.Config.Size = int64(len(text))
	if manifest.Config.Digest, _, err = v1.SHA256(bytes.NewReader(text)); err != nil {
		return Pushed{}, err
	}
	if err := r.blobs.Put(ctx, "", manifest.Config.Digest, io.NopCloser(bytes.NewReader(text))); err != nil {
		return Pushed{}, err
	}
	if text, err = json.Marshal(manifest); err != nil {
		return Pushed{}, err
	}
	repository, version, _ := strings.Cut(tag, ":")
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://"+r.address+"/v2/"+repository+"/manifests/"+version, bytes.NewReader(text))
	if err != nil {
		return Pushed{}, err
	}
	request.Header.Set("Content-Type", string(manifest.MediaType))
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return Pushed{}, err
	}
	defer func() { _ = answer.Body.Close() }() // It is empty.
	if answer.StatusCode != http.StatusCreated {
		return Pushed{}, fmt.Errorf("pushing %s: %s", tag, answer.Status)
	}
	return Pushed{Reference: pushed.Reference}, nil
}
