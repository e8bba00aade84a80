package cli

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/matryer/is"

	"elemental/core"
	"elemental/ports"
	"elemental/ports/portstest"
)

// imageSchema is as strict as the schemas of real plugins are.
const imageSchema = `{"type":"object","additionalProperties":false,"properties":{"osVersion":{"type":"object","additionalProperties":false,
	"required":["imageUri"],"properties":{"imageUri":{"type":"string","maxLength":40},"debug":{"type":"boolean"}}}}}`

func TestUpgradeAsks(t *testing.T) {
	is := is.New(t)
	d := &desk{Operator: &portstest.Operator{}}
	d.Put(t, ports.Target{Name: "a"}, nil, `{"osVersion":{"imageUri":"oci://r/os:1","debug":true}}`)
	out, errs, status := d.types(t, "upgrade host a --image r/os:2 -n field --context x --kubeconfig /k")
	is.Equal(status, 0)
	is.Equal(out, "host default/a is asked for oci://r/os:2\n")
	is.Equal(errs, "")
	is.Equal(d.Document(t, core.KindHost, "a"), `{"osVersion":{"debug":true,"imageUri":"oci://r/os:2"}}`)
	out, _, status = d.types(t, "upgrade host --image oci://r/os:2 --namespace field a")
	is.Equal(status, 0)
	is.Equal(out, "host default/a is already asked for oci://r/os:2\n")
}

func TestUpgradeAsksForDocument(t *testing.T) {
	is := is.New(t)
	d := &desk{Operator: &portstest.Operator{}}
	d.Put(t, ports.Target{Name: "a"}, nil, `{"osVersion":{"imageUri":"oci://r/os:1","debug":true}}`)
	d.in = "packages:\n  install: [vim]\n"
	out, errs, status := d.types(t, "upgrade host a -f -")
	is.Equal(status, 0)
	is.Equal(out+errs, "host default/a is asked for packages.install\n")
	is.Equal(d.Document(t, core.KindHost, "a"), `{"packages":{"install":["vim"]}}`)

	file := t.TempDir() + "/os.json"
	is.NoErr(os.WriteFile(file, []byte(`{"osVersion": {"imageUri": "oci://r/os:3"}}`), 0o600))
	out, _, status = d.types(t, "upgrade host a --filename "+file)
	is.Equal(status, 0)
	is.Equal(out, "host default/a is asked for oci://r/os:3\n")

	d.in = "{}"
	out, _, status = d.types(t, "upgrade host a -f -")
	is.Equal(status, 0)
	is.Equal(out, "host default/a is asked for nothing\n")
}

func TestUpgradeAsksSeveral(t *testing.T) {
	is := is.New(t)
	d := &desk{Operator: &portstest.Operator{}}
	for _, name := range []string{"c", "a", "b"} {
		d.Put(t, ports.Target{Name: name}, map[string]string{"site": map[bool]string{true: "north", false: "south"}[name != "b"]}, "")
	}
	_, errs, status := d.types(t, "upgrade host a nobody --image r/os:2")
	is.Equal(status, exitUnasked)
	is.True(strings.Contains(errs, "nobody"))
	is.Equal(d.Document(t, core.KindHost, "a"), "") // all are looked up before anything is asked

	out, _, status := d.types(t, "upgrade host -l site=north --image r/os:2")
	is.Equal(status, 0)
	is.True(strings.HasPrefix(out, "2 hosts\n"))
	is.True(strings.Contains(out, "host default/a is asked for") && strings.Contains(out, "host default/c is asked for"))
	is.Equal(d.Document(t, core.KindHost, "b"), "")

	out, _, status = d.types(t, "upgrade host b a b --image r/os:2")
	is.Equal(status, 0)
	is.True(strings.HasPrefix(out, "2 hosts\n"))

	out, _, status = d.types(t, "upgrade host --all --image r/os:3")
	is.Equal(status, 0)
	is.True(strings.HasPrefix(out, "3 hosts\n"))
	for _, name := range []string{"a", "b", "c"} {
		is.Equal(d.Document(t, core.KindHost, name), `{"osVersion":{"imageUri":"oci://r/os:3"}}`)
	}

	_, errs, status = d.types(t, "upgrade host -l site=west --image r/os:2")
	is.Equal(status, exitUnasked)
	is.Equal(errs, "no host of this namespace has the labels site=west: nothing was asked\n")
	_, errs, status = d.types(t, "upgrade machine --all --image r/os:2")
	is.Equal(status, exitUnasked)
	is.Equal(errs, "there are no machines in this namespace: nothing was asked\n")
}

