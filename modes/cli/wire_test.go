package cli

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/matryer/is"
	"github.com/spf13/pflag"
	"github.com/urfave/cli/v2"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

const secret = "a-secret-token"

// server is an API server that has no hosts, and remembers what it was asked last.
type server struct {
	*httptest.Server
	identity string // a file with a certificate and its key, whoever's

	mutex sync.Mutex
	last  *http.Request
	says  behaviour
}

// behaviour is how a server answers.
type behaviour struct {
	slow   time.Duration
	answer string // instead of no hosts
	status int    // with that answer
}

// behave changes how the server answers, and forgets what it was asked.
func (s *server) behave(says behaviour) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.last, s.says = nil, says
}

// asked is what the server was asked last; nil: nothing.
func (s *server) asked() *http.Request {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.last
}

func startServer(t *testing.T) *server {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mutex.Lock()
		s.last = r
		says := s.says
		s.mutex.Unlock()
		select {
		case <-time.After(says.slow):
		case <-r.Context().Done():
		}
		w.Header().Set("Content-Type", "application/json")
		if says.status != 0 {
			w.WriteHeader(says.status)
			_, _ = w.Write([]byte(says.answer))
			return
		}
		_, _ = w.Write([]byte(`{"apiVersion":"infrastructure.cluster.x-k8s.io/v1beta1","kind":"ElementalHostList","metadata":{},"items":[]}`))
	}))
	s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	s.StartTLS()
	t.Cleanup(s.Close)
	s.identity = filepath.Join(t.TempDir(), "identity.pem")
	key, err := x509.MarshalPKCS8PrivateKey(s.TLS.Certificates[0].PrivateKey)
	is.New(t).NoErr(err)
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
	is.New(t).NoErr(os.WriteFile(s.identity, text, 0o600))
	return s
}

// TestKubectlsFlagsReachTheCluster gives each of them once, and looks at what comes to the server.
func TestKubectlsFlagsReachTheCluster(t *testing.T) {
	one, two := startServer(t), startServer(t)
	config := api.NewConfig()
	for name, s := range map[string]*server{"one": one, "two": two} {
		config.Clusters[name] = &api.Cluster{Server: s.URL, CertificateAuthority: s.identity}
		config.AuthInfos[name] = &api.AuthInfo{Token: secret + "-" + name}
		config.Contexts[name] = &api.Context{Cluster: name, AuthInfo: name, Namespace: "of-" + name}
	}
	config.CurrentContext = "one"
	kubeconfig := filepath.Join(t.TempDir(), "config")
	is.New(t).NoErr(clientcmd.WriteToFile(*config, kubeconfig))
	t.Setenv("KUBECONFIG", kubeconfig)
	t.Setenv("HOME", t.TempDir())
	bare := filepath.Join(t.TempDir(), "bare")
	is.New(t).NoErr(os.WriteFile(bare, nil, 0o600))

	header := func(name string) func(*http.Request) string {
		return func(r *http.Request) string { return strings.Join(r.Header[name], " ") }
	}
	path := func(r *http.Request) string { return r.URL.Path }
	const hosts = "/apis/infrastructure.cluster.x-k8s.io/v1beta1/namespaces/"
	tested := map[string]bool{"--cache-dir": true} // nothing of the cluster is kept in it, since nothing is discovered
	for _, c := range []struct {
		line  string
		of    *server
		what  func(*http.Request) string
		value string
	}{
		{"hosts", one, path, hosts + "of-one/elementalhosts"},
		{"hosts", one, header("Authorization"), "Bearer " + secret + "-one"},
		{"--context two hosts", two, path, hosts + "of-two/elementalhosts"},
		{"hosts --context=two -n other", two, path, hosts + "other/elementalhosts"},
		{"hosts --namespace other", one, path, hosts + "other/elementalhosts"},
		{"hosts --cluster two", two, header("Authorization"), "Bearer " + secret + "-one"},
		{"hosts --user two", one, header("Authorization"), "Bearer " + secret + "-two"},
		{"hosts --token t", one, header("Authorization"), "Bearer t"},
		{"hosts --as jane", one, header("Impersonate-User"), "jane"},
		{"hosts --as jane --as-group a --as-group b", one, header("Impersonate-Group"), "a b"},
		{"hosts --as jane --as-uid 7", one, header("Impersonate-Uid"), "7"},
		{"hosts --as jane --as-user-extra reason=test", one, header("Impersonate-Extra-Reason"), "test"},
		{"hosts --disable-compression", one, header("Accept-Encoding"), ""},
		{"hosts", one, header("Accept-Encoding"), "gzip"},
		{"hosts --kubeconfig BARE --server TWO --certificate-authority CA", two, path, hosts + "default/elementalhosts"},
		{"hosts --kubeconfig BARE -s TWO --insecure-skip-tls-verify", two, path, hosts + "default/elementalhosts"},
		{"hosts --kubeconfig BARE -s TWO --certificate-authority CA --tls-server-name example.com", two,
			func(r *http.Request) string { return r.TLS.ServerName }, "example.com"},
		{"hosts --client-certificate CA --client-key CA", one,
			func(r *http.Request) string { return r.TLS.PeerCertificates[0].Subject.Organization[0] }, "Acme Co"},
		{"hosts --request-timeout 20s", one, path, hosts + "of-one/elementalhosts"},
	} {
		t.Run(c.line, func(t *testing.T) {
			is := is.New(t)
			one.behave(behaviour{})
			two.behave(behaviour{})
			line := strings.NewReplacer("BARE", bare, "TWO", two.URL, "CA", two.identity).Replace(c.line)
			_, err := operate(t, line)
			is.NoErr(err)
			asked := c.of.asked()
			is.True(asked != nil)
			is.Equal(c.what(asked), c.value)
		})
		for _, word := range append(strings.Fields(c.line), "-s") {
			name, _, _ := strings.Cut(word, "=")
			tested[name] = true
		}
	}
	one.behave(behaviour{slow: 10 * time.Second})
	begun := time.Now()
	_, err := operate(t, "hosts --request-timeout=100ms")
	is.New(t).True(err != nil)
	is.New(t).True(time.Since(begun) < 5*time.Second)
	one.behave(behaviour{})

	known := pflag.NewFlagSet("kubectl", pflag.ContinueOnError)
	genericclioptions.NewConfigFlags(true).AddFlags(known)
	known.VisitAll(func(f *pflag.Flag) { is.New(t).True(tested["--"+f.Name]) }) // every one of kubectl's flags
}

