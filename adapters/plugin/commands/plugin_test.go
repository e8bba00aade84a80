package commands

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/matryer/is"

	"elemental/core"
	"elemental/ports"
)

// bench is a host with a folder in which commands leave their marks.
type bench struct {
	*testing.T
	is     *is.I
	folder string
	work   string
	boot   string
	denied error
	checks time.Duration
	log    syncBuffer
	said   []ports.Progress
}

type syncBuffer struct {
	mutex sync.Mutex
	text  bytes.Buffer
}

func (b *syncBuffer) Write(text []byte) (int, error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.text.Write(text)
}

func (b *syncBuffer) String() string {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.text.String()
}

func newBench(t *testing.T) *bench {
	t.Helper()
	return &bench{T: t, is: is.New(t), folder: t.TempDir(), work: t.TempDir(), boot: "boot-1"}
}

// plugin is new for every call, as its process is.
func (b *bench) plugin() *Plugin {
	return New(Config{
		WorkDir: b.work, Allow: func() error { return b.denied }, Boot: func() (string, error) { return b.boot, nil }, Log: &b.log, Checks: b.checks,
	})
}

// request writes osVersionManagement; DIR in it is the folder of the marks.
func (b *bench) request(commands string) ports.Request {
	b.Helper()
	document := []byte(strings.ReplaceAll(`{"commands":`+commands+`}`, "DIR", b.folder))
	hash, err := core.HashRequest(document)
	b.is.NoErr(err)
	return ports.Request{Host: "my-host", OSVersion: document, Hash: hash}
}

func (b *bench) observe(request ports.Request) core.View {
	b.Helper()
	o, err := b.plugin().Observe(b.Context(), request)
	b.is.NoErr(err)
	b.is.True(o.Installed)
	return o.View
}

func (b *bench) stage(request ports.Request) error {
	return b.plugin().Do(b.Context(), core.VerbStage, request, func(p ports.Progress) { b.said = append(b.said, p) })
}

func (b *bench) failure(err error) core.Failure {
	b.Helper()
	var f core.Failure
	b.is.True(errors.As(err, &f))
	b.Log(f)
	return f
}

// marks are the lines that commands wrote to a file.
func (b *bench) marks(name string) int {
	text, err := os.ReadFile(filepath.Join(b.folder, name))
	if errors.Is(err, os.ErrNotExist) {
		return 0
	}
	b.is.NoErr(err)
	return bytes.Count(text, []byte("\n"))
}

func TestCommandIsDoneOnceARequest(t *testing.T) {
	b := newBench(t)
	request := b.request(`[{"run":"echo >> DIR/a"},{"name":"b","run":["sh","-c","echo >> DIR/b"]}]`)
	v := b.observe(request)
	b.is.Equal(v.Verdict, core.VerdictOutdated)
	b.is.True(strings.HasSuffix(v.Current.Version, ", 0 of 2 so"))
	for range 2 {
		b.is.NoErr(b.stage(request))
		v = b.observe(request)
		b.is.Equal(v.Verdict, core.VerdictSatisfied)
		b.is.True(strings.HasSuffix(v.Current.Version, ", 2 of 2 so"))
	}
	b.is.Equal(b.marks("a"), 1)
	b.is.Equal(b.marks("b"), 1)
	b.is.Equal(b.said[1], ports.Progress{Step: "Running", Percent: 50, Message: "command 2 of 2 (b) runs"})

	// Another request is another matter.
	b.is.NoErr(b.stage(b.request(`[{"name":"again","run":"echo >> DIR/a"}]`)))
	b.is.Equal(b.marks("a"), 2)
}

func TestNothingRequested(t *testing.T) {
	b := newBench(t)
	b.denied = errors.New("nobody asks for the policy")
	for _, request := range []ports.Request{{}, {OSVersion: []byte("{}")}, b.request(`[]`)} {
		b.is.Equal(b.observe(request).Verdict, core.VerdictSatisfied)
		b.is.NoErr(b.stage(request))
	}
}

func TestCheck(t *testing.T) {
	b := newBench(t)
	request := b.request(`[{"run":"echo >> DIR/a; touch DIR/so","check":"echo >> DIR/checks; test -e DIR/so"}]`)
	b.is.Equal(b.observe(request).Verdict, core.VerdictOutdated)
	b.is.Equal(b.marks("a"), 0) // Looking changes nothing.
	b.is.NoErr(b.stage(request))
	b.is.Equal(b.observe(request).Verdict, core.VerdictSatisfied)
	b.is.NoErr(b.stage(request))
	b.is.Equal(b.marks("a"), 1) // It was so already.

	// What came undone is done again.
	b.is.NoErr(os.Remove(filepath.Join(b.folder, "so")))
	b.is.Equal(b.observe(request).Verdict, core.VerdictOutdated)
	b.is.NoErr(b.stage(request))
	b.is.Equal(b.marks("a"), 2)

	// A command that ends well and does not do what it is for has failed.
	f := b.failure(b.stage(b.request(`[{"name":"idle","run":"echo did nothing","check":"false"}]`)))
	b.is.Equal(f.Class, core.FailureFailed)
	b.is.Equal(f.Reason, "CheckFailed")
	b.is.Equal(f.Path, "commands[0].check")
	b.is.Equal(f.Message, "command 1 of 1 (idle) ended well, and its check still does not hold; its output ends with: did nothing")

	// A check that can't be run does not hold.
	b.is.Equal(b.observe(b.request(`[{"run":"true","check":["no-such-program"]}]`)).Verdict, core.VerdictOutdated)
}

