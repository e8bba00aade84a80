package plugin_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/matryer/is"

	"elemental/adapters/plugin"
	"elemental/core"
	"elemental/ports"
)

const result = `echo '{"result":{}}'`

// misbehaviours are all that a plugin can do wrong. In a message, PLUGIN stands for the path of the plugin.
var misbehaviours = []struct {
	name, script, reason, message string

	within time.Duration           // for the call; 0: a minute
	spoil  func(path string) error // what is done to the file before each call
	calls  int                     // 0: 4
	log    int                     // bytes of its log that must be kept
}{
	{name: "hangs", script: `exec sleep 600`, within: 200 * time.Millisecond,
		reason: "PluginTimedOut", message: "the plugin PLUGIN, asked to stage, was not done after 200ms and was ended"},
	{name: "hangs and ignores that it is asked to end", script: `trap '' TERM; while :; do sleep 0.05; done`, within: 200 * time.Millisecond,
		reason: "PluginTimedOut", message: "the plugin PLUGIN, asked to stage, was not done after 200ms and was ended"},
	{name: "tells its progress for ever", script: `exec yes '{"progress":{"step":"Staging"}}'`, within: 300 * time.Millisecond,
		reason: "PluginTimedOut", message: "the plugin PLUGIN, asked to stage, was not done after 300ms and was ended"},
	{name: "floods its answer", script: `exec yes`,
		reason: "PluginProtocolError", message: `the plugin PLUGIN, asked to stage, does not speak elemental.io/plugin/v1: a line of the answer is not a JSON object: "y"`},
	{name: "writes a line without an end", script: `exec cat /dev/zero`,
		reason: "PluginProtocolError", message: "the plugin PLUGIN, asked to stage, wrote a line longer than 1048576 bytes: \"" + strings.Repeat(`\x00`, 120) + "…\""},
	{name: "floods its log with one line", script: `head -c 70000000 /dev/zero | tr '\0' x >&2; exit 1`, calls: 2, log: 64 << 10,
		reason: "PluginExited", message: "the plugin PLUGIN, asked to stage, exited with status 1 before it had answered; its log ends with \"" + strings.Repeat("x", 512) + "…\""},
	{name: "floods its log with many lines", script: `line=$(head -c 999 /dev/zero | tr '\0' x); yes "$line" | head -c 210000000 >&2; echo >&2; echo oh no >&2; exit 1`, calls: 2, log: 64 << 10,
		reason: "PluginExited", message: `the plugin PLUGIN, asked to stage, exited with status 1 before it had answered; its log ends with "oh no"`},
	{name: "says nothing", script: `exit 0`,
		reason: "PluginProtocolError", message: "the plugin PLUGIN, asked to stage, exited without an answer"},
	{name: "exits before it answers", script: `echo oh no >&2; exit 3`,
		reason: "PluginExited", message: `the plugin PLUGIN, asked to stage, exited with status 3 before it had answered; its log ends with "oh no"`},
	{name: "fails after its result", script: result + `; exit 4`,
		reason: "PluginExited", message: "the plugin PLUGIN, asked to stage, answered with a result and then exited with status 4"},
	{name: "crashes", script: `kill -SEGV $$`,
		reason: "PluginKilled", message: "the plugin PLUGIN, asked to stage, was ended by signal 11 (segmentation fault) before it had answered"},
	{name: "crashes after its result", script: result + `; kill -KILL $$`,
		reason: "PluginKilled", message: "the plugin PLUGIN, asked to stage, answered with a result and then was ended by signal 9 (killed)"},
	{name: "writes garbage", script: `echo hello; sleep 60`,
		reason: "PluginProtocolError", message: `the plugin PLUGIN, asked to stage, does not speak elemental.io/plugin/v1: a line of the answer is not a JSON object: "hello"`},
	{name: "writes half a line", script: `printf '{"result":{'`,
		reason: "PluginProtocolError", message: `the plugin PLUGIN, asked to stage, stopped in the middle of a line: "{\"result\":{"`},
	{name: "answers twice", script: result + ";" + result,
		reason: "PluginProtocolError", message: `the plugin PLUGIN, asked to stage, went on after the line that ends its answer: "{\"result\":{}}"`},
	{name: "answers two things at once", script: `echo '{"result":{},"error":{"class":"failed"}}'`,
		reason: "PluginProtocolError", message: `the plugin PLUGIN, asked to stage, does not speak elemental.io/plugin/v1: a line of the answer has 2 of progress, result and error, and must have exactly one: "{\"result\":{},\"error\":{\"class\":\"failed\"}}"`},
	{name: "answers nothing known", script: `echo '{"results":{}}'`,
		reason: "PluginProtocolError", message: `the plugin PLUGIN, asked to stage, does not speak elemental.io/plugin/v1: a line of the answer has 0 of progress, result and error, and must have exactly one: "{\"results\":{}}"`},
	{name: "answers in two ways", script: `echo '{"result":{},"result":{"a":1}}'`,
		reason: "PluginProtocolError", message: `the plugin PLUGIN, asked to stage, does not speak elemental.io/plugin/v1: a line of the answer has no one meaning: reading JSON: the key "result" stands twice in one object: "{\"result\":{},\"result\":{\"a\":1}}"`},
	{name: "answers with the wrong type", script: `echo '{"progress":7}'`,
		reason: "PluginProtocolError", message: `the plugin PLUGIN, asked to stage, does not speak elemental.io/plugin/v1: the progress of the answer can't be read: it is of the wrong type or out of bounds: number`},
	{name: "answers with a huge number", script: `echo '{"progress":{"step":"Staging","percent":1e999999999}}'`,
		reason: "PluginProtocolError", message: `the plugin PLUGIN, asked to stage, does not speak elemental.io/plugin/v1: the progress of the answer can't be read: percent is of the wrong type or out of bounds: number 1e999999999`},
	{name: "nests its answer deeply", script: `printf '{"result":'; head -c 5000 /dev/zero | tr '\0' '['; head -c 5000 /dev/zero | tr '\0' ']'; echo '}'`,
		reason: "PluginProtocolError", message: `the plugin PLUGIN, asked to stage, does not speak elemental.io/plugin/v1: a line of the answer has no one meaning: reading JSON: the document is nested deeper than 200: "{\"result\":` + strings.Repeat("[", 110) + `…"`},
	{name: "nests its answer without end", script: `printf '{"result":'; head -c 500000 /dev/zero | tr '\0' '['; head -c 500000 /dev/zero | tr '\0' ']'; echo '}'`,
		reason: "PluginProtocolError", message: `the plugin PLUGIN, asked to stage, does not speak elemental.io/plugin/v1: a line of the answer is not a JSON object: "{\"result\":` + strings.Repeat("[", 110) + `…"`},
	{name: "writes what is not UTF-8", script: `printf '{"error":{"message":"\377\376"}}\n'`,
		reason: "PluginProtocolError", message: `the plugin PLUGIN, asked to stage, does not speak elemental.io/plugin/v1: a line of the answer has no one meaning: reading JSON: the text is not UTF-8: "{\"error\":{\"message\":\"\xff\xfe\"}}"`},
	{name: "answers with more than a line may hold", script: `printf '{"result":{"a":"'; head -c 1048576 /dev/zero | tr '\0' x; echo '"}}'`,
		reason: "PluginProtocolError", message: `the plugin PLUGIN, asked to stage, wrote a line longer than 1048576 bytes: "{\"result\":{\"a\":\"` + strings.Repeat("x", 104) + `…"`},
	{name: "is missing", spoil: os.Remove,
		reason: "PluginNotFound", message: "opening the plugin PLUGIN: lstat PLUGIN: no such file or directory"},
	{name: "is writable by all", spoil: func(path string) error { return os.Chmod(path, 0o777) },
		reason: "PluginRefused", message: "refusing to run a plugin: the plugin PLUGIN may be written by others (mode 0777); run chmod go-w PLUGIN"},
	{name: "is no program", spoil: func(path string) error { return os.WriteFile(path, []byte("hello"), 0o755) },
		reason: "PluginNotStarted", message: "starting PLUGIN: fork/exec /proc/self/fd/3: exec format error"},
	{name: "speaks another protocol", spoil: func(path string) error {
		return os.WriteFile(path, []byte("#!/bin/sh\necho '{\"result\":{\"name\":\"x\",\"protocols\":[\"elemental.io/plugin/v9\"]}}'\n"), 0o755)
	}, reason: "PluginProtocolUnknown", message: `the plugin "PLUGIN" speaks elemental.io/plugin/v9, and this agent speaks elemental.io/plugin/v1: install versions of the two that fit`},
}

