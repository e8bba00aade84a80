package cli

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"
	"github.com/urfave/cli/v2"

	"elemental/core"
	"elemental/ports"
	"elemental/ports/portstest"
)

// answeredHost is a host whose agent has answered for what is asked of it.
func answeredHost(name string, version core.Condition, ready core.ConditionStatus) ports.Target {
	version.Type, version.Generation = core.OSVersionReady, 1
	return ports.Target{Name: name, Created: noon.Add(-time.Hour), Plugin: "image", Standing: core.Standing{
		Phase: core.PhaseRunning, Conditions: []core.Condition{
			version, condition(core.Ready, ready, version.Reason, version.Message, 1),
		},
	}}
}

func runningHost(name string) ports.Target {
	h := answeredHost(name, condition("", core.True, core.ReasonApplied, "the host runs os:1", 1), core.True)
	h.Outcome, h.OSVersion.Booted = core.OutcomeApplied, core.Version{Reference: "oci://r/os:1", Digest: "sha256:0123456789abcdef", Version: "v1"}
	h.OSVersion.Outcome = h.Outcome
	return h
}

func fallenHost(name string) ports.Target {
	h := answeredHost(name, condition("", core.False, core.ReasonRolledBack, "the boot loader fell back from os:2 to os:1", 1), core.False)
	h.Outcome, h.OSVersion.Booted = core.OutcomeRolledBack, core.Version{Version: "v1"}
	h.OSVersion.Outcome = h.Outcome
	return h
}

func workingHost(name string) ports.Target {
	h := answeredHost(name, condition("", core.False, core.ReasonWaitingForOSReconcile, "it is being staged", 1), core.False)
	h.Phase, h.Outcome = core.PhaseReconcilingOSVersion, core.OutcomeApplying
	h.OSVersion.Progress = ports.Progress{Step: "Fetching", Percent: 40}
	return h
}

func TestHostsUsage(t *testing.T) {
	d := &desk{Operator: &portstest.Operator{}}
	for line, message := range map[string]string{
		"hosts -o xml":                 `--output "xml" is none of table, wide, json, yaml, name`,
		"hosts --sort-by weight":       `--sort-by "weight" is none of name, age, phase, ready, version`,
		"hosts a -l site=north":        "named or selected, and not both",
		"hosts a --field-selector x=y": "named or selected, and not both",
		"hosts a -A":                   "a name says nothing in all namespaces",
		"hosts describe":               "needs one argument",
		"host describe a b":            "needs one argument",
		"retry":                        "needs to know which hosts",
		"retry a -l site=north":        "named or selected, and not both",
		"retry a --wait --timeout 0s":  "--timeout must be more than nothing",
	} {
		t.Run(line, func(t *testing.T) {
			_, errs, status := d.types(t, line)
			t.Log(errs)
			is.New(t).Equal(status, exitUsage)
			is.New(t).True(strings.Contains(errs, message))
		})
	}
}

// A selector that can't be read was typed wrongly, though only the cluster's own words say so.
func TestSelectorsThatCantBeRead(t *testing.T) {
	for _, line := range []string{"hosts -l site", "retry -l site", "upgrade host -l site --image oci://my-registry/my-image:v2"} {
		t.Run(line, func(t *testing.T) {
			d := &desk{Operator: &portstest.Operator{}}
			d.Put(t, ports.Target{Standing: core.Standing{Kind: core.KindHost}, Name: "a"}, nil, "")
			_, errs, status := d.types(t, line)
			is.New(t).Equal(status, exitUsage)
			is.New(t).True(strings.Contains(errs, `label selector "site"`) && strings.Contains(errs, "--help"))
		})
	}
}

func TestHostsSelected(t *testing.T) {
	is := is.New(t)
	d := &desk{Operator: &portstest.Operator{}}
	for _, name := range []string{"a", "b", "c"} {
		d.Put(t, runningHost(name), map[string]string{"site": "of-" + name}, "")
	}
	for line, want := range map[string]string{
		"hosts -o name":              "a b c",
		"hosts c a -o name":          "a c",
		"hosts b -o name":            "b",
		"host -o name":               "a b c",
		"hosts -o name -l site=of-b": "b",
		"hosts -o name --field-selector metadata.name=c": "c",
		"hosts -o name --selector site=nowhere":          "",
	} {
		out, _, status := d.types(t, line)
		is.Equal(status, 0)
		is.Equal(strings.Join(strings.Fields(strings.ReplaceAll(out, resourceName, "")), " "), want)
	}
	_, errs, status := d.types(t, "hosts nobody")
	is.Equal(status, 1)
	is.True(strings.Contains(errs, "nobody: not found"))
	_, errs, status = d.types(t, "hosts -l site=nowhere")
	is.Equal(status, 0)
	is.Equal(errs, "There are no hosts.\n")
}

