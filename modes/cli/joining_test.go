package cli

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"
	"github.com/urfave/cli/v2"

	"elemental/core"
	"elemental/modes/agentfile"
	"elemental/ports"
	"elemental/ports/portstest"
)

// newDoor is an operator with a registration.
func newDoor(t *testing.T, change func(*ports.Registration)) *desk {
	t.Helper()
	r := ports.Registration{
		Name: "field", Approval: core.ApprovalManual, Expires: noon.Add(time.Hour),
		Ready: condition(core.Ready, core.True, "Ready", "hosts can join", 1),
		Agent: ports.AgentSettings{
			WorkDir: "/var/lib/else", OSPlugin: "dummy", Naming: core.NamingRule{UseExisting: true, Prefix: "edge-"}, NoSMBIOS: true, Debug: true,
			PostInstall: core.EndingPowerOff, PostReset: core.EndingReboot,
		},
		Bundle: &ports.Bundle{Server: "https://10.0.0.1:6443", CA: "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n", Namespace: "default", Registration: "field", Token: "s3cret"},
	}
	change(&r)
	d := &desk{Operator: &portstest.Operator{}, gate: &portstest.Gatekeeper{}}
	d.gate.Register(t, r)
	return d
}

func TestRegistrationConfig(t *testing.T) {
	is := is.New(t)
	d := newDoor(t, func(*ports.Registration) {})
	out, errs, status := d.types(t, "registration config field")
	is.Equal(status, 0)
	is.Equal(errs, "")
	is.Equal(out, `# The agent's configuration for hosts that join through the registration default/field.
# On a host it is /etc/elemental/agent.yaml, of root, with mode 0600.
# It holds a secret: whoever has its token can ask to be let in as a host. The token lives until 2030-01-02T13:00:00Z; hosts that come later need this anew.
registration:
  server: https://10.0.0.1:6443
  certificateAuthority: |
    -----BEGIN CERTIFICATE-----
    MII
    -----END CERTIFICATE-----
  namespace: default
  name: field
  token: s3cret
agent:
  workDir: /var/lib/else
  osPlugin: dummy
  hostname:
    useExisting: true
    prefix: edge-
  noSmbios: true
  debug: true
  postInstall:
    powerOff: true
  postReset:
    reboot: true
`)
	config := readByAgent(t, out)
	is.Equal(config.Registration.Token, "s3cret")
	is.Equal(config.Agent.WorkDir, "/var/lib/else")
	is.Equal(config.Agent.Hostname.Prefix, "edge-")
	is.True(config.Agent.NoSMBIOS && config.Agent.Debug && config.Agent.Hostname.UseExisting)
	is.True(config.Agent.PostInstall.PowerOff && !config.Agent.PostInstall.Reboot)
	is.True(config.Agent.PostReset.Reboot && !config.Agent.PostReset.PowerOff)

	d.width = 80
	_, errs, _ = d.types(t, "registration config field")
	is.True(strings.HasPrefix(errs, "This holds a secret"))
	_, errs, status = d.types(t, "registration config field -o json")
	is.Equal(status, exitUsage)
	is.True(strings.Contains(errs, "must be yaml"))
	_, errs, status = d.types(t, "registration config nobody")
	is.Equal(status, 1)
	is.True(strings.Contains(errs, "nobody"))
}

// readByAgent reads a configuration as the agent does.
func readByAgent(t *testing.T, text string) agentfile.Config {
	t.Helper()
	file := filepath.Join(t.TempDir(), "agent.yaml")
	is.New(t).NoErr(os.WriteFile(file, []byte(text), 0o600))
	config, err := agentfile.Read(file)
	is.New(t).NoErr(err)
	return config
}

func TestRegistrationConfigLeavesToTheAgent(t *testing.T) {
	is := is.New(t)
	d := newDoor(t, func(r *ports.Registration) {
		r.Agent, r.Lasting, r.Expires, r.Approval, r.Bundle.CA = ports.AgentSettings{}, true, time.Time{}, core.ApprovalAuto, ""
	})
	out, _, status := d.types(t, "registration config field")
	is.Equal(status, 0)
	is.True(!strings.Contains(out, "agent:\n")) // What is not said has the agent's own defaults.
	is.True(strings.Contains(out, "whoever has its token is let in as a host. The token lives until someone deletes the Secret elemental-reg-field-token."))
	config := readByAgent(t, out)
	is.Equal(config.Agent.OSPlugin, "image")
	is.Equal(config.Agent.WorkDir, "/var/lib/elemental/agent")
}

