package enrollment

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/matryer/is"
)

// A host reaches its cluster through the proxy that the environment of its agent names. The environment is read once in
// a process, so each case is one.
func TestProxies(t *testing.T) {
	for name, c := range map[string]struct {
		none    string // NO_PROXY
		through bool
	}{
		"through it":          {"", true},
		"another is not":      {"other.example.com,10.0.0.0/8", true},
		"not for this":        {"api.example.com", false},
		"not for this domain": {".example.com", false},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			played := play(t)
			var asked atomic.Int64
			proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				is.Equal(r.Method, http.MethodConnect)
				is.True(strings.HasPrefix(r.Host, "api.example.com:")) // It resolves the name.
				is.Equal(r.Header.Get("Authorization"), "")            // The token is for the server alone.
				tunnel(w, played.server.Listener.Addr().String())
			}))
			defer proxy.Close()
			bundle, err := played.handed()
			is.NoErr(err)
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestProxiedProcess$")
			cmd.Env = append(os.Environ(), "JOIN_CA="+string(bundle.CA), "JOIN_TOKEN="+bundle.Token,
				"JOIN_SERVER="+strings.Replace(bundle.Server, "127.0.0.1", "api.example.com", 1),
				"HTTPS_PROXY="+proxy.URL, "NO_PROXY="+c.none)
			out, err := cmd.CombinedOutput()
			t.Logf("%s", out)
			is.NoErr(err)
			is.Equal(asked.Load() > 0, c.through)
			is.Equal(played.count("create request")+played.count("get request") > 0, c.through)
		})
	}
}

func tunnel(w http.ResponseWriter, to string) {
	server, err := net.Dial("tcp", to)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	w.WriteHeader(http.StatusOK)
	client, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		_ = server.Close()
		return
	}
	go func() {
		_, _ = io.Copy(server, client) // It lasts until one of them goes.
		_ = server.Close()
	}()
	_, _ = io.Copy(client, server)
	_ = client.Close()
}

// TestProxiedProcess is the process of TestProxies: it asks once.
func TestProxiedProcess(t *testing.T) {
	server := os.Getenv("JOIN_SERVER")
	if !strings.Contains(server, "api.example.com") {
		t.Skip("it is started by another test")
	}
	e := New(t.TempDir()+"/identity", func() (Bundle, error) {
		return Bundle{Server: server, CA: []byte(os.Getenv("JOIN_CA")), Namespace: "field", Registration: "edge", Token: os.Getenv("JOIN_TOKEN")}, nil
	})
	_, _, err := e.ask(t.Context(), applicant)
	t.Logf("it asked: %v", err)
}