// TestMisbehaviour shows that whatever a plugin does wrong costs one call, has words of its own, and leaves nothing
// behind in the memory of the agent.
func TestMisbehaviour(t *testing.T) {
	for _, c := range misbehaviours {
		t.Run(c.name, func(t *testing.T) {
			is := is.New(t)
			if c.within == 0 {
				c.within = time.Minute
			}
			var path string
			s := script(t, c.script, within(core.VerbStage, plugin.Deadline{Whole: c.within}), func(config *plugin.Config) { path, config.Log = config.Name, nil })
			calls := max(c.calls, 2)
			if c.calls == 0 {
				calls = 4
			}
			var before uint64
			for i := range calls {
				if i == 1 { // The first call may grow what is kept once.
					before = heap()
				}
				if c.spoil != nil {
					_ = c.spoil(path) // What is gone already can't be removed again.
				}
				begin := time.Now()
				err := s.Do(t.Context(), core.VerbStage, request(t), nil)
				took := time.Since(begin)
				failure := failureOf(t, err)
				is.Equal(failure.Class, core.FailureFailed)
				is.Equal(failure.Reason, c.reason)
				message := strings.ReplaceAll(strings.ReplaceAll(c.message, "the plugin PLUGIN, asked", fmt.Sprintf("the plugin %q, asked", path)), "PLUGIN", path)
				is.Equal(failure.Message, message)
				is.True(took < time.Minute)
				if full := (&plugin.Error{}); c.log > 0 {
					is.True(errors.As(err, &full))
					is.Equal(len(full.Log), c.log)
				}
			}
			grown := int64(heap()) - int64(before)
			t.Logf("%d calls: the heap grew by %d KiB", calls, grown>>10)
			is.True(grown < 4<<20)
		})
	}
}