func TestRegistrationConfigSaysWhatToDo(t *testing.T) {
	for says, change := range map[string]func(*ports.Registration){
		"registration default/field is not ready: let the controller in": func(r *ports.Registration) {
			r.Ready = condition(core.Ready, core.False, "No", "let the controller in", 1)
		},
		"the controller has not looked at it yet; check that it runs":                      func(r *ports.Registration) { r.Ready = core.Condition{} },
		"has lost its bundle, the Secret default/elemental-reg-field":                      func(r *ports.Registration) { r.Bundle = nil },
		"the bundle of registration default/field, the Secret default/elemental-reg-field": func(r *ports.Registration) { r.Bundle.Token = "" },
		"ended at 2030-01-02T12:00:00Z":                                                    func(r *ports.Registration) { r.Expires = noon },
	} {
		t.Run(says, func(t *testing.T) {
			is := is.New(t)
			out, errs, status := newDoor(t, change).types(t, "registration config field")
			t.Log(errs)
			is.Equal(status, 1)
			is.Equal(out, "")
			is.True(strings.Contains(errs, says))
			is.True(!strings.Contains(errs, "s3cret"))
		})
	}
}

// names of requests; the first two begin alike.
var (
	firstName  = "3b5c1f02a" + strings.Repeat("0", 55)
	secondName = "3b5c1f02b" + strings.Repeat("0", 55)
	thirdName  = "9f86d081" + strings.Repeat("0", 56)
)

// newQueue is an operator with three who ask to join, the third of which was let in.
func newQueue(t *testing.T) *desk {
	t.Helper()
	d := newDoor(t, func(*ports.Registration) {})
	d.gate.Knock(t, ports.JoinRequest{Name: firstName, Registration: "field", Hostname: "edge-1", Serial: "ABC\n1", Created: noon.Add(-time.Hour)})
	d.gate.Knock(t, ports.JoinRequest{Name: secondName, Registration: "field", Created: noon.Add(-time.Minute)})
	d.gate.Knock(t, ports.JoinRequest{Name: thirdName, Registration: "field", Hostname: "edge-3", Created: noon})
	d.gate.Answer(t, firstName, "", condition("Admitted", core.False, core.ReasonWaitingForApproval, "an administrator must approve it", 1))
	d.gate.Answer(t, thirdName, "edge-3", condition("Admitted", core.True, core.ReasonApproved, "an administrator approved this request", 1))
	return d
}

func TestRequests(t *testing.T) {
	is := is.New(t)
	d := newQueue(t)
	out, errs, status := d.types(t, "requests")
	is.Equal(status, 0)
	is.Equal(errs, "")
	is.Equal(strings.Split(out, "\n"), []string{
		"NAME        HOSTNAME   SERIAL   REGISTRATION   ANSWER               HOST     AGE   MESSAGE",
		"3b5c1f02a   edge-1     ABC 1    field          WaitingForApproval   -        60m   an administrator must approve it",
		"3b5c1f02b   -          -        field          -                    -        60s   -",
		"9f86d081    edge-3     -        field          Approved             edge-3   0s    an administrator approved this request",
		"",
	})
	d.width = 100
	out, _, _ = d.types(t, "requests")
	t.Log(out)
	is.True(strings.Contains(out, "   an admin"))
	is.True(!strings.Contains(out, "approve it"))
	d.width = 0
	out, _, _ = d.types(t, "requests -A -o wide")
	is.True(strings.HasPrefix(out, "NAMESPACE   NAME  "))
	is.True(strings.Contains(out, firstName))
	out, _, _ = d.types(t, "requests -o name")
	is.True(strings.HasPrefix(out, "elementalhostrequest.infrastructure.cluster.x-k8s.io/"+firstName+"\n"))
	out, _, _ = d.types(t, "requests -o yaml")
	is.True(strings.Contains(out, "  kind: ElementalHostRequest\n"))
	out, _, _ = d.types(t, "request 9f -o yaml")
	is.True(strings.HasPrefix(out, "apiVersion: infrastructure.cluster.x-k8s.io/v1beta1\nkind: ElementalHostRequest\n"))
	out, _, _ = d.types(t, "requests 3b5c1f02b")
	is.True(strings.Contains(out, "3b5c1f02b ") && !strings.Contains(out, "9f86d081"))
	_, _, status = d.types(t, "requests 9f -A")
	is.Equal(status, exitUsage)
	_, _, status = d.types(t, "requests -o json -w")
	is.Equal(status, exitUsage)
	d = newDoor(t, func(*ports.Registration) {})
	_, errs, status = d.types(t, "requests")
	is.Equal(status, 0)
	is.Equal(errs, "No one asks to join.\n")
	d.gate.Error = errors.Join(errors.New("listing the requests to join"), ports.ErrDenied)
	_, _, status = d.types(t, "requests")
	is.Equal(status, 1)
}

