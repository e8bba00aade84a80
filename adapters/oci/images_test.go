package oci_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
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
	"github.com/matryer/is"

	"elemental/adapters/oci"
	"elemental/core"
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

func failureOf(t *testing.T, err error) core.Failure {
	t.Helper()
	var failure core.Failure
	if !errors.As(err, &failure) {
		t.Fatalf("not a core.Failure: %v", err)
	}
	return failure
}

func TestAnIndexIsReportedBesideTheManifest(t *testing.T) {
	is := is.New(t)
	_, host := newRegistry(t)
	shelf := registryShelf{architectures{}, host}
	shelf.Put(t, "v1", "arm64", []byte("a"))
	reference := shelf.Put(t, "v1", "amd64", []byte("b"))
	images := oci.New(oci.Config{PlainHTTP: []string{host}})
	image, err := images.Resolve(t.Context(), reference, "amd64")
	is.NoErr(err)
	is.True(image.Index != "" && image.Index != image.Digest)

	byDigest, err := images.Resolve(t.Context(), "oci://"+host+"/os/test@"+image.Index, "amd64")
	is.NoErr(err)
	is.Equal(byDigest.Digest, image.Digest)
	_, err = images.Resolve(t.Context(), "oci://"+host+"/os/test@"+image.Digest, "arm64")
	is.Equal(failureOf(t, err).Reason, ports.ReasonArchitectureMismatch) // What one manifest is for stands in its configuration.
}

func TestAnAnswerOfTheRegistryIsClassed(t *testing.T) {
	for code, want := range map[int]core.Failure{
		http.StatusUnauthorized:        {Class: core.FailureFailed, Reason: ports.ReasonRegistryDenied},
		http.StatusForbidden:           {Class: core.FailureFailed, Reason: ports.ReasonRegistryDenied},
		http.StatusTooManyRequests:     {Class: core.FailureRetryable, Reason: ports.ReasonRegistryUnavailable},
		http.StatusInternalServerError: {Class: core.FailureRetryable, Reason: ports.ReasonRegistryUnavailable},
		http.StatusServiceUnavailable:  {Class: core.FailureRetryable, Reason: ports.ReasonRegistryUnavailable},
	} {
		t.Run(http.StatusText(code), func(t *testing.T) {
			is := is.New(t)
			_, host := newRegistry(t, func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/v2/" {
						next.ServeHTTP(w, r)
						return
					}
					w.WriteHeader(code)
				})
			})
			_, err := oci.New(oci.Config{PlainHTTP: []string{host}}).Resolve(t.Context(), "oci://"+host+"/os/test:v1", "amd64")
			failure := failureOf(t, err)
			is.Equal(failure.Class, want.Class)
			is.Equal(failure.Reason, want.Reason)
		})
	}
}

func TestARegistryThatIsAwayIsRetried(t *testing.T) {
	is := is.New(t)
	server, host := newRegistry(t)
	server.Close()
	for _, config := range []oci.Config{{PlainHTTP: []string{host}}, {}} {
		_, err := oci.New(config).Resolve(t.Context(), "oci://"+host+"/os/test:v1", "amd64")
		failure := failureOf(t, err)
		is.Equal(failure.Class, core.FailureRetryable)
		is.Equal(failure.Reason, ports.ReasonRegistryUnavailable)
	}
}

func TestPlainHTTPIsRefusedUnlessTheHostNamesTheRegistry(t *testing.T) {
	is := is.New(t)
	asked := 0
	_, host := newRegistry(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { asked++; next.ServeHTTP(w, r) })
	})
	_, err := oci.New(oci.Config{}).Resolve(t.Context(), "oci://"+host+"/os/test:v1", "amd64")
	failure := failureOf(t, err)
	is.Equal(failure.Class, core.FailureInvalid)
	is.Equal(failure.Reason, core.ReasonPolicyDenied)
	is.True(strings.Contains(failure.Message, "plainHTTP"))
	is.Equal(asked, 0)
}

