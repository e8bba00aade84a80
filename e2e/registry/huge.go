package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// PushHuge publishes an image whose manifest announces a layer of so many bytes, which nobody has. What looks at
// the size before it fetches never learns that.
func (r *Registry) PushHuge(ctx context.Context, tag string, like v1.Image, size int64) (Pushed, error) {
	pushed, err := r.Push(ctx, tag, like)
	if err != nil {
		return Pushed{}, err
	}
	manifest, err := like.Manifest()
	if err != nil {
		return Pushed{}, err
	}
	manifest = manifest.DeepCopy()
	top := &manifest.Layers[len(manifest.Layers)-1]
	top.Size, top.Digest.Hex = size, strings.Repeat("0", 64)
	text, err := json.Marshal(manifest)
	if err != nil {
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
