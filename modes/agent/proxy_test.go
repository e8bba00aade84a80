package agent

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"
	"github.com/urfave/cli/v2"

	"elemental/modes/agentfile"
)

func TestConfiguredProxiesTakeThePlaceOfTheEnvironment(t *testing.T) {
	is := is.New(t)
	all := []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"}
	for _, name := range all {
		t.Setenv(name, "of-the-environment")
	}
	is.NoErr(publish(agentfile.Proxy{}))
	for _, name := range all {
		is.Equal(os.Getenv(name), "of-the-environment") // It still works.
	}
	is.NoErr(publish(agentfile.Proxy{HTTPS: "http://a", No: "b"}))
	is.Equal(os.Getenv("HTTPS_PROXY"), "http://a")
	is.Equal(os.Getenv("NO_PROXY"), "b")
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "https_proxy", "no_proxy"} {
		_, set := os.LookupEnv(name)
		is.True(!set)
	}
}

func TestAProxyOfTheEnvironmentThatIsNotHandedOnIsTold(t *testing.T) {
	is := is.New(t)
	said := &bytes.Buffer{}
	log := slog.New(slog.NewTextHandler(said, nil))
	t.Setenv("HTTP_PROXY", "http://proxy.example.com")
	t.Setenv("HTTPS_PROXY", "")
	warnOfProxies(log)
	is.Equal(said.String(), "")
	t.Setenv("HTTPS_PROXY", "http://user:canary-password@proxy.example.com")
	warnOfProxies(log)
	is.True(strings.Contains(said.String(), "variables=HTTPS_PROXY\n"))
	is.True(!strings.Contains(said.String(), "canary"))
}

// TestTheAgentAsksThroughItsProxy runs whole agents, whose environment names a proxy that there is not.
func TestTheAgentAsksThroughItsProxy(t *testing.T) {
	for name, cluster := range map[string]func(t *testing.T, folder string) string{
		"a host that joins": func(*testing.T, string) string {
			return `registration: {server: "https://api.example.com:6443", namespace: field, name: edge, token: canary-token}`
		},
		"a host with an identity by hand": func(t *testing.T, folder string) string {
			kubeconfig := filepath.Join(folder, "kubeconfig")
			is.New(t).NoErr(os.WriteFile(kubeconfig, []byte(`{"apiVersion":"v1","kind":"Config","current-context":"c","contexts":[{"name":"c","context":{"cluster":"c","user":"u"}}],`+
				`"clusters":[{"name":"c","cluster":{"server":"https://api.example.com:6443"}}],"users":[{"name":"u","user":{"token":"canary-token"}}]}`), 0o600))
			return "cluster: {kubeconfig: " + kubeconfig + ", host: h}"
		},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			asked := make(chan *http.Request, 100)
			proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(http.StatusBadGateway)
				select {
				case asked <- r:
				default:
				}
			}))
			defer proxy.Close()
			folder := t.TempDir()
			file := filepath.Join(folder, "agent.yaml")
			is.NoErr(os.WriteFile(file, []byte(cluster(t, folder)+"\nagent: {osPlugin: dummy, workDir: "+folder+"/work, restart: exit, proxy: {https: '"+proxy.URL+"'}}\n"), 0o600))
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestProxiedAgent$")
			cmd.Env = append(os.Environ(), "PROXIED_AGENT="+file, "HTTPS_PROXY=http://127.0.0.1:1", "https_proxy=http://127.0.0.1:1", "NO_PROXY=api.example.com", "no_proxy=")
			out := &bytes.Buffer{}
			cmd.Stdout, cmd.Stderr = out, out
			is.NoErr(cmd.Start())
			select {
			case r := <-asked:
				is.Equal(r.Method, http.MethodConnect)
				is.Equal(r.Host, "api.example.com:6443")
				is.Equal(r.Header.Get("Authorization"), "") // The token is for the server alone.
			case <-time.After(20 * time.Second):
				t.Error("the proxy was not asked")
			}
			is.NoErr(cmd.Process.Kill())
			_ = cmd.Wait() // It was killed.
			t.Logf("%s", out)
			is.True(!strings.Contains(out.String(), "canary"))
		})
	}
}

// TestProxiedAgent is the process of TestTheAgentAsksThroughItsProxy.
func TestProxiedAgent(t *testing.T) {
	file := os.Getenv("PROXIED_AGENT")
	if file == "" {
		t.Skip("it is started by another test")
	}
	app := &cli.App{Commands: []*cli.Command{Command("test")}}
	t.Log(app.RunContext(t.Context(), []string{"elemental", "agent", "--config", file}))
}