// TestSecretsStayOutOfErrors gives a token and lets everything fail.
func TestSecretsStayOutOfErrors(t *testing.T) {
	s := startServer(t)
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	t.Setenv("HOME", t.TempDir())
	for _, line := range []string{
		"hosts --token SECRET --server " + s.URL,                                         // its certificate is nobody's
		"hosts --token SECRET --server https://127.0.0.1:1",                              // it is away
		"hosts --token SECRET --server http://user:SECRET@127.0.0.1:1",                   // a secret within an address
		"hosts --token=SECRET --no-such",                                                 // wrong usage
		"hosts --tokn=SECRET",                                                            // mistyped
		"--token SECRET",                                                                 // no command
		"hosts --token SECRET --as-uid 1 --server " + s.URL,                              // half an impersonation
		"hosts --token SECRET --request-timeout SECRETs",                                 // no duration
		"hosts --token SECRET --context none",                                            // no such context
		"hosts --token SECRET --client-certificate /none --client-key /none -s " + s.URL, // no such files
	} {
		out, err := operate(t, strings.ReplaceAll(line, "SECRET", secret))
		t.Log(err)
		is.New(t).True(err != nil)
		is.New(t).True(!strings.Contains(err.Error(), secret))
		is.New(t).True(!strings.Contains(out, secret))
	}
}

// operate carries out a line against real clusters.
func operate(t *testing.T, line string) (string, error) {
	t.Helper()
	var out strings.Builder
	operators, general := Commands("v1")
	app := &cli.App{
		Name: "elemental", Usage: "keep hosts", Commands: append(operators, general...), Writer: &out, ErrWriter: &out,
		ExitErrHandler: func(*cli.Context, error) {},
	}
	err := Run(t.Context(), app, append([]string{"elemental"}, strings.Fields(line)...))
	return out.String(), err
}
