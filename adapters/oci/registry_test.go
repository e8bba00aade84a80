package oci_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"maps"
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
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/matryer/is"

	"elemental/adapters/oci"
	"elemental/core"
	"elemental/ports"
	"elemental/ports/portstest"
)

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

func TestASignedAddressIsNotTold(t *testing.T) {
	is := is.New(t)
	_, store := newRegistry(t)
	reference := registryShelf{architectures{}, store}.Put(t, "v1", "amd64", []byte("content"))
	storage := httptest.NewServer(http.NotFoundHandler())
	storage.Close() // Nobody answers there.
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/blobs/") && r.Method == http.MethodGet && r.Header.Get("Accept") == "" {
			http.Redirect(w, r, storage.URL+r.URL.Path+"?X-Amz-Signature=canary", http.StatusTemporaryRedirect)
			return
		}
		behind(w, r, store)
	}))
	t.Cleanup(front.Close)
	host := strings.TrimPrefix(front.URL, "http://")
	images := oci.New(oci.Config{PlainHTTP: []string{host, strings.TrimPrefix(storage.URL, "http://")}})
	image, err := images.Resolve(t.Context(), strings.Replace(reference, store, host, 1), "amd64")
	if err == nil {
		_, err = images.Blob(t.Context(), image, image.Layers[0], 0)
	}
	is.True(err != nil)
	is.True(strings.Contains(err.Error(), "can't be reached"))
	is.True(!strings.Contains(err.Error(), "canary"))
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

func TestTheHostIsAskedBeforeTheRegistry(t *testing.T) {
	is := is.New(t)
	asked := 0
	_, host := newRegistry(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { asked++; next.ServeHTTP(w, r) })
	})
	var places []string
	refusal := errors.New("not from there")
	images := oci.New(oci.Config{PlainHTTP: []string{host}, Allow: func(place string) error {
		places = append(places, place)
		return refusal
	}})
	for reference, place := range map[string]string{
		"oci://" + host + "/os/test:v1":                                host + "/os/test",
		"oci-layout:/tmp/any:v1":                                       "/tmp/any",
		"oci-archive:/srv/images/../../tmp/any.tar":                    "/tmp/any.tar", // A folder is a place like any other.
		"oci://registry.example/a/b@sha256:" + strings.Repeat("0", 64): "registry.example/a/b",
	} {
		_, err := images.Resolve(t.Context(), reference, "amd64")
		is.True(errors.Is(err, refusal))
		_, err = images.Blob(t.Context(), ports.Image{Reference: reference}, ports.Layer{Size: 1}, 0)
		is.True(errors.Is(err, refusal))
		is.Equal(places, []string{place, place})
		places = nil
	}
	is.Equal(asked, 0)
}

func TestAnImageSaysWhichVersionItIs(t *testing.T) {
	_, host := newRegistry(t)
	for tag, c := range map[string]struct {
		label, annotation, version string
	}{"unlabelled": {}, "labelled": {"v1.2", "v1", "v1.2"}, "annotated": {"", "v1", "v1"}} {
		t.Run(tag, func(t *testing.T) {
			is := is.New(t)
			image := build(t, "amd64", []byte("x"))
			file, err := image.ConfigFile()
			is.NoErr(err)
			file = file.DeepCopy()
			const key = "org.opencontainers.image.version"
			if c.label != "" {
				file.Config.Labels = map[string]string{key: c.label}
			}
			image, err = mutate.ConfigFile(image, file)
			is.NoErr(err)
			if c.annotation != "" {
				image = mutate.Annotations(image, map[string]string{key: c.annotation}).(v1.Image)
			}
			at, err := name.NewTag(host + "/os/test:" + tag)
			is.NoErr(err)
			is.NoErr(remote.Write(at, image))
			found, err := oci.New(oci.Config{PlainHTTP: []string{host}}).Resolve(t.Context(), "oci://"+at.String(), "amd64")
			is.NoErr(err)
			is.Equal(found.Version, c.version)
		})
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

// behind answers with what another server answers.
func behind(w http.ResponseWriter, r *http.Request, server string) {
	r.URL.Scheme, r.URL.Host, r.RequestURI, r.Host = "http", server, "", server
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer answer.Body.Close()
	maps.Copy(w.Header(), answer.Header)
	w.WriteHeader(answer.StatusCode)
	_, _ = io.Copy(w, answer.Body) // Whoever asked notices what is missing.
}

func TestCredentialsAndRedirects(t *testing.T) {
	is := is.New(t)
	_, store := newRegistry(t)
	reference := registryShelf{architectures{}, store}.Put(t, "v1", "amd64", bytes.Repeat([]byte("content "), 100))

	var leaked []string
	storage := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		leaked = append(leaked, r.Header.Values("Authorization")...)
		behind(w, r, store)
	}))
	t.Cleanup(storage.Close)
	storageHost := strings.TrimPrefix(storage.URL, "http://")

	var host string
	front := httptest.NewServer(bearer(&host)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/blobs/") {
			http.Redirect(w, r, storage.URL+r.URL.Path, http.StatusTemporaryRedirect)
			return
		}
		behind(w, r, store)
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

func TestCredentialsThatCanNotBeReadAreNotQuoted(t *testing.T) {
	is := is.New(t)
	_, host := newRegistry(t)
	for _, content := range []string{`{"auths":"secret"}`, `{"auths":{"` + host + `":{"auth":"c2VjcmV0"}}}`, `secret`} {
		file := filepath.Join(t.TempDir(), "auth.json")
		must(t, os.WriteFile(file, []byte(content), 0o600))
		_, err := oci.New(oci.Config{PlainHTTP: []string{host}, Credentials: file}).Resolve(t.Context(), "oci://"+host+"/os/test:v1", "amd64")
		failure := failureOf(t, err)
		is.Equal(failure.Class, core.FailureFailed)
		is.Equal(failure.Reason, ports.ReasonRegistryDenied)
		is.True(strings.Contains(failure.Message, file) && !strings.Contains(failure.Message, "secret") && !strings.Contains(failure.Message, "c2VjcmV0"))
	}
}

func TestAnAttestationIsNoImage(t *testing.T) {
	is := is.New(t)
	_, host := newRegistry(t)
	var index v1.ImageIndex = mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for architecture, operatingSystem := range map[string]string{"unknown": "unknown", "amd64": "linux", "arm64": "linux"} {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: build(t, architecture, []byte(architecture)), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: operatingSystem, Architecture: architecture}},
		})
	}
	at, err := name.NewTag(host + "/os/test:v1")
	is.NoErr(err)
	is.NoErr(remote.WriteIndex(at, index))
	images := oci.New(oci.Config{PlainHTTP: []string{host}})
	image, err := images.Resolve(t.Context(), "oci://"+at.String(), "amd64")
	is.NoErr(err)
	is.Equal(image.Layers[0].DiffID, portstest.Digest([]byte("amd64")))
	_, err = images.Resolve(t.Context(), "oci://"+at.String(), "riscv64")
	failure := failureOf(t, err)
	is.Equal(failure.Reason, ports.ReasonArchitectureMismatch)
	is.True(strings.Contains(failure.Message, "amd64, arm64") && !strings.Contains(failure.Message, "unknown"))
}
