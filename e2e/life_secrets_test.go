package e2e

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"elemental/e2e/hosts"
	"elemental/e2e/lab"
)

// TestLifeSecrets sees that no secret of joining is told: not by the controller or an agent that logs all that it
// does, not by an object other than the one that it is kept in, and not by how a process was started.
func TestLifeSecrets(t *testing.T) {
	allowCores(t)
	s := newSettingLike(t, func(l *lab.Lab) { l.ControllerManager = true })
	controller, log := s.debugController(t)
	g := s.newGate(t, `{"config":{"cloudConfig":{"users":[{"passwd":"canary-cloud-config"}]},"elemental":{"install":{"password":"canary-install"},"reset":{"password":"canary-reset"}}}}`)
	g.kubectl("create", "secret", "generic", "elemental-bootstrap-any", "--from-literal=value=canary-bootstrap")
	lasting := g.lasting("drawer")

	medium := g.medium("edge-")
	found := &canaries{T: t, all: map[string]canary{}}
	found.add("the bundle's token", medium.Registration["token"], "secrets/elemental-reg-field")
	found.add("the token without an end", lasting, "secrets/elemental-reg-drawer", "secrets/elemental-reg-drawer-token")
	found.add("the cloud config", "canary-cloud-config", "elementalregistrations/field", "plugins/dummy/cloud-config.json")
	found.add("the installation", "canary-install", "elementalregistrations/field")
	found.add("the reset", "canary-reset", "elementalregistrations/field")
	found.add("bootstrap data", "canary-bootstrap", "secrets/elemental-bootstrap-any")
	found.add("a token that is refused", "canary-refused")
	found.add("a token for another server", "canary-elsewhere")

	first, second := g.start(medium), g.start(medium)
	refused, elsewhere := medium, medium
	refused.Registration, elsewhere.Registration = maps.Clone(medium.Registration), maps.Clone(medium.Registration)
	refused.Registration["token"] = "canary-refused"
	elsewhere.Registration["token"], elsewhere.Registration["server"] = "canary-elsewhere", "https://127.0.0.1:1"
	all := []*hosts.Process{first, second, g.start(refused), g.start(elsewhere)}
	g.eventually("they are hosts", func() bool { return len(g.names("elementalhosts")) == 2 })
	g.kubectl("wait", "--for=condition=ready", "--timeout=60s", "elementalhosts", "--all")
	for _, p := range all[2:] {
		g.eventually("it says why it does not join", func() bool { return strings.Contains(p.Log(), "RegistrationFailed") })
	}
	found.identities(first, second)
	found.processes(g.Binary, len(all)+1)

	// A host that was revoked asks again; one that was killed renews its token.
	g.kubectl("annotate", "elementalhosts", "--all", "elementalhost.infrastructure.cluster.x-k8s.io/revoked=true")
	g.eventually("it asks again, and waits", func() bool {
		return strings.Contains(first.Log(), "Revoked") && strings.Contains(second.Log(), "Revoked")
	})
	first.KillAgent()
	if err := first.WaitStarts(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	g.kubectl("patch", "elementalregistration", "field", "--type=merge", "-p", `{"spec":{"approval":"AllowList","allowList":["none"]}}`)
	found.identities(first, second)
	found.processes(g.Binary, len(all)+1)
	found.file("the controller's log", log)
	for i, p := range all {
		found.file(fmt.Sprintf("the log of host %d", i), filepath.Join(filepath.Dir(p.WorkDir()), "agent.log"))
		found.folder(p.WorkDir())
	}
	found.objects(g)
	found.kept()
	agent, words := g.another(first)
	found.abort("an agent", agent, words)
	found.abort("the controller", controller, log)
}

// allowCores lets what this test starts leave core files, if it lets itself, and end so that it would.
func allowCores(t *testing.T) {
	t.Helper()
	t.Setenv("GOTRACEBACK", "crash")
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &before); err != nil {
		t.Fatal(err)
	}
	most := unix.Rlimit{Cur: before.Max, Max: before.Max}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &most); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Setrlimit(unix.RLIMIT_CORE, &before); err != nil {
			t.Error(err)
		}
	})
}

// another starts one more agent, with the registration of a host and a work dir of its own, and returns it with its log
// once it waits to be let in.
func (g *gate) another(like *hosts.Process) (*lab.Program, string) {
	g.Helper()
	text, err := os.ReadFile(filepath.Join(filepath.Dir(like.WorkDir()), "agent.yaml"))
	if err != nil {
		g.Fatal(err)
	}
	folder := g.TempDir()
	config, log := filepath.Join(folder, "agent.yaml"), filepath.Join(folder, "agent.log")
	if err := os.WriteFile(config, []byte(strings.ReplaceAll(string(text), like.WorkDir(), filepath.Join(folder, "work"))), 0o600); err != nil {
		g.Fatal(err)
	}
	agent, err := lab.StartProgram(log, g.Binary, "agent", "--config", config)
	if err != nil {
		g.Fatal(err)
	}
	g.Cleanup(agent.Kill)
	g.eventually("it waits", func() bool {
		said, err := os.ReadFile(log)
		return err == nil && strings.Contains(string(said), "NotOnAllowList")
	})
	return agent, log
}

