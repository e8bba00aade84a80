package cli

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"
)

// TestErrorsOfTheClusterSayWhatToDo lets everything go wrong between the command line and the cluster.
func TestErrorsOfTheClusterSayWhatToDo(t *testing.T) {
	s := startServer(t)
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	t.Setenv("HOME", t.TempDir())
	is.New(t).NoErr(os.WriteFile(os.Getenv("KUBECONFIG"), nil, 0o600))
	const kind = `{"kind":"Status","apiVersion":"v1","status":"Failure"`
	for _, c := range []struct {
		name, line, answer string
		status             int
		parts              []string
	}{
		{"away", "hosts -s https://127.0.0.1:1", "", 0, []string{"listing the hosts: ", "https://127.0.0.1:1 does not answer", "--context"}},
		{"no such address", "hosts -s https://no-such.invalid", "", 0, []string{"https://no-such.invalid can't be found", "--context"}},
		{"slow", "hosts --request-timeout 1ns", "", 0, []string{"does not answer in time", "--request-timeout"}},
		{"someone else's", "hosts", "", 0, []string{"not trusted here", "--certificate-authority"}},
		{"another name", "hosts --certificate-authority CA --tls-server-name other", "", 0, []string{"for another name", "--tls-server-name"}},
		{"nobody", "hosts --insecure-skip-tls-verify", kind + `,"reason":"Unauthorized","message":"Unauthorized","code":401}`, http.StatusUnauthorized,
			[]string{"does not know who you are", "--user"}},
		{"denied", "hosts --insecure-skip-tls-verify", kind + `,"reason":"Forbidden","message":"elementalhosts is forbidden: User \"jane\" cannot list","code":403}`, http.StatusForbidden,
			[]string{`User "jane" cannot list`, "ask whoever runs the cluster"}},
		{"not installed", "hosts --insecure-skip-tls-verify", "404 page not found", http.StatusNotFound, []string{"custom resources", "packaging/crds"}},
		{"no such host", "hosts a --insecure-skip-tls-verify",
			kind + `,"reason":"NotFound","message":"elementalhosts \"a\" not found","details":{"name":"a","kind":"elementalhosts"},"code":404}`, http.StatusNotFound,
			[]string{`reading host default/a: elementalhosts`, `"a" not found`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			is := is.New(t)
			s.behave(behaviour{answer: c.answer, status: c.status})
			line := strings.ReplaceAll(c.line, "CA", s.identity)
			if !strings.Contains(line, "-s ") {
				line += " -s " + s.URL
			}
			_, err := operate(t, line)
			is.True(err != nil)
			t.Log(err)
			for _, part := range c.parts {
				is.True(strings.Contains(err.Error(), part))
			}
			is.True(!strings.Contains(err.Error(), "\n")) // one sentence
		})
	}
}
