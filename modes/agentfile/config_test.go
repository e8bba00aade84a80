package agentfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"
)

func FuzzConfig(f *testing.F) {
	f.Add([]byte("cluster: {kubeconfig: /k, host: h}\nagent: {osPlugin: dummy}\n"))
	f.Add([]byte("agent: [1]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		config, err := parse(text)
		if err == nil && (config.Cluster.Kubeconfig == "" || config.Cluster.Host == "" || config.Agent.MaxAttempts < 1) {
			t.Fatalf("%q is accepted as %+v", text, config)
		}
	})
}

func TestConfigRefusesWhatItDoesNotKnow(t *testing.T) {
	is := is.New(t)
	for text, want := range map[string]string{
		"":                        "cluster.kubeconfig is missing: name the file with this host's identity, or let the host join by a registration",
		"registration: {name: r}": "registration is incomplete: it needs server, namespace, name and token; elemental registration config NAME prints it whole",
		"registration: {name: r, namespace: n, token: t, server: 'http://x'}": `registration.server is "http://x": it must begin with https://`,
		"cluster: {kubeconfig: /k}\nregistration: {name: r}":                  "both cluster.kubeconfig and registration are there: a host has its identity by hand, or joins by itself",
		"cluster: {kubeconfig: /k}":                                           "cluster.host is missing: name this host's ElementalHost",
		"cluster: {kubeconfig: /k, host: h}\nagent: {maxAttempts: 0}":         "agent.maxAttempts is 0: it must be at least 1",
		"cluster: {kubeconfig: /k, host: h}\nagent: {bootstrapTimeout: 0s}":   "agent.bootstrapTimeout is 0s: it must be at least 1s, such as 30m",
		"cluster: {kubeconfig: /k, host: h}\nagent: {restart: soon}":          `agent.restart is "soon": it must be logind or exit`,
	} {
		_, err := parse([]byte(text))
		is.True(err != nil)
		is.Equal(err.Error(), want)
	}
	_, err := parse([]byte("cluster: {kubeconfig: /k, host: h, hots: x}"))
	is.True(err != nil) // A mistyped field is no default.
}

func TestARegistrationIsReadAnew(t *testing.T) {
	is := is.New(t)
	file := filepath.Join(t.TempDir(), "agent.yaml")
	hand := func(text string) { is.NoErr(os.WriteFile(file, []byte(text), 0o600)) }
	registration := "registration: {server: \"https://api.example.com\", namespace: field, name: edge, token: %}\n"
	hand(strings.Replace(registration, "%", "one", 1))
	config, err := Read(file)
	is.NoErr(err)
	hand(strings.Replace(registration, "%", "two", 1))
	r, err := config.RegistrationNow()
	is.NoErr(err)
	is.Equal(r.Token, "two")
	hand("cluster: {kubeconfig: /etc/elemental/kubeconfig, host: h}\n")
	_, err = config.RegistrationNow()
	is.True(err != nil && strings.Contains(err.Error(), "restart the agent"))
	hand("registration: {server")
	_, err = config.RegistrationNow()
	is.True(err != nil && strings.Contains(err.Error(), file))
}

func TestWhatAHostKeepsWhenItIsReset(t *testing.T) {
	is := is.New(t)
	file := filepath.Join(t.TempDir(), "agent.yaml")
	for text, want := range map[string][]string{
		"registration: {server: 'https://api.example.com', namespace: n, name: r, token: t}\n": {
			filepath.Dir(file), "/var/lib/elemental/agent/identity", "/var/lib/elemental/agent/journal.json",
		},
		"agent: {workDir: /var/lib/other}\ncluster: {host: h, kubeconfig: /etc/cluster/kubeconfig}\n": {
			filepath.Dir(file), "/var/lib/other/identity", "/var/lib/other/journal.json", "/etc/cluster/kubeconfig",
		},
	} {
		is.NoErr(os.WriteFile(file, []byte(text), 0o600))
		config, err := Read(file)
		is.NoErr(err)
		is.Equal(config.Belongings(), want)
	}
}

func TestAFileThatIsMissingIsToldHowToCome(t *testing.T) {
	is := is.New(t)
	_, err := Read(filepath.Join(t.TempDir(), "agent.yaml"))
	is.True(errors.Is(err, fs.ErrNotExist))
	is.True(strings.Contains(err.Error(), "agent.yaml: no such file or directory; where the cluster is at hand, elemental registration config NAME prints"))
}
