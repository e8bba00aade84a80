package cli

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"elemental/core"
	"elemental/ports"
	"elemental/ports/portstest"
)

func TestDescribeReadyHost(t *testing.T) {
	is := is.New(t)
	d := &desk{Operator: &portstest.Operator{}}
	h := runningHost("a")
	h.System = ports.Facts{BootID: "11-22", OSImage: "Acme OS 1", KernelVersion: "6.1.0", Architecture: "amd64", AgentVersion: "v0.1.0"}
	h.OSVersion.Previous = core.Version{Reference: "oci://r/os:0"}
	d.Put(t, h, nil, `{"osVersion":{"imageUri":"oci://r/os:1"}}`)
	out, errs, status := d.types(t, "host describe a")
	is.Equal(status, 0)
	is.Equal(errs, "")
	is.Equal(out, `default/a
  Age             60m

What runs
  Version         v1
  Reference       oci://r/os:1
  Digest          sha256:0123456789abcdef
  Since boot      11-22
  OS image        Acme OS 1
  Kernel          6.1.0 amd64
  Agent           v0.1.0
  Plugin          image
  Previous        oci://r/os:0

What is asked
  It runs         yes
  osVersion:
    imageUri: oci://r/os:1

How it stands
  In short        ready: what is asked for runs, and the host is ready
  Phase           Running
  Ready           True
  Outcome         Applied

Conditions
  OSVersionReady      True     -     Applied
                      the host runs os:1
  Ready               True     -     Applied
                      the host runs os:1

What happened
  Nothing         the cluster remembers events for about an hour

What to do
  Nothing.
`)
}

func TestDescribeFailedHost(t *testing.T) {
	is := is.New(t)
	d := &desk{Operator: &portstest.Operator{}}
	h := answeredHost("a", condition("", core.False, core.ReasonReconciliationFailed, "no \033[31mroom", 1), core.False)
	h.Outcome, h.Again, h.Machine, h.Bootstrapped, h.Label, h.Armed = core.OutcomeFailed, true, "m", true, core.LabelPending, true
	h.OSVersion = ports.OSVersionStatus{
		Attempts: 2, Last: noon.Add(-time.Minute), Next: noon.Add(90 * time.Second), Progress: ports.Progress{Step: "Fetching", Percent: 7, Message: "of 8 MB"},
		Failure: core.Failure{Class: core.FailureRetryable, Reason: "NoRoom", Message: "no\nroom", Path: "osVersion"}, Staged: core.Version{Version: "v2"},
	}
	d.Put(t, h, nil, `{"text":"`+"\u202e"+`odd","n":1}`)
	for i := range 12 {
		d.Happen(t, "a", ports.Event{Last: noon.Add(time.Duration(i-12) * time.Minute), Count: i + 1, Warning: i%2 == 0, Reason: "Tried", Message: fmt.Sprintf("try %d\033[0m", i)})
	}
	out, _, status := d.types(t, "hosts describe a")
	t.Log(out)
	is.Equal(status, 0)
	for _, part := range []string{
		"Machine         m\n", "Node            yes; in-place-update: pending\n", "Not known       the host's agent has not reported it yet\n", "Staged          v2\n",
		"It runs         no: OSVersionReconciliationFailed\n  \"n\": 1\n  text:", "In short        trying again: the last attempt failed, and another follows\n",
		"Progress        Fetching 7% of 8 MB\n", "Attempts        2, the last 60s ago\n", "Next attempt    in 90s, at 2030-01-02T12:01:30Z\n",
		"Failure         retryable, NoRoom, osVersion: no room\n", "OSVersionReconciliationFailed\n                      no [31mroom\n",
		"…               2 earlier events\n  10m ago         Warning Tried: try 2 [0m (3 times)\n  9m ago          Tried: try 3 [0m (4 times)\n",
		"What to do\n  Nothing, if the message above says enough: it is tried again at 2030-01-02T12:01:30Z.\n  To have it tried at once:\n    elemental retry a -n default\n",
	} {
		if !strings.Contains(out, part) {
			t.Errorf("the page lacks %q", part)
		}
	}
	is.True(!strings.ContainsAny(out, "\033\u202e\r")) // nothing of what a host says moves a terminal
	is.True(strings.Index(out, "try 10") < strings.Index(out, "try 11"))
}

func TestDescribeShowsWhatItMay(t *testing.T) {
	is := is.New(t)
	var out bytes.Buffer
	p := &page{host: ports.Target{Namespace: "field", Name: "new"}, now: noon}
	p.runs()
	p.asked()
	p.happened(nil, errors.New("reading the events of host field/new: denied"))
	p.next()
	out.Write(p.text.Bytes())
	for _, part := range []string{"the host's agent has not reported it yet", "Nothing         the host keeps what it runs", "Not readable    reading the events", "kubectl get pods"} {
		is.True(strings.Contains(out.String(), part))
	}
	is.Equal(transitions([]byte(`{"status":{"conditions":[{"type":"Ready","lastTransitionTime":"2030-01-02T11:00:00Z"}]}}`))["Ready"], noon.Add(-time.Hour))
	is.Equal(len(transitions([]byte("no JSON"))), 0)
	_, errs, status := (&desk{Operator: &portstest.Operator{}}).types(t, "hosts describe nobody")
	is.Equal(status, 1)
	is.True(strings.Contains(errs, "nobody: not found"))
}

func TestDescribeFitsTheTerminal(t *testing.T) {
	is := is.New(t)
	h := fallenHost("a")
	h.Conditions[0].Message = strings.Repeat("words 世界 ", 50)
	p := &page{host: h, now: noon, width: 60, palette: true}
	p.stands()
	text := strings.NewReplacer("\033[31m", "", "\033[1m", "", "\033[0m", "").Replace(p.text.String())
	is.True(strings.Contains(p.text.String(), "\033[31mrolled back\033[0m: the boot loader"))
	for line := range strings.Lines(text) {
		t.Log(line)
		is.True(widthIn(strings.TrimSuffix(line, "\n")) <= 60)
	}
	is.Equal(strings.Count(text, "世界"), 50)
}
