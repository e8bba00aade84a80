package cli

import (
	"fmt"
	"strings"
	"testing"

	"github.com/matryer/is"

	"elemental/core"
	"elemental/ports"
	"elemental/ports/portstest"
)

func TestDryRun(t *testing.T) {
	is := is.New(t)
	d := &desk{Operator: &portstest.Operator{}}
	connected := []core.Condition{condition(core.AgentConnected, core.True, "Connected", "", 1)}
	silent := []core.Condition{condition(core.AgentConnected, core.Unknown, "NotSeen", "its lease ended 5 minutes ago", 1)}
	document := `{"osVersion":{"imageUri":"oci://r/os:1"}}`
	d.Put(t, ports.Target{Name: "a", Schema: []byte(imageSchema), Standing: core.Standing{Conditions: connected}}, nil, document)
	d.Put(t, ports.Target{Name: "b", Schema: []byte(imageSchema), Standing: core.Standing{Conditions: connected}}, nil, `{"osVersion":{"imageUri":"oci://r/os:2"}}`)
	d.Put(t, ports.Target{Name: "c", Standing: core.Standing{Conditions: silent}}, nil, "")
	d.Put(t, ports.Target{Name: "d", Schema: []byte(`{"$ref":"https://elsewhere"}`), Bootstrapped: true}, nil, document)
	d.Put(t, ports.Target{Name: "e", Schema: []byte(imageSchema), Standing: core.Standing{Conditions: connected}}, nil, `{"osVersion":{"imageUri":"oci://r/os:1"},"old":1}`)

	out, errs, status := d.types(t, "upgrade host a --image r/os:2 --dry-run")
	is.Equal(status, 0)
	is.Equal(out+errs, "host default/a would be asked for oci://r/os:2 (now oci://r/os:1)\n")

	out, errs, status = d.types(t, "upgrade host a b c d e --image r/os:2 --dry-run=server --wait --parallel 1")
	is.Equal(status, exitFailed)
	t.Log(errs)
	reading := "reading the schema"
	is.Equal(strings.Split(strings.ReplaceAll(out, lineWith(out, reading), "…"), "\n"), []string{
		"5 hosts",
		"host default/a would be asked for oci://r/os:2 (now oci://r/os:1)",
		"host default/b: no change, it is already asked for oci://r/os:2",
		"host default/c would be asked for oci://r/os:2 (now nothing)",
		"  not checked: host c has published no schema of its plugin",
		"  its agent is not connected: its lease ended 5 minutes ago",
		"host default/d would be asked for oci://r/os:2 (now oci://r/os:1)",
		"…",
		"  its agent has not been seen yet",
		"  host d is a node of a cluster: it would have to be drained and armed: kubectl label elementalhost -n default d --overwrite elementalhost.infrastructure.cluster.x-k8s.io/in-place-update=pending",
		"host default/e: invalid: old: there is no such field; there are: osVersion",
		"3 would be asked, 1 would not change, 1 invalid, 0 refused; nothing was changed",
		"",
	})
	is.True(strings.HasPrefix(lineWith(out, reading), "  not checked: reading the schema: "))
	is.Equal(d.Document(t, core.KindHost, "a"), document) // nothing has changed

	d.in = "packages: {install: [vim], token: secret}"
	out, _, _ = d.types(t, "upgrade host c -f - --dry-run")
	is.True(strings.HasPrefix(out, "host default/c would be asked for packages.install, packages.token (now nothing), which changes packages.install, packages.token\n"))
	d.in = "{osVersion: {imageUri: 'oci://r/os:1', debug: true}}"
	out, _, _ = d.types(t, "upgrade host a -f - --dry-run")
	is.Equal(out, "host default/a would be asked for oci://r/os:1 with osVersion.debug (now oci://r/os:1), which changes osVersion.debug\n")

	d.in = "osVersion: {imageUrl: r/os:2}"
	out, _, status = d.types(t, "upgrade host a -f - --dry-run")
	is.Equal(status, exitFailed)
	is.Equal(out, "host default/a: invalid: osVersion.imageUrl: there is no such field; did you mean imageUri?\n")
	is.Equal(d.Document(t, core.KindHost, "a"), document)
}

// lineWith is the line that says something.
func lineWith(text, words string) string {
	for line := range strings.Lines(text) {
		if strings.Contains(line, words) {
			return strings.TrimSuffix(line, "\n")
		}
	}
	return "no line with " + words
}

func TestDryRunOfMachines(t *testing.T) {
	is := is.New(t)
	d := &desk{Operator: &portstest.Operator{}}
	d.Put(t, ports.Target{Name: "node", Machine: "m", Bootstrapped: true, Schema: []byte(imageSchema)}, nil, "")
	d.Put(t, ports.Target{Name: "m", Host: "node", Standing: core.Standing{Kind: core.KindMachine}}, nil, "")
	d.Put(t, ports.Target{Name: "lost", Host: "gone", Standing: core.Standing{Kind: core.KindMachine}}, nil, "")
	d.Put(t, ports.Target{Name: "new", Standing: core.Standing{Kind: core.KindMachine}}, nil, "")
	out, _, status := d.types(t, "upgrade machine --all --image r/os:2 --dry-run")
	is.Equal(status, 0)
	is.Equal(strings.Split(out, "\n"), []string{
		"3 machines",
		"machine default/lost would be asked for oci://r/os:2 (now nothing)",
		"  not checked: there is no host gone",
		"machine default/m would be asked for oci://r/os:2 (now nothing)",
		"  its agent has not been seen yet",
		"  host node is a node of a cluster: it would have to be drained and armed: kubectl label elementalhost -n default node --overwrite elementalhost.infrastructure.cluster.x-k8s.io/in-place-update=pending",
		"machine default/new would be asked for oci://r/os:2 (now nothing)",
		"  not checked: no host serves it yet",
		"3 would be asked, 0 would not change, 0 invalid, 0 refused; nothing was changed",
		"",
	})
	_, _, status = d.types(t, "upgrade host node --image r/os:2 --dry-run")
	is.Equal(status, exitMachine)
}

func TestDryRunThatIsRefused(t *testing.T) {
	is := is.New(t)
	f := newFleet(t, "a", "b")
	f.deny = map[string]error{"b": fmt.Errorf("asking host default/b: a policy is against it: %w", ports.ErrDenied)}
	out, errs, status := f.upgrade(t.Context(), func(u *upgrade) { u.dry = true })
	is.Equal(status, exitUnasked)
	is.Equal(errs, "")
	is.True(strings.Contains(out, "\nhost default/b: refused: asking host default/b: a policy is against it: denied\n"))
	is.True(strings.Contains(out, "1 would be asked, 0 would not change, 0 invalid, 1 refused"))
}