// debugController starts the controller again, so that it logs all that it does, and returns where.
func (s *setting) debugController(t *testing.T) (controller *lab.Program, log string) {
	t.Helper()
	s.Controller().Kill()
	kubeconfig, err := s.Cluster.KubeconfigForServiceAccount(t.Context(), "elemental-system", "elemental-controller-manager")
	if err != nil {
		t.Fatal(err)
	}
	log = filepath.Join(t.TempDir(), "controller.log")
	controller, err = lab.StartProgram(log, s.Binary, "controller", "--kubeconfig="+kubeconfig, "--debug",
		"--leader-elect=false", "--metrics-bind-address=0", "--health-probe-bind-address=0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(controller.Kill)
	return controller, log
}

// lasting makes a registration whose token has no end, revokes that, and returns the token that the bundle then holds.
func (g *gate) lasting(name string) string {
	g.Helper()
	err := g.Apply(g.Context(), fmt.Sprintf(
		`{"apiVersion":"infrastructure.cluster.x-k8s.io/v1beta1","kind":"ElementalRegistration","metadata":{"name":%q,"namespace":%q},"spec":{"config":{"elemental":{"registration":{"longLived":true}}}}}`, name, g.namespace))
	if err != nil {
		g.Fatal(err)
	}
	g.kubectl("wait", "--for=condition=ready", "--timeout=60s", "elementalregistration/"+name)
	token := func() string {
		text, err := base64.StdEncoding.DecodeString(g.kubectl("get", "secret", "elemental-reg-"+name, "-o", "jsonpath={.data.token}"))
		if err != nil {
			g.Fatal(err)
		}
		return string(text)
	}
	before := token()
	g.kubectl("delete", "secret", "elemental-reg-"+name+"-token")
	g.eventually("the bundle lets go of a token that was revoked", func() bool { now := token(); return now != "" && now != before })
	return token()
}

// canary is a secret, and the objects that are there to keep it.
type canary struct {
	text string
	kept []string
	seen int // how often it was found where it is kept
}

type canaries struct {
	*testing.T
	all map[string]canary
}

func (c *canaries) add(what, text string, kept ...string) {
	c.Helper()
	if parts := strings.Split(text, "."); len(parts) == 3 {
		text = parts[2] // The signature: without it a token is worth nothing, and its beginning is no secret.
	}
	if len(text) < 10 {
		c.Fatalf("%s is %q, which is no canary", what, text)
	}
	c.all[what] = canary{text: text, kept: kept}
}

// identities takes in what makes hosts themselves now, and sees that nobody else can read it.
func (c *canaries) identities(processes ...*hosts.Process) {
	c.Helper()
	for _, p := range processes {
		folder := filepath.Join(p.WorkDir(), "identity")
		for _, name := range []string{"key", "credentials.json"} {
			path := filepath.Join(folder, name)
			info, err := os.Stat(path)
			if err != nil {
				c.Fatal(err)
			}
			if info.Mode().Perm() != 0o600 {
				c.Errorf("%s may be read by others: %s", name, info.Mode())
			}
			text, err := os.ReadFile(path)
			if err != nil {
				c.Fatal(err)
			}
			if name == "key" {
				c.add("the key in "+folder, string(text))
				continue
			}
			var k struct {
				Credentials struct {
					Token string `json:"token"`
				} `json:"credentials"`
			}
			if err := json.Unmarshal(text, &k); err != nil {
				c.Fatal(err)
			}
			c.add(fmt.Sprintf("the token %d in %s", len(c.all), folder), k.Credentials.Token)
		}
	}
}

// spellings are how a secret may stand in a text: as it is, in hexadecimal, and in base64 whatever stands before it.
func spellings(secret string) []string {
	all := []string{secret, hex.EncodeToString([]byte(secret))}
	for before := range 3 {
		text := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", before) + secret))
		all = append(all, strings.TrimRight(text, "=")[(before*8+5)/6:len(strings.TrimRight(text, "="))-1])
	}
	return all
}

// look searches a text that is kept in an object, or elsewhere.
func (c *canaries) look(where, text string) {
	c.Helper()
	for what, secret := range c.all {
		for _, spelling := range spellings(secret.text) {
			if !strings.Contains(text, spelling) {
				continue
			}
			meant := false
			for _, kept := range secret.kept {
				meant = meant || kept == where
			}
			if !meant {
				c.Errorf("%s tells %s", where, what)
			}
			secret.seen++
			c.all[what] = secret
		}
	}
}

func (c *canaries) file(what, path string) {
	c.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		c.Fatal(err)
	}
	if !strings.Contains(string(text), "level=INFO") && !strings.Contains(string(text), `"level"`) {
		c.Errorf("%s does not log what it should:\n%s", what, text)
	}
	c.look(what, string(text))
}