func TestHostsSorted(t *testing.T) {
	is := is.New(t)
	d := &desk{Operator: &portstest.Operator{}}
	for i, h := range []ports.Target{workingHost("a"), runningHost("b"), fallenHost("c"), {Name: "d"}} {
		h.Created = noon.Add(time.Duration(-i*7%5) * time.Hour) // a 0, b 2, c 4, d 1
		h.OSVersion.Booted.Version = []string{"v1.10.0", "v1.9.2", "v1.9.10", ""}[i]
		d.Put(t, h, nil, "")
	}
	for order, want := range map[string]string{
		"name": "a b c d", "age": "c b d a", "phase": "d b c a", "ready": "a c d b", "version": "d b c a",
	} {
		out, _, status := d.types(t, "hosts -o name --sort-by "+order)
		is.Equal(status, 0)
		t.Log(order)
		is.Equal(strings.Join(strings.Fields(strings.ReplaceAll(out, resourceName, "")), " "), want)
	}
}

func TestVersionsCompareAsPeopleDo(t *testing.T) {
	is := is.New(t)
	sorted := []string{"", "12 SP5", "12 SP10", "v1.2", "v1.2.3", "v1.10", "v01.11", "v2", "vx"}
	for i, a := range sorted {
		for j, b := range sorted {
			is.Equal(compareVersions(a, b), cmp.Compare(i, j))
		}
	}
}

func TestHostsTable(t *testing.T) {
	is := is.New(t)
	d := &desk{Operator: &portstest.Operator{}}
	d.Put(t, workingHost("a"), nil, "")
	stale := runningHost("b")
	d.Put(t, stale, nil, `{"osVersion":{"imageUri":"oci://r/os:1"}}`)
	d.Change(t, "b", func(h *ports.Target) { h.Generation = 2 })
	wide := runningHost("c")
	wide.Machine, wide.Plugin, wide.System.AgentVersion = "machine-c", "image", "v0.1.0"
	wide.OSVersion.Last = noon.Add(-10 * time.Minute)
	d.Put(t, wide, nil, "")
	out, _, status := d.types(t, "hosts")
	is.Equal(status, 0)
	is.Equal(strings.Split(out, "\n"), []string{
		"NAME   PHASE                    READY     VERSION   OUTCOME    MESSAGE                                            AGE",
		"a      Reconciling OS Version   False     -         Applying   it is being staged                                 60m",
		"b      Running                  Unknown   v1        Applied    its agent has not yet answered for what is asked   60m",
		"c      Running                  True      v1        Applied    the host runs os:1                                 60m",
		"",
	})
	out, _, _ = d.types(t, "hosts c -o wide")
	is.Equal(strings.Split(out, "\n"), []string{
		"NAME   PHASE     READY   VERSION   OUTCOME   DIGEST                    MACHINE     PLUGIN   AGENT    PROGRESS   LAST-ATTEMPT   MESSAGE              AGE",
		"c      Running   True    v1        Applied   sha256:0123456789abcdef   machine-c   image    v0.1.0   -          10m            the host runs os:1   60m",
		"",
	})
}

func TestHostsOnTerminal(t *testing.T) {
	is := is.New(t)
	var out bytes.Buffer
	hosts := []ports.Target{workingHost("a"), runningHost("my-elemental-host"), fallenHost("c")}
	hosts[2].Conditions[1].Message = strings.Repeat("世界 and words ", 40)
	for _, width := range []int{40, 80, 120, 200} {
		out.Reset()
		is.NoErr(show(world{out: &out, now: func() time.Time { return noon }, terminal: width}, view{output: outputTable}, hosts))
		t.Logf("\n%s", out.String())
		for line := range strings.Lines(out.String()) {
			is.True(strings.Contains(out.String(), "my-elemental-host")) // names stay whole
			if width > 60 {
				is.True(widthIn(strings.TrimSuffix(line, "\n")) <= width)
			}
		}
		is.Equal(strings.Contains(out.String(), "OUTCOME"), width > 120) // what can be spared goes before the message
	}
	out.Reset()
	is.NoErr(show(world{out: &out, now: func() time.Time { return noon }, terminal: 40}, view{output: outputWide}, hosts))
	is.True(strings.Contains(out.String(), strings.TrimSpace(hosts[2].Conditions[1].Message))) // wide shortens nothing
}

