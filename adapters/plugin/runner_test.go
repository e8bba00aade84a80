package plugin_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"elemental/adapters/plugin"
	"elemental/core"
	"elemental/ports"
)

func TestAnswers(t *testing.T) {
	is := is.New(t)
	var seen []ports.Progress
	s := script(t, `echo '{"progress":{"step":"Fetching","percent":12.4,"message":"1 of 8 MB"}}'
echo
echo '{"progress":{"step":"Unpacking"}}'
echo '{"progress":{"step":"Unpacking","percent":900}}'
printf '{"result":{},"later":"unknown fields are left alone"}'`)
	is.NoErr(s.Do(t.Context(), core.VerbStage, request(t), func(p ports.Progress) { seen = append(seen, p) }))
	is.Equal(seen, []ports.Progress{
		{Step: "Fetching", Percent: 12, Message: "1 of 8 MB"}, {Step: "Unpacking", Percent: -1}, {Step: "Unpacking", Percent: 100},
	})
}

func TestPluginsOwnError(t *testing.T) {
	is := is.New(t)
	s := script(t, `echo some log >&2
echo '{"error":{"class":"retryable","reason":"RegistryAway","message":"the registry does not answer","path":"osVersion.imageUri"}}'; exit 1`)
	err := s.Do(t.Context(), core.VerbStage, request(t), nil)
	is.Equal(failureOf(t, err), core.Failure{
		Class: core.FailureRetryable, Reason: "RegistryAway", Message: "the registry does not answer", Path: "osVersion.imageUri",
	})
	var full *plugin.Error
	is.True(errors.As(err, &full))
	is.Equal(full.Log, "some log\n")
	failure := script(t, `echo '{"error":{"class":"odd","reason":"not one word"}}'`).stage(t)
	is.Equal(failure, core.Failure{Class: core.FailureFailed, Message: "the plugin reports an error and does not say which"})
}

func TestSilence(t *testing.T) {
	is := is.New(t)
	s := script(t, `for i in 1 2 3 4 5 6; do echo log $i >&2; sleep 0.1; done; exec sleep 600`,
		within(core.VerbStage, plugin.Deadline{Whole: time.Minute, Silent: 400 * time.Millisecond}))
	begin := time.Now()
	failure := s.stage(t)
	is.Equal(failure.Reason, "PluginTimedOut")
	is.True(strings.Contains(failure.Message, "wrote nothing for 400ms"))
	is.True(time.Since(begin) > 900*time.Millisecond) // a line of the log was a sign of life
}

func TestEndOfContext(t *testing.T) {
	is := is.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	s := script(t, `echo '{"progress":{"step":"Sleeping"}}'; exec sleep 600`)
	err := s.Do(ctx, core.VerbStage, request(t), func(ports.Progress) { cancel() })
	is.True(errors.Is(err, context.Canceled))
	var failure core.Failure
	is.True(!errors.As(err, &failure)) // the plugin is not to blame
}