func TestTheHostChoosesItsRegistries(t *testing.T) {
	is := is.New(t)
	_, host := newRegistry(t)
	reference := registryShelf{architectures{}, host}.Put(t, "v1", "amd64", []byte("x"))
	for allowed, want := range map[string]bool{
		host: true, host + "/os": true, host + "/os/test": true, host + "/other": false, host + "/os/te": false, "registry.example": false,
	} {
		_, err := oci.New(oci.Config{PlainHTTP: []string{host}, Allowed: []string{allowed}}).Resolve(t.Context(), reference, "amd64")
		if want {
			is.NoErr(err)
			continue
		}
		is.Equal(failureOf(t, err).Reason, core.ReasonPolicyDenied)
	}
}

// bearer demands a token that only the right user gets.
func bearer(host *string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			user, password, _ := r.BasicAuth()
			switch {
			case r.URL.Path == "/token" && user == "host" && password == "secret":
				fmt.Fprint(w, `{"token":"good"}`)
			case r.URL.Path == "/token":
				w.WriteHeader(http.StatusUnauthorized)
			case r.Header.Get("Authorization") == "Bearer good":
				next.ServeHTTP(w, r)
			default:
				w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+*host+`/token",service="test"`)
				w.WriteHeader(http.StatusUnauthorized)
			}
		})
	}
}

func TestCredentialsAndRedirects(t *testing.T) {
	is := is.New(t)
	_, store := newRegistry(t)
	reference := registryShelf{architectures{}, store}.Put(t, "v1", "amd64", bytes.Repeat([]byte("content "), 100))

	var leaked []string
	storage := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		leaked = append(leaked, r.Header.Values("Authorization")...)
		r.URL.Scheme, r.URL.Host, r.RequestURI, r.Host = "http", store, "", store
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer answer.Body.Close()
		for key, values := range answer.Header {
			w.Header()[key] = values
		}
		w.WriteHeader(answer.StatusCode)
		io.Copy(w, answer.Body)
	}))
	t.Cleanup(storage.Close)
	storageHost := strings.TrimPrefix(storage.URL, "http://")

	var host string
	front := httptest.NewServer(bearer(&host)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/blobs/") {
			http.Redirect(w, r, storage.URL+r.URL.Path, http.StatusTemporaryRedirect)
			return
		}
		r.URL.Scheme, r.URL.Host, r.RequestURI, r.Host = "http", store, "", store
		answer, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer answer.Body.Close()
		for key, values := range answer.Header {
			w.Header()[key] = values
		}
		w.WriteHeader(answer.StatusCode)
		io.Copy(w, answer.Body)
	})))
	t.Cleanup(front.Close)
	host = strings.TrimPrefix(front.URL, "http://")
	reference = strings.Replace(reference, store, host, 1)

	_, err := oci.New(oci.Config{PlainHTTP: []string{host, storageHost}}).Resolve(t.Context(), reference, "amd64")
	is.Equal(failureOf(t, err).Reason, ports.ReasonRegistryDenied) // Nobody in particular gets no token.

	credentials := filepath.Join(t.TempDir(), "auth.json")
	must(t, os.WriteFile(credentials, fmt.Appendf(nil, `{"auths":{%q:{"auth":"aG9zdDpzZWNyZXQ="}}}`, host), 0o600))
	images := oci.New(oci.Config{PlainHTTP: []string{host, storageHost}, Credentials: credentials})
	image, err := images.Resolve(t.Context(), reference, "amd64")
	is.NoErr(err)
	whole := read(t, images, image, 0)
	is.Equal(portstest.Digest(whole), image.Layers[0].Digest)
	is.Equal(read(t, images, image, 5), whole[5:])
	is.Equal(len(leaked), 0) // The token stays with the registry.

	_, err = oci.New(oci.Config{PlainHTTP: []string{host}, Credentials: credentials}).Resolve(t.Context(), reference, "amd64")
	is.Equal(failureOf(t, err).Reason, core.ReasonPolicyDenied) // A redirect does not lead around the host's list.
}