func TestHostsSummary(t *testing.T) {
	is := is.New(t)
	var hosts []ports.Target
	for i := range 34 {
		hosts = append(hosts, runningHost(fmt.Sprintf("host-%02d", i)))
	}
	hosts = append(hosts, workingHost("w1"), workingHost("w2"), fallenHost("f"))
	for i := range hosts {
		hosts[i].Generation = 1
	}
	shown := func(hosts []ports.Target, terminal int) string {
		var out bytes.Buffer
		is.NoErr(show(world{out: &out, now: time.Now, terminal: terminal}, view{output: outputTable}, hosts))
		return out.String()
	}
	const words = "37 hosts: 34 ready, 2 updating, 1 rolled back\n"
	is.True(strings.HasSuffix(shown(hosts, 100), words))
	is.True(!strings.Contains(shown(hosts, 0), "hosts:"))        // programs read lines
	is.True(!strings.Contains(shown(hosts[:10], 100), "hosts:")) // anyone sees that at a glance
}

func TestHostsColours(t *testing.T) {
	is := is.New(t)
	var out bytes.Buffer
	hosts := []ports.Target{workingHost("a"), runningHost("b"), fallenHost("c"), {Name: "d", Standing: core.Standing{Phase: "\033[31mred"}}}
	is.NoErr(show(world{out: &out, now: time.Now, terminal: 150, colours: true}, view{output: outputTable}, hosts))
	lines := strings.Split(out.String(), "\n")
	for i, colour := range []string{"", "\033[33m", "\033[32m", "\033[31m", ""} {
		is.Equal(strings.Contains(lines[i], "\033["), colour != "")
		is.True(strings.Contains(lines[i], colour))
	}
	plainly := strings.NewReplacer("\033[33m", "", "\033[32m", "", "\033[31m", "", "\033[0m", "").Replace(out.String())
	out.Reset()
	is.NoErr(show(world{out: &out, now: time.Now, terminal: 150}, view{output: outputTable}, hosts))
	is.Equal(out.String(), plainly) // colours move nothing

	environment := map[string]string{}
	get := func(name string) string { return environment[name] }
	is.True(coloured(80, get))
	is.True(!coloured(0, get))
	environment["NO_COLOR"] = "1"
	is.True(!coloured(80, get))
	environment["NO_COLOR"], environment["TERM"] = "", "dumb"
	is.True(!coloured(80, get))
}

func TestHostsWithoutHeaders(t *testing.T) {
	is := is.New(t)
	d := &desk{Operator: &portstest.Operator{}}
	d.Put(t, runningHost("a"), nil, "")
	out, _, _ := d.types(t, "hosts --no-headers")
	is.Equal(out, "a   Running   True   v1   Applied   the host runs os:1   60m\n")
}

// BenchmarkHosts shows ten thousand hosts, of which every tenth is in trouble.
func BenchmarkHosts(b *testing.B) {
	const many = 10_000
	var hosts []ports.Target
	for i := range many {
		h := runningHost(fmt.Sprintf("host-%05d", i))
		if i%10 == 0 {
			h = fallenHost(h.Name)
		}
		h.Generation = 1
		h.Object = fmt.Appendf(nil, `{"apiVersion":"infrastructure.cluster.x-k8s.io/v1beta1","kind":"ElementalHost","metadata":{"name":%q,"labels":{"site":"north"}},`+
			`"spec":{"osVersionManagement":{"osVersion":{"imageUri":"oci://r/os:1"}}},"status":{"conditions":[{"type":"Ready","status":"True","observedGeneration":1,"message":%q}]}}`,
			h.Name, strings.Repeat("words ", 20))
		hosts = append(hosts, h)
	}
	for _, output := range outputs() {
		b.Run(output, func(b *testing.B) {
			for b.Loop() {
				if err := show(world{out: io.Discard, now: time.Now, terminal: 120, colours: true}, view{output: output}, hosts); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(many), "hosts")
		})
	}
}

// ended is the status that an error ends the program with.
func ended(err error) int {
	var named cli.ExitCoder
	if errors.As(err, &named) {
		return named.ExitCode()
	}
	return 1
}

func TestHostsOfWhichSomeAreMissing(t *testing.T) {
	is := is.New(t)
	d := &desk{Operator: &portstest.Operator{}}
	d.Put(t, ports.Target{Name: "there"}, nil, "")
	out, errs, status := d.types(t, "hosts nobody there -o name")
	is.Equal(out, resourceName+"there\n")
	is.True(strings.Contains(errs, "default/nobody"))
	is.Equal(status, 1)
	out, _, status = d.types(t, "hosts nobody there --watch")
	is.Equal(out, "")
	is.Equal(status, 1)
	for _, asks := range []string{"upgrade host nobody there --image i", "retry nobody there"} {
		out, errs, status = d.types(t, asks)
		is.Equal(out, "")
		is.True(strings.Contains(errs, "default/nobody"))
		is.Equal(status, 1) // and nobody was asked
	}
	is.Equal(d.Document(t, core.KindHost, "there"), "")
}