func TestApprove(t *testing.T) {
	is := is.New(t)
	d := newQueue(t)
	out, errs, status := d.types(t, "approve 3b5c1f02a 3b5c1f02b --reason=trusted")
	is.Equal(status, 0)
	is.Equal(errs, "")
	is.Equal(out, "request default/3b5c1f02a (hostname edge-1, serial number ABC 1) is approved\nrequest default/3b5c1f02b is approved\n")
	is.Equal(ruled(t, d, firstName).Ruled, "approved by tester: trusted")
	out, _, status = d.types(t, "deny 3b5c1f02a")
	is.Equal(status, 0)
	is.True(strings.HasSuffix(out, " is denied\n"))
	is.Equal(ruled(t, d, firstName).Ruling, core.RulingDenied)

	d.Put(t, ports.Target{Name: "old"}, nil, "")
	out, _, status = d.types(t, "approve 3b5c1f02a --replaces old")
	is.Equal(status, 0)
	is.True(strings.HasSuffix(out, " is approved, and takes the place of host old\n"))
	is.Equal(ruled(t, d, firstName).Replaces, "old")
	out, _, status = d.types(t, "approve 9f86")
	is.Equal(status, 0)
	is.True(strings.Contains(out, "was let in already: it is host edge-3\n"))
}

func ruled(t *testing.T, d *desk, name string) ports.JoinRequest {
	t.Helper()
	found, err := d.gate.Requests(t.Context(), ports.RequestSelection{})
	is.New(t).NoErr(err)
	meant, err := named(found, []string{name})
	is.New(t).NoErr(err)
	return meant[0]
}

func TestRulingsThatCanNotBe(t *testing.T) {
	for line, c := range map[string]struct {
		status int
		says   string
	}{
		"approve 3b5c":                        {1, `"3b5c" is the beginning of 2 requests: say which of 3b5c1f02a, 3b5c1f02b`},
		"approve 77":                          {1, `no request of this namespace begins with "77"`},
		"approve 3b5c1f02a 77":                {1, `begins with "77"`},
		"approve 3b5c1f02a 9f --replaces old": {exitUsage, "one request alone can take the place of host old"},
		"approve 3b5c1f02a --replaces nobody": {1, "nothing was approved: --replaces names a host that is not there"},
		"approve 3b5c1f02a --replaces=":       {exitUsage, "--replaces says whose place"},
		"approve":                             {exitUsage, "needs one argument, REQUEST..."},
		"deny 9f86":                           {1, "elemental hosts revoke -n default edge-3"},
		"deny 9f --reason=" + strings.Repeat("x", 2000): {exitUsage, "--reason has 2000 bytes"},
	} {
		t.Run(line[:min(len(line), 40)], func(t *testing.T) {
			is := is.New(t)
			d := newQueue(t)
			_, errs, status := d.types(t, line)
			t.Log(errs)
			is.Equal(status, c.status)
			is.True(strings.Contains(errs, c.says))
			is.Equal(ruled(t, d, firstName).Ruling, core.RulingNone)
		})
	}
}