func TestUpgradeOfNodes(t *testing.T) {
	is := is.New(t)
	d := &desk{Operator: &portstest.Operator{}}
	d.Put(t, ports.Target{Name: "served", Machine: "machine-1", Bootstrapped: true}, nil, "")
	d.Put(t, ports.Target{Name: "served-too", Machine: "machine-2", Bootstrapped: true}, nil, "")
	d.Put(t, ports.Target{Name: "node", Bootstrapped: true}, nil, "")
	d.Put(t, ports.Target{Name: "other", Bootstrapped: true}, nil, "")
	d.Put(t, ports.Target{Name: "armed", Bootstrapped: true, Standing: core.Standing{Label: core.LabelPending}}, nil, "")

	_, errs, status := d.types(t, "upgrade host served --image r/os:2")
	is.Equal(status, exitMachine)
	is.True(strings.Contains(errs, "elemental upgrade machine -n default machine-1 --image oci://r/os:2"))
	is.Equal(d.Document(t, core.KindHost, "served"), "") // nothing was asked of it

	d.in = "{}"
	_, errs, status = d.types(t, "upgrade host --all -f -")
	is.Equal(status, exitMachine)
	is.True(strings.Contains(errs, "elemental upgrade machine -n default machine-1 machine-2 --filename -"))
	is.Equal(d.Document(t, core.KindHost, "armed"), "") // nor of the others

	_, errs, status = d.types(t, "upgrade host node --image r/os:2")
	is.Equal(status, 0)
	is.True(strings.Contains(errs, "kubectl label elementalhost -n default node --overwrite elementalhost.infrastructure.cluster.x-k8s.io/in-place-update=pending"))
	_, errs, _ = d.types(t, "upgrade host armed node other --image r/os:2")
	is.True(strings.Contains(errs, "2 hosts are nodes"))
	is.True(strings.Contains(errs, "kubectl label elementalhost -n default node other --overwrite"))

	_, errs, status = d.types(t, "upgrade host armed --image r/os:2")
	is.Equal(status, 0)
	is.Equal(errs, "")
}

func TestUpgradeOfMachines(t *testing.T) {
	is := is.New(t)
	d := &desk{Operator: &portstest.Operator{}}
	d.Put(t, ports.Target{Name: "node", Machine: "m", Bootstrapped: true, Schema: []byte(imageSchema)}, nil, "")
	d.Put(t, ports.Target{Name: "m", Host: "node", Standing: core.Standing{Kind: core.KindMachine, Conditions: ready(core.KindMachine, 2)}}, nil, "")
	d.Put(t, ports.Target{Name: "hostless", Standing: core.Standing{Kind: core.KindMachine}}, nil, "")
	out, errs, status := d.types(t, "upgrade machine m --image r/os:2 --wait")
	is.Equal(status, 0)
	is.Equal(out, "machine default/m is asked for oci://r/os:2\nmachine default/m is ready: it runs\n")
	is.True(strings.HasPrefix(errs, "Host node is a node of a cluster"))
	is.True(strings.Contains(errs, "kubectl label elementalhost -n default node --overwrite"))
	is.Equal(d.Document(t, core.KindMachine, "m"), `{"osVersion":{"imageUri":"oci://r/os:2"}}`)

	_, errs, status = d.types(t, "upgrade machine m --image r/"+strings.Repeat("long", 20))
	is.Equal(status, exitFailed) // by the schema of its host
	is.True(strings.Contains(errs, "machine default/m: osVersion.imageUri: "))
	_, errs, status = d.types(t, "upgrade machine hostless --image r/os:2")
	is.Equal(status, 0)
	is.Equal(errs, "")
}

