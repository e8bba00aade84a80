package enrollment

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/matryer/is"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"elemental/adapters/kubernetes/api/v1beta1"
	"elemental/ports"
	"elemental/ports/portstest"
)

var applicant = ports.Applicant{Hostname: "edge", Serial: "S1"}

// TestRegistrar holds an enrollment against its port; so do the tests of the folder above, on a real API server.
func TestRegistrar(t *testing.T) {
	portstest.TestRegistrar(t, func(t *testing.T) portstest.RegistrarCase {
		c := play(t)
		h := newHost(t, c)
		first := h.Enrollment
		return portstest.RegistrarCase{
			Registrar: first,
			Reopen: func() ports.Registrar {
				h.start()
				return h.Enrollment
			},
			Connect: func() {
				if _, err := first.RESTConfig(); err != nil {
					t.Fatal(err)
				}
			},
			Hold:    func() { c.change(func() { c.answers = waits }) },
			Approve: func() { c.change(func() { c.answers = letIn }) },
			Refuse:  func() { c.forget(false) },
			Change:  func() { c.change(func() { c.published = string(newAuthority(t).pem) + c.published }) },
		}
	})
}

// join lets a host ask until it is let in.
func (h *host) join() ports.Identity {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 30*time.Second)
	defer cancel()
	identity, err := h.Join(ctx, applicant, h.tell)
	if err != nil {
		h.t.Fatalf("it did not join: %v; it said:\n%s", err, h.heard())
	}
	return identity
}

// joining is a join that goes on beside the test.
func (h *host) joining() <-chan ports.Identity {
	joined := make(chan ports.Identity, 1)
	go func() {
		defer close(joined)
		if identity, err := h.Join(h.t.Context(), applicant, h.tell); err == nil {
			joined <- identity
		}
	}()
	return joined
}

func TestAnExpiredRegistration(t *testing.T) {
	is := is.New(t)
	c := play(t)
	h := newHost(t, c)
	old, err := c.handed()
	is.NoErr(err)
	handed := make(chan Bundle, 1)
	handed <- old
	h.bundle = func() (Bundle, error) { // As from a file that someone may change.
		now := <-handed
		handed <- now
		return now, nil
	}
	h.start()
	c.change(func() { c.bundle = "the-next-bundle" })
	joined := h.joining()
	h.await("hand this host a new configuration (elemental registration config edge)")
	is.True(!strings.Contains(h.heard(), "the-bundle")) // It is a secret.
	<-handed
	next, err := c.handed()
	is.NoErr(err)
	handed <- next
	is.Equal((<-joined).Host, "edge-1")
}

func TestAnUnreadableConfigurationIsReadAgain(t *testing.T) {
	is := is.New(t)
	c := play(t)
	h := newHost(t, c)
	readable := make(chan struct{})
	h.bundle = func() (Bundle, error) {
		select {
		case <-readable:
			return c.handed()
		default:
			return Bundle{}, errors.New("the file is half-written")
		}
	}
	h.start()
	joined := h.joining()
	h.await("RegistrationFailed: the file is half-written")
	close(readable)
	is.Equal((<-joined).Host, "edge-1")
}

func TestServersThatAreNotTheRightOne(t *testing.T) {
	other := play(t)
	for name, c := range map[string]struct {
		change func(*cluster, *Bundle)
		says   string
	}{
		"another authority":   {func(c *cluster, b *Bundle) { b.CA = other.ca.pem }, "it does not prove to be the server that registration.certificateAuthority speaks of: hand this host a new configuration"},
		"another name":        {func(c *cluster, b *Bundle) { b.Server = strings.Replace(b.Server, "127.0.0.1", "localhost", 1) }, "it does not prove to be the server"},
		"the system's trust":  {func(c *cluster, b *Bundle) { b.CA = nil }, "it does not prove to be the server"},
		"no certificate":      {func(c *cluster, b *Bundle) { b.CA = []byte("none") }, "holds no certificate in PEM"},
		"no https":            {func(c *cluster, b *Bundle) { b.Server = strings.Replace(b.Server, "https", "http", 1) }, "it must be https://"},
		"another namespace":   {func(c *cluster, b *Bundle) { b.Namespace = "nowhere" }, "played: "},
		"one that sends away": {func(c *cluster, b *Bundle) { c.elsewhere = other.server.URL }, "a redirection, which is not followed"},
		"one that is away":    {func(c *cluster, b *Bundle) { c.away = true }, "asking https://127.0.0.1:"},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			played := play(t)
			h := newHost(t, played)
			if name == "another namespace" {
				played.t = &testing.T{} // It is asked for what it does not play.
			}
			bundle, err := played.handed()
			is.NoErr(err)
			played.change(func() { c.change(played, &bundle) })
			wrong := make(chan struct{})
			h.bundle = func() (Bundle, error) {
				select {
				case <-wrong:
					return played.handed()
				default:
					return bundle, nil
				}
			}
			h.start()
			joined := h.joining()
			h.await(c.says)
			is.True(!strings.Contains(h.heard(), "the-bundle")) // It is a secret.
			is.Equal(other.count("refused")+other.count("get request"), 0)
			played.change(func() { played.away, played.elsewhere = false, "" })
			close(wrong)
			is.Equal((<-joined).Host, "edge-1") // It went on asking.
		})
	}
}