func TestFirstFailureEndsIt(t *testing.T) {
	b := newBench(t)
	request := b.request(`[{"run":"echo >> DIR/a"},{"run":"true"},{"name":"third","run":"echo \"\\033[31mno \\007such\\nluck\" >&2; false; echo >> DIR/never"},{"run":"echo >> DIR/never"}]`)
	f := b.failure(b.stage(request))
	b.is.Equal(f.Class, core.FailureFailed)
	b.is.Equal(f.Reason, "CommandFailed")
	b.is.Equal(f.Path, "commands[2].run")
	b.is.Equal(f.Message, "command 3 of 4 (third) exited with status 1; its output ends with: no such luck")
	b.is.Equal(b.failure(b.stage(request)), f)
	b.is.Equal(b.marks("a"), 1) // What was done before is not done again.
	b.is.Equal(b.marks("never"), 0)
	b.is.True(strings.HasSuffix(b.observe(request).Current.Version, "2 of 4 so"))
	b.is.True(strings.Contains(b.log.String(), "commands[2]: luck\n"))

	for run, words := range map[string]string{
		`["no-such-program"]`: `there is no program "no-such-program" on this host`,
		`"kill -9 $$"`:        "was ended by signal 9 (killed)",
		`"exit 7"`:            "exited with status 7",
	} {
		f := b.failure(b.stage(b.request(`[{"run":` + run + `}]`)))
		b.is.Equal(f.Class, core.FailureFailed)
		b.is.True(strings.Contains(f.Message, words))
	}
}

func TestOutputIsBounded(t *testing.T) {
	b := newBench(t)
	f := b.failure(b.stage(b.request(`[{"run":"head -c 3000000 /dev/urandom; echo; echo the end; exit 1"}]`)))
	b.is.True(len(f.Message) < maxTail+200)
	b.is.True(strings.HasSuffix(f.Message, "the end"))
	for _, r := range f.Message {
		b.is.True(r >= ' ' && r != 0x7f)
	}
}

func TestTimeout(t *testing.T) {
	b := newBench(t)
	began := time.Now()
	f := b.failure(b.stage(b.request(`[{"run":"echo begun; sleep 600","timeout":"100ms"}]`)))
	b.is.Equal(f.Class, core.FailureFailed)
	b.is.Equal(f.Reason, "CommandTimedOut")
	b.is.Equal(f.Message, "command 1 of 1 was not done after 100ms and was ended; its output ends with: begun")
	b.is.True(time.Since(began) < 4*time.Second)
}

func TestSlowChecks(t *testing.T) {
	b := newBench(t)
	b.checks = 300 * time.Millisecond
	began := time.Now()
	_, err := b.plugin().Observe(t.Context(), b.request(`[{"run":"true","check":"true"},{"name":"slow","run":"true","check":"sleep 600"},{"run":"true","check":"true"}]`))
	f := b.failure(err)
	b.is.Equal(f.Class, core.FailureRetryable)
	b.is.Equal(f.Reason, "CheckTimedOut")
	b.is.Equal(f.Path, "commands[1].check")
	b.is.True(strings.Contains(f.Message, "(slow)") && strings.Contains(f.Message, "300ms"))
	b.is.True(time.Since(began) < 4*time.Second)
}