// TestSecretsAreNotQuoted has a plugin say what it was told, in every wrong way: none of it reaches the host's status.
func TestSecretsAreNotQuoted(t *testing.T) {
	const say = `read -r line; `
	for name, text := range map[string]string{
		"in its log":               say + `echo "$line" >&2; exit 1`,
		"as garbage":               say + `echo "$line"`,
		"in half a line":           say + `printf '{"result":"s3cret'`,
		"as a key that is twice":   `echo '{"result":{"s3cret":1,"s3cret":2}}'`,
		"as something unknown":     `echo '{"s3cret":1}'`,
		"as a number":              `echo '{"progress":{"step":"x","percent":"s3cret"}}'; echo '{"progress":{"percent":1e999999993}}'; echo '{"progress":{"s3cret":1,"percent":""}}'`,
		"after its answer":         result + `; echo '{"result":"s3cret"}'`,
		"in a line without an end": `yes s3cret | tr -d '\n'`,
	} {
		for _, verb := range []core.Verb{core.VerbBootstrap, core.VerbInstall, core.VerbInstallCloudConfig} {
			t.Run(name+" of "+string(verb), func(t *testing.T) {
				is := is.New(t)
				s := script(t, text)
				failure := failureOf(t, s.Do(t.Context(), verb, ports.Request{
					Host: "host-1", Bootstrap: &ports.BootstrapData{Format: "cloud-config", Data: []byte("s3cret")},
					CloudConfig: []byte(`{"password":"s3cret"}`), Files: []ports.File{{Path: "/etc/key", Data: []byte("s3cret")}},
				}, nil))
				is.True(failure.Reason == "PluginProtocolError" || failure.Reason == "PluginExited")
				for _, word := range []string{"s3cret", "czNjcmV0", "1e999999993"} {
					is.True(!strings.Contains(failure.Message, word)) // what it was told
				}
				is.True(name == "in its log" || strings.HasSuffix(failure.Message, "(its words are not shown: they may hold a secret)"))
			})
		}
	}
}