// folder searches what an agent and its plugin keep beside the identity.
func (c *canaries) folder(path string) {
	c.Helper()
	err := filepath.WalkDir(path, func(file string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && entry.Name() == "identity":
			return filepath.SkipDir
		case !entry.Type().IsRegular():
			return nil
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		where := file
		if strings.HasSuffix(file, "/plugins/dummy/cloud-config.json") { // That it is told this is what a plugin is for.
			where = "plugins/dummy/cloud-config.json"
			if info, err := entry.Info(); err != nil || info.Mode().Perm() != 0o600 {
				c.Errorf("%s may be read by others (%v)", file, err)
			}
		}
		c.look(where, string(text))
		return nil
	})
	if err != nil {
		c.Fatal(err)
	}
}

// processes searches how all processes of Elemental were started. At least so many are there.
func (c *canaries) processes(binary string, least int) {
	c.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		c.Fatal(err)
	}
	searched := 0
	for _, path := range all {
		line, err := os.ReadFile(path)
		if err != nil || !strings.HasPrefix(string(line), binary+"\x00") {
			continue // It ended, or is another program.
		}
		environ, err := os.ReadFile(filepath.Join(filepath.Dir(path), "environ"))
		if err != nil {
			continue
		}
		limits, err := os.ReadFile(filepath.Join(filepath.Dir(path), "limits"))
		if err != nil {
			continue
		}
		searched++
		if !noCores.Match(limits) {
			c.Errorf("%s may leave a core file:\n%s", strings.ReplaceAll(string(line), "\x00", " "), limits)
		}
		c.look("the arguments of a process", string(line))
		c.look("the environment of a process", string(environ))
	}
	if searched < least {
		c.Errorf("only %d processes were found, and there are %d", searched, least)
	}
}

// noCores is the line of /proc/PID/limits of a process that leaves no core file.
var noCores = regexp.MustCompile(`(?m)^Max core file size +0 +0 `)

// abort ends a program as a fault of its own would, and sees that its memory does not outlive it: what a program needs
// is in there, and so there must be no core file.
func (c *canaries) abort(what string, program *lab.Program, log string) {
	c.Helper()
	if err := program.Ended(); err != nil {
		c.Fatalf("%s ended before: %v", what, err)
	}
	program.Signal(syscall.SIGABRT)
	end := ""
	for deadline := time.Now().Add(20 * time.Second); end == "" && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if err := program.Ended(); err != nil {
			end, _, _ = strings.Cut(err.Error(), "\n")
		}
	}
	if end != "signal: aborted" { // With a core file the kernel says "(core dumped)", wherever it has sent it.
		c.Errorf("%s ended with %q", what, end)
	}
	for _, pattern := range []string{"core", "core.*", "*.core"} {
		cores, err := filepath.Glob(pattern) // It was started in this folder.
		if err != nil || len(cores) > 0 {
			c.Errorf("%s left %v (%v)", what, cores, err)
		}
	}
	c.file("the last words of "+what, log)
}

// objects searches everything that the API server keeps.
func (c *canaries) objects(g *gate) {
	c.Helper()
	kinds := strings.Fields(g.kubectl("api-resources", "--verbs=list", "-o", "name"))
	var list struct {
		Items []json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal([]byte(g.kubectl("get", strings.Join(kinds, ","), "--all-namespaces", "--show-managed-fields", "-o", "json")), &list); err != nil {
		c.Fatal(err)
	}
	events := 0
	for _, item := range list.Items {
		var named struct {
			Kind     string `json:"kind"`
			Metadata struct {
				Name string `json:"name"`
			} `json:"metadata"`
		}
		if err := json.Unmarshal(item, &named); err != nil {
			c.Fatal(err)
		}
		if named.Kind == "Event" {
			events++
		}
		c.look(strings.ToLower(named.Kind)+"s/"+named.Metadata.Name, string(item))
	}
	if events == 0 {
		c.Error("there are no events to search")
	}
}

// kept sees that this test would have found what it looked for: every secret is found where it is kept.
func (c *canaries) kept() {
	c.Helper()
	for what, secret := range c.all {
		if len(secret.kept) > 0 && secret.seen < len(secret.kept) {
			c.Errorf("%s was found %d times in the %d objects that keep it", what, secret.seen, len(secret.kept))
		}
	}
	c.Logf("%d secrets were looked for", len(c.all))
}