func TestRevoke(t *testing.T) {
	is := is.New(t)
	d := newQueue(t)
	d.gate.Settle(t, "edge-3", false)
	d.gate.Settle(t, "stubborn", true)
	out, errs, status := d.types(t, "hosts revoke edge-3 --reason=stolen")
	is.Equal(status, 0)
	is.Equal(errs, "")
	is.True(strings.HasPrefix(out, "host edge-3 is revoked: its tokens are dead, and it has no rights\nTo let it in again, "))
	is.Equal(d.gate.Mark(t, "edge-3"), "revoked by tester: stolen")
	is.Equal(ruled(t, d, thirdName).Ruling, core.RulingNone)
	is.NoErr(d.gate.Rule(t.Context(), ruled(t, d, thirdName), ports.Verdict{Ruling: core.RulingApproved}))
	_, _, status = d.types(t, "hosts revoke edge-3")
	is.Equal(status, 0)
	is.Equal(ruled(t, d, thirdName).Ruled, "denied by tester: its host was revoked") // It would be let in again at once.
	out, errs, status = d.types(t, "host revoke stubborn")
	is.Equal(status, exitTimedOut)
	is.True(strings.Contains(errs, "after 15s its tokens still live: check that the controller runs"))
	is.True(strings.HasPrefix(out, "To let it in again, "))
	out, errs, status = d.types(t, "hosts revoke nobody edge-3")
	is.Equal(status, 1)
	is.True(strings.Contains(errs, "nobody: not found"))
	is.True(strings.HasPrefix(out, "host edge-3 is revoked")) // The others are all the same.
	d.gate.Unseen = true
	out, _, status = d.types(t, "hosts revoke edge-3")
	is.Equal(status, 0)
	is.True(strings.HasPrefix(out, "host edge-3 is to be revoked: its tokens die within seconds, which you may not see\n"))
}

func TestShortNames(t *testing.T) {
	is := is.New(t)
	short := shortNames([]ports.JoinRequest{{Name: firstName}, {Name: secondName}, {Name: thirdName}, {Name: thirdName, Namespace: "zoo"}, {Name: "abc"}})
	is.Equal(short, map[string]string{firstName: "3b5c1f02a", secondName: "3b5c1f02b", thirdName: "9f86d081", "abc": "abc"})
}

func TestJoiningIsCompleted(t *testing.T) {
	d := newQueue(t)
	d.Put(t, ports.Target{Name: "old"}, nil, "")
	c := &completer{
		connect: func() (ports.Operator, error) { return d, nil }, gate: func() (ports.Gatekeeper, error) { return d.gate, nil },
		names: func(string) []string { return nil },
	}
	for line, answer := range map[string]string{
		"registration ":                 "config\tprint the agent's configuration with which hosts join\n:4\n",
		"registration config ":          "field\tManual, 0 hosts\n:4\n",
		"approve ":                      "3b5c1f02a\tedge-1, ABC 1, WaitingForApproval\n3b5c1f02b\n9f86d081\tedge-3, Approved\n:4\n",
		"deny 3b5c1f02a 3":              "3b5c1f02b\n:4\n",
		"approve 3b5c1f02a --replaces ": "old\n:4\n",
		"hosts revoke ":                 "old\n:4\n",
		"hosts --tls-server-name ":      ":4\n",
	} {
		t.Run(line, func(t *testing.T) { is.New(t).Equal(completes(t, c, line), answer) })
	}
}

func TestRequestsAreWatched(t *testing.T) {
	is := is.New(t)
	d := newQueue(t)
	var out bytes.Buffer
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	g := newRequestGrid(world{out: &out, now: func() time.Time { return noon }}, false, false)
	before, err := d.gate.Requests(ctx, ports.RequestSelection{})
	is.NoErr(err)
	g.short = shortNames(before)
	end := d.gate
	seen := 0
	err = watchRequests(ctx, following{end, func() {
		switch seen++; seen {
		case len(before):
			end.Withdraw(t, firstName)
			end.Answer(t, secondName, "edge-2", condition("Admitted", core.True, core.ReasonApproved, "welcome", 1))
		case len(before) + 2:
			cancel()
		}
	}}, ports.RequestSelection{}, g, before)
	var ended cli.ExitCoder
	is.True(errors.As(err, &ended))
	is.Equal(ended.ExitCode(), exitInterrupted)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	is.Equal(len(lines), 1+len(before)+2) // What stands as it was shown is not shown again.
	is.True(strings.Contains(out.String(), "3b5c1f02b   -          -        field          Approved             edge-2"))
	is.True(strings.Contains(out.String(), "3b5c1f02a   edge-1     ABC 1    field          Deleted "))
}

// following is a gatekeeper that does something after each sight.
type following struct {
	*portstest.Gatekeeper
	then func()
}

func (f following) FollowRequests(ctx context.Context, selection ports.RequestSelection, seen func(ports.JoinRequest) bool) error {
	return f.Gatekeeper.FollowRequests(ctx, selection, func(r ports.JoinRequest) bool { defer f.then(); return seen(r) })
}
