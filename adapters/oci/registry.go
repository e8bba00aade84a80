package oci

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"elemental/core"
	"elemental/ports"
)

// session returns a transport that is authenticated for a repository. It is kept, so that each blob is one request.
func (i *Images) session(ctx context.Context, repository name.Repository) (http.RoundTripper, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if kept, ok := i.sessions[repository.Name()]; ok {
		return kept, nil
	}
	credentials, err := readCredentials(i.config.Credentials, repository.RegistryStr())
	if err != nil {
		return nil, err
	}
	session, err := transport.NewWithContext(ctx, repository.Registry, credentials, i.transport, []string{repository.Scope(transport.PullScope)})
	if err != nil {
		return nil, err
	}
	i.sessions[repository.Name()] = session
	return session, nil
}

// registrySource is an image in a registry.
type registrySource struct {
	reference name.Reference
	client    *http.Client
}

func (r registrySource) top(ctx context.Context) (document, error) {
	found, err := remote.Get(r.reference, remote.WithContext(ctx), remote.WithTransport(r.client.Transport))
	if err != nil {
		return document{}, err
	}
	return document{content: found.Manifest, mediaType: string(found.MediaType), digest: found.Digest.String()}, nil
}

func (r registrySource) manifest(ctx context.Context, digest string) ([]byte, error) {
	found, err := remote.Get(r.reference.Context().Digest(digest), remote.WithContext(ctx), remote.WithTransport(r.client.Transport))
	if err != nil {
		return nil, err
	}
	return found.Manifest, nil
}

// blob asks for the rest of a blob. Only a 206 that begins at the offset is the rest; anything else that comes
// with success would be other bytes.
func (r registrySource) blob(ctx context.Context, digest string, size, offset int64) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancel(ctx)
	url := fmt.Sprintf("https://%s/v2/%s/blobs/%s", r.reference.Context().RegistryStr(), r.reference.Context().RepositoryStr(), digest)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		cancel()
		return nil, err
	}
	if offset > 0 {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", offset, size-1)) // Some registries want the end named.
	}
	response, err := r.client.Do(request)
	if err != nil {
		cancel()
		return nil, err
	}
	body := newWatched(response.Body, cancel)
	if offset > 0 && response.StatusCode == http.StatusRequestedRangeNotSatisfiable {
		_ = body.Close()                                // Nothing of it is wanted.
		return io.NopCloser(strings.NewReader("")), nil // The blob is shorter than the manifest says.
	}
	if err := checkAnswer(response, offset); err != nil {
		_ = body.Close() // Nothing of it is wanted.
		return nil, err
	}
	return body, nil
}

func checkAnswer(response *http.Response, offset int64) error {
	if offset == 0 {
		return transport.CheckError(response, http.StatusOK)
	}
	if err := transport.CheckError(response, http.StatusOK, http.StatusPartialContent); err != nil {
		return err
	}
	var first int64
	_, err := fmt.Sscanf(response.Header.Get("Content-Range"), "bytes %d-", &first)
	if response.StatusCode == http.StatusPartialContent && err == nil && first == offset {
		return nil
	}
	return core.Failure{
		Class: core.FailureRetryable, Reason: ports.ReasonNoResume,
		Message: fmt.Sprintf("%s was asked for the bytes from %d on and answered %q with Content-Range %q: it can't resume",
			response.Request.URL.Host, offset, response.Status, response.Header.Get("Content-Range")),
	}
}

// stall is how long a connection may bring no byte.
const stall = 30 * time.Second

// watched is a body that ends when nothing comes any more.
type watched struct {
	body   io.ReadCloser
	cancel context.CancelFunc
	timer  *time.Timer
	once   sync.Once
}

func newWatched(body io.ReadCloser, cancel context.CancelFunc) *watched {
	return &watched{body: body, cancel: cancel, timer: time.AfterFunc(stall, cancel)}
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.body.Read(p)
	if n > 0 {
		w.timer.Reset(stall)
	}
	return n, err
}

func (w *watched) Close() error {
	var err error
	w.once.Do(func() {
		w.timer.Stop()
		w.cancel()
		err = w.body.Close()
	})
	return err
}

// readCredentials finds a registry's credentials in an auth.json. Without the file, or without the registry in it,
// the host is nobody in particular.
func readCredentials(file, registry string) (authn.Authenticator, error) {
	if file == "" {
		return authn.Anonymous, nil
	}
	content, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return authn.Anonymous, nil
	}
	if err != nil {
		return nil, badCredentials("%v", err)
	}
	var read struct {
		Auths map[string]authn.AuthConfig `json:"auths"`
	}
	if err := json.Unmarshal(content, &read); err != nil {
		return nil, badCredentials("%s is not an auth.json", file) // The cause may quote them.
	}
	found, ok := read.Auths[registry]
	if !ok {
		return authn.Anonymous, nil
	}
	if found.Auth != "" && found.Username == "" {
		plain, err := base64.StdEncoding.DecodeString(found.Auth)
		user, password, both := strings.Cut(string(plain), ":")
		if err != nil || !both {
			return nil, badCredentials("%s: auth of %s is not the base64 of USER:PASSWORD", file, registry)
		}
		found.Username, found.Password = user, password
	}
	return authn.FromConfig(found), nil
}

// badCredentials is an error of the host's own configuration: the request is not at fault, and waiting does not help.
func badCredentials(format string, args ...any) core.Failure {
	return core.Failure{
		Class: core.FailureFailed, Reason: ports.ReasonRegistryDenied,
		Message: "reading this host's credentials of registries: " + fmt.Sprintf(format, args...),
	}
}