// alive says whether the process whose ID a script has written still runs.
func alive(t *testing.T, file string) bool {
	t.Helper()
	text, err := os.ReadFile(file)
	is.New(t).NoErr(err)
	stat, err := os.ReadFile("/proc/" + strings.TrimSpace(string(text)) + "/stat")
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

func TestLeavesNothingRunning(t *testing.T) {
	for name, text := range map[string]string{
		"a child that ignores the request to end, at the deadline": `(trap '' TERM; sleep 600) & echo $! > child; trap '' TERM; while :; do sleep 1; done`,
		"a child that outlives its plugin":                         `sleep 600 & echo $! > child; echo '{"result":{}}'`,
		"a child that outlives its plugin and ignores all":         `(trap '' TERM; exec sleep 600) & echo $! > child; echo '{"result":{}}'`,
		"a plugin that stays after its answer":                     `echo $$ > child; echo '{"result":{}}'; exec sleep 600`,
		"a grandchild of a plugin that crashes":                    `sh -c 'sleep 600 & echo $! > child'; kill -KILL $$`,
	} {
		t.Run(name, func(t *testing.T) {
			s := script(t, text, within(core.VerbStage, plugin.Deadline{Whole: 800 * time.Millisecond}))
			err := s.Do(t.Context(), core.VerbStage, request(t), nil)
			t.Log(err)
			is.New(t).True(!alive(t, filepath.Join(s.workDir, "child")))
		})
	}
}

func TestAnswerStandsThoughChildrenStay(t *testing.T) {
	is := is.New(t)
	is.NoErr(script(t, `sleep 600 & echo '{"result":{}}'`).Do(t.Context(), core.VerbStage, request(t), nil))
	is.NoErr(script(t, `echo '{"result":{}}'; exec sleep 600`).Do(t.Context(), core.VerbStage, request(t), nil))
	// One that leaves the group keeps the pipes open, and must not keep the agent.
	begin := time.Now()
	s := script(t, `setsid sleep 600 & echo $! > child; echo '{"result":{}}'`)
	is.NoErr(s.Do(t.Context(), core.VerbStage, request(t), nil))
	is.True(time.Since(begin) < 20*time.Second)
	text, err := os.ReadFile(filepath.Join(s.workDir, "child"))
	is.NoErr(err)
	id, err := strconv.Atoi(strings.TrimSpace(string(text)))
	is.NoErr(err)
	left, err := os.FindProcess(id)
	is.NoErr(err)
	is.NoErr(left.Kill())
}

func TestChildrenMayEndInOrder(t *testing.T) {
	is := is.New(t)
	s := script(t, `(trap 'sleep 0.2; touch tidied; exit' TERM; echo ready > child; while :; do sleep 0.05; done) &
while [ ! -s child ]; do sleep 0.01; done; exec sleep 600`,
		within(core.VerbStage, plugin.Deadline{Whole: 500 * time.Millisecond}), func(c *plugin.Config) { c.Patience = 10 * time.Second })
	is.Equal(s.stage(t).Reason, "PluginTimedOut")
	_, err := os.Stat(filepath.Join(s.workDir, "tidied"))
	is.NoErr(err) // the child was given time although its parent was gone at once
}

// TestAgentKilled kills an agent that waits for its plugin.
func TestAgentKilled(t *testing.T) {
	is := is.New(t)
	path := write(t, preamble+`echo $$ > child.new; mv child.new child; exec sleep 600`)
	workDir := t.TempDir()
	agent := exec.Command(os.Args[0], "agent", path, workDir)
	is.NoErr(agent.Start())
	child := filepath.Join(workDir, "plugins", "plugin", "child")
	eventually(t, "the plugin runs", func() bool { _, err := os.Stat(child); return err == nil })
	is.NoErr(agent.Process.Kill())
	is.True(agent.Wait() != nil)
	eventually(t, "the plugin dies with its agent", func() bool { return !alive(t, child) })
}

func TestLog(t *testing.T) {
	is := is.New(t)
	s := script(t, `echo one >&2; printf 'two\033[2J\n' >&2; echo '{"result":{}}'`)
	is.NoErr(s.Do(t.Context(), core.VerbStage, request(t), nil))
	is.True(strings.Contains(s.log.String(), "msg=one verb=stage"))
	is.True(!strings.Contains(s.log.String(), "\033")) // nothing that a terminal would obey
}

func TestSecretsStayOnStdin(t *testing.T) {
	is := is.New(t)
	t.Setenv("TOKEN", "of the agent")
	t.Setenv("HTTPS_PROXY", "http://proxy:3128")
	t.Setenv("HTTP_PROXY", "http://user:password@proxy:3128") // Which would be seen in the environment.
	s := script(t, `env | sort > env; tr '\0' ' ' < /proc/$$/cmdline > args; cat > stdin; cat stdin >&2; exit 1`)
	secret := &ports.BootstrapData{Format: "cloud-config", Data: []byte("a secret")}
	err := s.Do(t.Context(), core.VerbBootstrap, ports.Request{Host: "host-1", Bootstrap: secret}, nil)
	is.True(!strings.Contains(err.Error(), "YSBzZWNyZXQ=")) // not even when the plugin says it aloud
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(s.workDir, name))
		is.NoErr(err)
		return string(text)
	}
	for _, line := range strings.Fields(read("env")) {
		name, _, _ := strings.Cut(line, "=")
		is.True(strings.Contains(" PATH LANG HTTPS_PROXY PWD OLDPWD SHLVL _ ", " "+name+" ")) // nothing else is inherited
	}
	is.True(strings.Contains(read("env"), "HTTPS_PROXY=http://proxy:3128"))
	is.True(strings.HasSuffix(read("args"), " bootstrap "))
	is.Equal(read("stdin"), `{"protocol":"elemental.io/plugin/v1","verb":"bootstrap","host":"host-1","workDir":"`+s.workDir+
		`","input":{"bootstrap":{"format":"cloud-config","data":"YSBzZWNyZXQ="}}}`+"\n")
}

func TestLargeRequestThatIsNotRead(t *testing.T) {
	is := is.New(t)
	in := request(t)
	in.OSVersion = []byte(`{"a":"` + strings.Repeat("x", 1<<20) + `"}`)
	is.NoErr(script(t, `echo '{"result":{}}'`).Do(t.Context(), core.VerbStage, in, nil))
}