func TestRestart(t *testing.T) {
	b := newBench(t)
	request := b.request(`[{"run":"touch DIR/x","check":"test -e DIR/x","restart":"ifChanged"},{"run":"true"}]`)
	b.is.NoErr(b.stage(request))
	v := b.observe(request)
	b.is.Equal(v.Verdict, core.VerdictStaged)
	b.is.True(v.NeedsRestart)
	b.is.Equal(v.Staged, core.Version{Version: request.Hash[:12]})
	b.is.NoErr(b.stage(request))                               // Asked for again,
	b.is.Equal(b.observe(request).Verdict, core.VerdictStaged) // it still waits.
	b.boot = "boot-2"
	b.is.Equal(b.observe(request).Verdict, core.VerdictSatisfied)
	b.is.NoErr(b.stage(request)) // Nothing changed this time.
	b.is.Equal(b.observe(request).Verdict, core.VerdictSatisfied)

	// What is so from the beginning needs no restart where only a change does.
	b.is.Equal(b.observe(b.request(`[{"run":"false","check":"true","restart":"ifChanged"}]`)).Verdict, core.VerdictSatisfied)

	// Always is once a request, whether the command was run or not.
	request = b.request(`[{"run":"false","check":"true","restart":"always"}]`)
	b.is.Equal(b.observe(request).Verdict, core.VerdictOutdated)
	b.is.NoErr(b.stage(request))
	b.is.Equal(b.observe(request).Verdict, core.VerdictStaged)
	b.boot = "boot-3"
	b.is.Equal(b.observe(request).Verdict, core.VerdictSatisfied)
	b.is.NoErr(b.stage(request))
	b.is.Equal(b.observe(request).Verdict, core.VerdictSatisfied)

	// Never is the default.
	request = b.request(`[{"run":"true"}]`)
	b.is.NoErr(b.stage(request))
	b.is.Equal(b.observe(request).Verdict, core.VerdictSatisfied)
}

func TestRestartOutlivesItsRequest(t *testing.T) {
	b := newBench(t)
	b.is.NoErr(b.stage(b.request(`[{"run":"true","restart":"always"}]`)))
	next := b.request(`[{"run":"echo >> DIR/a"}]`)
	b.is.NoErr(b.stage(next))
	b.is.Equal(b.observe(next).Verdict, core.VerdictStaged)
	for _, verb := range []core.Verb{core.VerbUnstage, core.VerbConfirm} {
		b.is.NoErr(b.plugin().Do(t.Context(), verb, next, nil))
	}
	b.is.Equal(b.observe(next).Verdict, core.VerdictStaged)
	b.boot = "boot-2"
	b.is.Equal(b.observe(next).Verdict, core.VerdictSatisfied)
}

func TestDenied(t *testing.T) {
	b := newBench(t)
	b.denied = core.Failure{Class: core.FailureInvalid, Reason: core.ReasonPolicyDenied, Path: "commands", Message: "not here"}
	request := b.request(`[{"run":"echo >> DIR/a","check":"echo >> DIR/checks"},{"run":"echo >> DIR/a"}]`)
	v := b.observe(request)
	b.is.Equal(v.Verdict, core.VerdictOutdated)
	b.is.Equal(b.failure(b.stage(request)), b.denied)
	b.is.Equal(b.marks("a")+b.marks("checks"), 0) // Not even a check was run.

	b.denied = fmt.Errorf("reading the policy: %w", os.ErrPermission)
	_, err := b.plugin().Observe(t.Context(), request)
	b.is.True(errors.Is(err, os.ErrPermission))
	b.is.True(errors.Is(b.stage(request), os.ErrPermission))
	b.is.Equal(b.marks("a")+b.marks("checks"), 0)
}

func TestEnvironment(t *testing.T) {
	b := newBench(t)
	b.is.NoErr(b.stage(b.request(`[{"run":"pwd; echo $HOME $ELEMENTAL_HOST; cat"}]`)))
	b.is.True(strings.Contains(b.log.String(), "commands[0]: /\ncommands[0]: /root my-host\n"))
}

func TestBadRequests(t *testing.T) {
	b := newBench(t)
	for document, path := range map[string]string{
		`["a list"]`:                        "osVersionManagement",
		`{"commands":7}`:                    "osVersionManagement",
		`{"commands":[{"run":{}}]}`:         "osVersionManagement",
		`{"comands":[]}`:                    "osVersionManagement",
		`{"commands":[{"run":"a\u0000b"}]}`: "commands[0].run",
		`{"commands":[{"run":"a"},{"run":"a","check":[""]}]}`:                   "commands[1].check",
		`{"commands":[{"run":"a","timeout":"3h"}]}`:                             "commands[0].timeout",
		`{"commands":[{"run":"a","timeout":"0s"}]}`:                             "commands[0].timeout",
		`{"commands":[{"run":["a","` + strings.Repeat("ä", maxLine/2) + `"]}]}`: "commands[0].run",
	} {
		_, err := b.plugin().Observe(t.Context(), ports.Request{OSVersion: []byte(document), Hash: "0123456789abcdef"})
		f := b.failure(err)
		b.is.Equal(f.Class, core.FailureInvalid)
		b.is.Equal(f.Path, path)
	}
	b.is.True(b.plugin().Do(t.Context(), core.VerbReset, ports.Request{}, nil) != nil)
}

func TestDescribe(t *testing.T) {
	b := newBench(t)
	d, err := b.plugin().Describe(t.Context())
	b.is.NoErr(err)
	b.is.True(!d.Restarts)
	b.is.True(json.Valid(d.Schema))
}
