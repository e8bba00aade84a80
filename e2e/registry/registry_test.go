package registry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/matryer/is"
)

// small is an image of one small layer.
func small(t *testing.T, text string) v1.Image {
	t.Helper()
	is := is.New(t)
	layer, err := Layer(File{Path: "etc/greeting", Text: text}, Mask("getty.target"), File{Path: "usr/sbin/init", Gone: true})
	is.NoErr(err)
	image, err := mutate.AppendLayers(empty.Image, layer)
	is.NoErr(err)
	return image
}

func pull(ctx context.Context, reference string) (v1.Image, error) {
	ref, err := name.ParseReference(strings.TrimPrefix(reference, "oci://"), name.Insecure)
	if err != nil {
		return nil, err
	}
	return remote.Image(ref, remote.WithContext(ctx), remote.WithRetryStatusCodes(), remote.WithRetryPredicate(func(error) bool { return false }))
}

func TestPushAndPull(t *testing.T) {
	is := is.New(t)
	r, err := Start()
	is.NoErr(err)
	defer func() { is.NoErr(r.Stop()) }()
	pushed, err := r.Push(t.Context(), "elemental/system:v1", small(t, "hello"))
	is.NoErr(err)
	is.Equal(pushed.Reference, "oci://"+r.Address()+"/elemental/system:v1")

	image, err := pull(t.Context(), pushed.Reference)
	is.NoErr(err)
	digest, err := image.Digest()
	is.NoErr(err)
	is.Equal(digest.String(), pushed.Digest)
	layers, err := image.Layers()
	is.NoErr(err)
	content, err := layers[0].Compressed()
	is.NoErr(err)
	_, err = io.Copy(io.Discard, content) // which fails when the content is not that of the digest
	is.NoErr(err)

	again, err := r.Push(t.Context(), "elemental/system:again", small(t, "hello"))
	is.NoErr(err)
	is.Equal(again.Digest, pushed.Digest) // the same files make the same image
	other, err := r.Push(t.Context(), "elemental/system:v1", small(t, "farewell"))
	is.NoErr(err)
	is.True(other.Digest != pushed.Digest) // and a tag moves
}

func TestOutage(t *testing.T) {
	is := is.New(t)
	r, err := Start()
	is.NoErr(err)
	pushed, err := r.Push(t.Context(), "elemental/system:v1", small(t, "hello"))
	is.NoErr(err)

	is.NoErr(r.Stop())
	_, err = pull(t.Context(), pushed.Reference)
	is.True(errors.Is(err, syscall.ECONNREFUSED)) // gone

	is.NoErr(r.Resume())
	defer func() { is.NoErr(r.Stop()) }()
	_, err = pull(t.Context(), pushed.Reference)
	is.NoErr(err) // back, and nothing is lost
}

func TestPartOfABlob(t *testing.T) {
	is := is.New(t)
	r, err := Start()
	is.NoErr(err)
	defer func() { is.NoErr(r.Stop()) }()
	image := small(t, "hello")
	_, err = r.Push(t.Context(), "elemental/system:v1", image)
	is.NoErr(err)
	layers, err := image.Layers()
	is.NoErr(err)
	whole, err := layers[0].Compressed()
	is.NoErr(err)
	content, err := io.ReadAll(whole)
	is.NoErr(err)
	digest, err := layers[0].Digest()
	is.NoErr(err)

	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+r.Address()+"/v2/elemental/system/blobs/"+digest.String(), nil)
	is.NoErr(err)
	request.Header.Set("Range", "bytes=10-")
	response, err := http.DefaultClient.Do(request)
	is.NoErr(err)
	defer func() { _ = response.Body.Close() }()
	rest, err := io.ReadAll(response.Body)
	is.NoErr(err)
	is.Equal(response.StatusCode, http.StatusPartialContent)
	is.Equal(rest, content[10:])
}