// ready are the conditions of who runs what was asked for at a generation.
func ready(kind core.Kind, generation int64) []core.Condition {
	voice := core.OSVersionReady
	if kind == core.KindMachine {
		voice = core.HostReady
	}
	return []core.Condition{
		condition(voice, core.True, core.ReasonApplied, "it runs", generation), condition(core.Ready, core.True, core.ReasonHostReady, "it runs", generation),
	}
}

func TestUpgradeIsRefusedBySchema(t *testing.T) {
	is := is.New(t)
	d := &desk{Operator: &portstest.Operator{}, in: "osVersion:\n  imageUrl: r/os:2\n"}
	d.Put(t, ports.Target{Name: "a", Schema: []byte(imageSchema)}, nil, "")
	d.Put(t, ports.Target{Name: "b", Schema: []byte(imageSchema)}, nil, `{"osVersion":{"debug":"yes"}}`)
	d.Put(t, ports.Target{Name: "free"}, nil, "")
	d.Put(t, ports.Target{Name: "odd", Schema: []byte(`{"type":7}`)}, nil, "")
	_, errs, status := d.types(t, "upgrade host a -f -")
	is.Equal(status, exitFailed)
	is.Equal(errs, "host default/a: osVersion.imageUrl: there is no such field; did you mean imageUri?: nothing was asked; --validate=false leaves the checking to the hosts\n")
	_, errs, status = d.types(t, "upgrade host a b free --image r/os:2") // what is there already counts too
	is.Equal(status, exitFailed)
	is.True(strings.HasPrefix(errs, "host default/b: osVersion.debug: "))
	_, errs, status = d.types(t, "upgrade host --all -f -")
	is.Equal(status, exitFailed)
	is.True(strings.Contains(errs, "what 2 of 4 would be asked for is not valid: "))
	for _, name := range []string{"a", "free", "odd"} {
		is.Equal(d.Document(t, core.KindHost, name), "") // all or nothing
	}
	_, errs, status = d.types(t, "upgrade host odd free -f -")
	is.Equal(status, 0)
	is.True(strings.Contains(errs, "host default/odd: what it is asked for is not checked: reading the schema"))
	_, errs, status = d.types(t, "upgrade host a -f - --validate=false")
	is.Equal(status, 0)
	is.Equal(errs, "")
	d.in = "{}"
	_, _, status = d.types(t, "upgrade host a -f -")
	is.Equal(status, 0) // nothing may always be asked for
}

func TestUpgradeUsage(t *testing.T) {
	d := &desk{Operator: &portstest.Operator{}, in: "[]"}
	for line, message := range map[string]string{
		"upgrade":                                     "elemental upgrade needs to know what",
		"upgrade a":                                   "elemental upgrade has no command",
		"upgrade host":                                "say which hosts to ask: by their names, by --selector, or by --all",
		"upgrade machine --image i":                   "say which machines to ask",
		"upgrade host a --all --image i":              "say in one way which hosts to ask",
		"upgrade host a -l b --image i":               "say in one way which hosts to ask",
		"upgrade host --selector= --image i":          "--selector is empty, which would be all",
		"upgrade host -A --image i":                   "a namespace at a time is asked",
		"upgrade host a":                              "--image says which image to ask for",
		"upgrade host a --image=":                     "--image says which image to ask for",
		"upgrade host a --image i -f -":               "--image and --filename both say what to ask for",
		"upgrade host a -f -":                         "reading the standard input: it must be an object",
		"upgrade host a -f /nowhere/os.yaml":          "/nowhere/os.yaml: no such file",
		"upgrade host a --imag i":                     "-imag",
		"upgrade host a --image i --timeout x":        `--timeout is "x": it must be a number with its unit`,
		"upgrade host a --image i --wait --timeout 0": "--timeout must be more than nothing",
		"upgrade host a --image i --parallel 0":       "--parallel 0 asks nobody",
		"upgrade host a --image i --dry-run=client":   "the cluster must speak",
		"upgrade host a --image i --dry-run=later":    `it must be "server" or "none"`,
	} {
		t.Run(line, func(t *testing.T) {
			is := is.New(t)
			_, errs, status := d.types(t, line)
			t.Log(errs)
			is.Equal(status, exitUsage)
			is.True(strings.Contains(errs, message))
		})
	}
}