func TestARedirectionOfTheHostsOwnToken(t *testing.T) {
	is := is.New(t)
	c := play(t)
	h := newHost(t, c)
	h.join()
	thief := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("the token went elsewhere: %s", r.Header)
	}))
	defer thief.Close()
	c.change(func() { c.elsewhere = thief.URL })
	_, end := h.keeping()
	h.await("RenewalFailed: renewing the token of host edge-1:")
	is.True(strings.Contains(h.heard(), "a redirection, which is not followed"))
	is.NoErr(end())
}

func TestWaitingSaysWhatFor(t *testing.T) {
	is := is.New(t)
	c := play(t)
	reason := "WaitingForApproval"
	c.answers = func(*v1beta1.ElementalHostRequest) string { return reason }
	h := newHost(t, c)
	joined := h.joining()
	h.await("WaitingForApproval: the message")
	h.start() // A host that is restarted waits for the same answer.
	again := h.joining()
	c.change(func() { reason = "" })
	is.Equal((<-joined).Host, "edge-1")
	is.Equal((<-again).Host, "edge-1")
	is.Equal(c.count("create request"), 1)
}

// An answer that holds the very token which the cluster refuses must not be taken again and again.
func TestAnAnswerOfNoUse(t *testing.T) {
	is := is.New(t)
	c := play(t)
	h := newHost(t, c)
	h.join()
	c.change(func() { c.tokens = map[string]time.Time{} }) // Its handle is deleted; the request and its answer stay.
	kept, _ := h.keeping()
	is.True(errors.Is(<-kept, ports.ErrDenied))
	joined := h.joining()
	h.await("it holds the token that the cluster refuses; delete the request (kubectl -n field delete elementalhostrequest ")
	c.forget(false)
	is.Equal((<-joined).Host, "edge-1")
}

func TestWhatIsWrongIsSaidInOneLine(t *testing.T) {
	requests := v1beta1.GroupVersion.WithResource("elementalhostrequests").GroupResource()
	for name, c := range map[string]struct {
		err, kind error
		says      string
	}{
		"unreachable":  {&url.Error{Op: "Get", URL: "https://cluster", Err: syscall.ECONNREFUSED}, ports.ErrNotReady, `asking https://cluster to join: the API server can't be reached: check registration.server, the network and agent.proxy: Get "https://cluster": connection refused (not ready)`},
		"overloaded":   {apierrors.NewTooManyRequests("too many", 1), ports.ErrNotReady, "asking https://cluster to join: too many (not ready)"},
		"unauthorized": {apierrors.NewUnauthorized("who?"), ports.ErrDenied, "asking https://cluster to join: the token of registration edge is not valid any more: hand this host a new configuration (elemental registration config edge): who? (denied)"},
		"forbidden":    {apierrors.NewForbidden(requests, "one", errors.New("no")), ports.ErrDenied, `asking https://cluster to join: elementalhostrequests.infrastructure.cluster.x-k8s.io "one" is forbidden: no (denied)`},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			err := explain(Bundle{Server: "https://cluster", Registration: "edge"}, c.err)
			is.Equal(err.Error(), c.says)
			is.True(errors.Is(err, c.kind))
			is.True(errors.Is(err, c.err)) // The cause is still told apart.
		})
	}
}
