package plugin_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"

	"elemental/adapters/plugin"
	"elemental/adapters/plugin/dummy"
	"elemental/ports"
	"elemental/ports/portstest"
)

// serve returns what is answered to a request.
func serve(t *testing.T, request string, open func(plugin.Opening) (ports.Plugin, error)) string {
	t.Helper()
	var out strings.Builder
	is.New(t).NoErr(plugin.Serve(t.Context(), strings.NewReader(request), &out, open))
	return out.String()
}

func TestServeRefuses(t *testing.T) {
	open := func(plugin.Opening) (ports.Plugin, error) { return &portstest.Plugin{}, nil }
	for request, message := range map[string]string{
		``:                                      "standard input must hold one JSON object",
		`[]`:                                    "standard input must hold one JSON object",
		`{}{}`:                                  "standard input must hold one JSON object",
		`{"verb":"observe"}`:                    `the request speaks the protocol \"\"`,
		`{"protocol":"other/v1"}`:               `the request speaks the protocol \"other/v1\"`,
		`{"protocol":"elemental.io/plugin/v1"}`: `has no verb ;`,
		`{"protocol":"elemental.io/plugin/v1","verb":"levitate"}`:                                            "has no verb levitate",
		`{"protocol":"elemental.io/plugin/v1","verb":"stage","input":{"osVersionManagement":{"a":1,"a":2}}}`: "stands twice",
		`{"protocol":"elemental.io/plugin/v1","verb":"stage","input":{"bootstrap":{"data":"not base64"}}}`:   "illegal base64",
		`{"protocol":"elemental.io/plugin/v1","host":"` + strings.Repeat("x", 9<<20) + `"}`:                  "larger than",
	} {
		answer := serve(t, request, open)
		is.New(t).True(strings.HasPrefix(answer, `{"error":{"class":"`))
		is.New(t).True(strings.Contains(answer, message))
		is.New(t).Equal(strings.Count(answer, "\n"), 1)
	}
	answer := serve(t, `{"protocol":"elemental.io/plugin/v1","verb":"observe"}`, func(plugin.Opening) (ports.Plugin, error) { return nil, errors.New("no disk") })
	is.New(t).Equal(answer, `{"error":{"class":"failed","message":"no disk"}}`+"\n")
}

func TestDummyBootstrap(t *testing.T) {
	is := is.New(t)
	folder := filepath.Join(t.TempDir(), "new")
	open := func(o plugin.Opening) (ports.Plugin, error) { return dummy.New(o.WorkDir), nil }
	ask := func(input string) string {
		return serve(t, `{"protocol":"elemental.io/plugin/v1","verb":"bootstrap","workDir":"`+folder+`","input":`+input+`}`, open)
	}
	is.Equal(ask(`{"bootstrap":{"format":"cloud-config","data":"YSBzZWNyZXQ="}}`), `{"result":{}}`+"\n")
	text, err := os.ReadFile(filepath.Join(folder, "bootstrap.cloud-config"))
	is.NoErr(err)
	is.Equal(string(text), "a secret")
	info, err := os.Stat(filepath.Join(folder, "bootstrap.cloud-config"))
	is.NoErr(err)
	is.Equal(info.Mode().Perm(), os.FileMode(0o600))
	is.True(strings.Contains(ask(`{}`), "NoBootstrapData"))
	is.True(strings.Contains(ask(`{"bootstrap":{"format":"../../x","data":""}}`), "UnknownBootstrapFormat"))
}

// TestDummySurvivesAttempts leaves behind what a killed attempt leaves behind.
func TestDummySurvivesAttempts(t *testing.T) {
	is := is.New(t)
	folder := t.TempDir()
	is.NoErr(os.WriteFile(filepath.Join(folder, "os-version.json.tmp"), []byte(`{"half":`), 0o600))
	p := dummy.New(folder)
	is.NoErr(p.Do(t.Context(), "stage", request(t), func(ports.Progress) {}))
	entries, err := os.ReadDir(folder)
	is.NoErr(err)
	is.Equal(len(entries), 1)
	is.Equal(entries[0].Name(), dummy.Requested)
}