func TestUpgradeWithoutCluster(t *testing.T) {
	is := is.New(t)
	d := &desk{Operator: &portstest.Operator{}}
	d.Put(t, ports.Target{Name: "a"}, nil, "")
	d.Error = fmt.Errorf("listing the hosts: %w", errors.Join(ports.ErrNotReady))
	_, errs, status := d.types(t, "upgrade host a --image r/os:2")
	is.Equal(status, exitUnasked)
	is.True(strings.HasPrefix(errs, "listing the hosts: "))
}

func TestImageOf(t *testing.T) {
	is := is.New(t)
	for _, whole := range []string{"oci://r/os:1", "oci-layout:/srv/os", "oci-archive:/srv/os.tar"} {
		image, err := imageOf(whole)
		is.NoErr(err)
		is.Equal(image, whole)
	}
	image, err := imageOf("registry:5000/os:1")
	is.NoErr(err)
	is.Equal(image, "oci://registry:5000/os:1")
	_, err = imageOf("oci://r/os:1\n")
	is.True(err != nil)
}

func TestWordsOf(t *testing.T) {
	is := is.New(t)
	for document, words := range map[string]string{
		"": "nothing", "null": "nothing", "{}": "nothing", "[1]": "what can't be read", "{": "what can't be read",
		`{"osVersion":{"imageUri":"oci://r/os:1"}}`:          "oci://r/os:1",
		`{"osVersion":{"imageUri":7,"debug":true}}`:          "osVersion.debug, osVersion.imageUri",
		`{"commands":[{"run":"login --password=secret"}]}`:   "commands",
		`{"a":{"b":{"c":1}},"d":{}}`:                         "a.b, d",
		`{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1}`:  "a, b, c, d, e and 3 more",
		`{"osVersion":{"imageUri":"oci://r/os:1"},"a":null}`: "oci://r/os:1 with a",
	} {
		is.Equal(wordsOf([]byte(document)), words)
	}
	is.Equal(differences([]byte(`{"a":{"b":1,"c":2}}`), []byte(`{"a":{"b":1.0,"d":2}}`)), "a.b, a.c, a.d")
	is.Equal(differences(nil, []byte(`{"a":1}`)), "a")
}

func TestValuesThatCannotBeMeant(t *testing.T) {
	d := &desk{Operator: &portstest.Operator{}}
	d.Put(t, ports.Target{Name: "a"}, nil, "")
	for given, says := range map[string]string{
		"--timeout 5":      `--timeout is "5": it must be a number with its unit, such as 90s, 30m or 2h`,
		"--parallel x":     `--parallel is "x": it must be a whole number`,
		"--wait=maybe":     `--wait is "maybe": it must be true or false`,
		"--dry-run=client": `invalid value "client" for --dry-run: the cluster must speak`,
	} {
		is := is.New(t)
		_, errs, status := d.types(t, "upgrade host a --image i "+given)
		t.Log(errs)
		is.Equal(status, exitUsage)
		is.True(strings.HasPrefix(errs, says))
	}
}