func read(t *testing.T, images ports.Images, image ports.Image, offset int64) []byte {
	t.Helper()
	blob, err := images.Blob(t.Context(), image, image.Layers[0], offset)
	must(t, err)
	defer blob.Close()
	content, err := io.ReadAll(blob)
	must(t, err)
	return content
}

func TestOnlyAMatchingPartIsTakenForTheRest(t *testing.T) {
	for what, answer := range map[string]func(http.ResponseWriter){
		"the whole": func(w http.ResponseWriter) { w.WriteHeader(http.StatusOK) },
		"another part": func(w http.ResponseWriter) {
			w.Header().Set("Content-Range", "bytes 3-9/10")
			w.WriteHeader(http.StatusPartialContent)
		},
		"some unnamed part": func(w http.ResponseWriter) { w.WriteHeader(http.StatusPartialContent) },
	} {
		t.Run(what, func(t *testing.T) {
			is := is.New(t)
			_, host := newRegistry(t, func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Header.Get("Range") == "" {
						next.ServeHTTP(w, r)
						return
					}
					answer(w)
				})
			})
			images := oci.New(oci.Config{PlainHTTP: []string{host}})
			image, err := images.Resolve(t.Context(), registryShelf{architectures{}, host}.Put(t, "v1", "amd64", []byte("content")), "amd64")
			is.NoErr(err)
			_, err = images.Blob(t.Context(), image, image.Layers[0], 4)
			is.Equal(failureOf(t, err).Reason, ports.ReasonNoResume)
			is.Equal(failureOf(t, err).Class, core.FailureRetryable)
		})
	}
}

func TestARegistryWithTLS(t *testing.T) {
	is := is.New(t)
	server := httptest.NewTLSServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "https://")
	at, err := name.NewTag(host + "/os/test:v1")
	is.NoErr(err)
	is.NoErr(remote.Write(at, build(t, "amd64", []byte("x")), remote.WithTransport(server.Client().Transport)))
	images := oci.New(oci.Config{Transport: server.Client().Transport})
	image, err := images.Resolve(t.Context(), "oci://"+at.String(), "amd64")
	is.NoErr(err)
	is.True(len(read(t, images, image, 0)) > 0)
	_, err = oci.New(oci.Config{}).Resolve(t.Context(), "oci://"+at.String(), "amd64")
	is.Equal(failureOf(t, err).Reason, ports.ReasonRegistryUnavailable) // Its certificate is not known.
}

func TestADamagedManifestOrConfigurationIsRefused(t *testing.T) {
	is := is.New(t)
	at := filepath.Join(t.TempDir(), "layout")
	reference := layoutShelf{architectures{}, at}.Put(t, "v1", "amd64", []byte("x"))
	images := oci.New(oci.Config{})
	must(t, filepath.WalkDir(filepath.Join(at, "blobs"), func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(file)
		must(t, err)
		if !bytes.HasPrefix(content, []byte("{")) {
			return nil
		}
		must(t, os.WriteFile(file, append(content, ' '), 0o600))
		_, err = images.Resolve(t.Context(), reference, "amd64")
		is.Equal(failureOf(t, err).Reason, "DigestMismatch")
		return os.WriteFile(file, content, 0o600)
	}))
}

func TestALayoutThatIsNotThereIsNotFound(t *testing.T) {
	is := is.New(t)
	for _, reference := range []string{"oci-layout:/nowhere/at/all:v1", "oci-archive:/nowhere/at/all.tar"} {
		_, err := oci.New(oci.Config{}).Resolve(context.Background(), reference, "amd64")
		is.Equal(failureOf(t, err).Reason, ports.ReasonImageNotFound)
	}
}