// heap is what the agent's memory holds when all that can be freed is.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var now runtime.MemStats
	runtime.ReadMemStats(&now)
	return now.HeapInuse
}

// TestLargeResult shows that an answer may be as long as a line may be.
func TestLargeResult(t *testing.T) {
	is := is.New(t)
	s := script(t, `printf '{"result":{"a":"'; head -c 1048000 /dev/zero | tr '\0' x; echo '"}}'`)
	is.NoErr(s.Do(t.Context(), core.VerbStage, request(t), nil))
}

// TestReplacedWhileItRuns replaces a plugin in the middle of a call: that call ends as it began, and the next one is
// the new file's.
func TestReplacedWhileItRuns(t *testing.T) {
	is := is.New(t)
	var path string
	s := script(t, `echo '{"progress":{"step":"Old"}}'; while [ ! -e replaced ]; do sleep 0.01; done; echo '{"progress":{"step":"Old again"}}'; `+result,
		func(c *plugin.Config) { path = c.Name })
	var steps []string
	say := func(p ports.Progress) {
		steps = append(steps, p.Step)
		if p.Step == "Old" {
			is.NoErr(os.WriteFile(path+".new", []byte(preamble+`echo '{"progress":{"step":"New"}}'; `+result), 0o755))
			is.NoErr(os.Rename(path+".new", path))
			is.NoErr(os.WriteFile(filepath.Join(s.workDir, "replaced"), nil, 0o600))
		}
	}
	is.NoErr(s.Do(t.Context(), core.VerbStage, request(t), say))
	is.NoErr(s.Do(t.Context(), core.VerbStage, request(t), say))
	is.Equal(steps, []string{"Old", "Old again", "New"})
}

// TestDaemonIsLeftAlone shows that what leaves the plugin's session on purpose lives on. To start a service for good is
// what some versions need, and systemd's own control group still holds it to the agent's service.
func TestDaemonIsLeftAlone(t *testing.T) {
	is := is.New(t)
	s := script(t, `setsid sh -c 'echo $$ > daemon.new; mv daemon.new daemon; exec sleep 600' >/dev/null 2>&1 <&- &
while [ ! -e daemon ]; do sleep 0.01; done; `+result)
	is.NoErr(s.Do(t.Context(), core.VerbStage, request(t), nil))
	file := filepath.Join(s.workDir, "daemon")
	is.True(alive(t, file))
	text, err := os.ReadFile(file)
	is.NoErr(err)
	id, err := strconv.Atoi(strings.TrimSpace(string(text)))
	is.NoErr(err)
	is.NoErr(syscall.Kill(id, syscall.SIGKILL))
}

// BenchmarkCall is what one call costs: of a plugin that is a shell script, and of one that is a Go program.
func BenchmarkCall(b *testing.B) {
	path := filepath.Join(b.TempDir(), "plugin")
	if err := os.WriteFile(path, []byte(preamble), 0o755); err != nil {
		b.Fatal(err)
	}
	for name, config := range map[string]plugin.Config{
		"script": {Name: path}, "built in": {Name: "dummy", Builtins: []string{"dummy"}, Folder: b.TempDir()},
	} {
		config.WorkDir = b.TempDir()
		r := plugin.NewRunner(config)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.Observe(b.Context(), ports.Request{Host: "host-1"}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
