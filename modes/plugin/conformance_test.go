package plugin

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"
)

// TestBuiltinsConform holds the plugins of this program against the protocol. Only one of them can make a version
// true on any machine.
func TestBuiltinsConform(t *testing.T) {
	requests := map[string]string{
		"dummy":             `{"osVersion":{"imageUri":"oci://registry/os:1"}}`,
		"image":             `{"osVersion":{"imageUri":"oci://registry/os:1"}}`,
		"elemental-toolkit": `{"osVersion":{"imageUri":"oci://registry/os:1"}}`,
		"commands":          `{"commands":[{"run":["true"]}]}`,
		"packages":          `{"packages":{"install":["bash"]}}`,
	}
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			words := []string{"test"}
			if document := requests[name]; document != "" {
				file := filepath.Join(t.TempDir(), "request.json")
				is.NoErr(os.WriteFile(file, []byte(document), 0o600))
				words = append(words, "--request", file)
			}
			if name == "dummy" {
				words = append(words, "--stage", "--configure", "--reset") // It changes nothing but its work dir.
			}
			out, err := run(t, "", append(words, name)...)
			t.Log("\n" + out)
			is.NoErr(err)
			is.True(!strings.Contains(out, "FAILED"))
			is.True(strings.Contains(out, " 0 failed, "))
			if name == "dummy" {
				is.True(strings.HasSuffix(out, "20 ok, 0 failed, 1 skipped\n"))
			}
		})
	}
}

// TestRequestThatIsNoJSON is told as what it is, and not as a fault of the plugin.
func TestRequestThatIsNoJSON(t *testing.T) {
	is := is.New(t)
	file := filepath.Join(t.TempDir(), "request.yaml")
	for _, document := range []string{"", "packages: {}", `["a list"]`, "null", `{"a":1}{`} {
		is.NoErr(os.WriteFile(file, []byte(document), 0o600))
		out, err := run(t, "", "test", "--request", file, "dummy")
		is.True(err != nil && strings.Contains(err.Error(), file+" does not hold an osVersionManagement as one JSON object"))
		is.True(!strings.Contains(out, "FAILED"))
	}
}

// TestConformanceOfOthers shows that each promise is looked at: a plugin that breaks one fails there.
func TestConformanceOfOthers(t *testing.T) {
	is := is.New(t)
	folder := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(folder, name)
		is.NoErr(os.WriteFile(path, []byte(text), 0o755))
		return path
	}
	request := write("request.json", `{"a":1}`)
	const head = `#!/bin/sh
request=$(cat)
describe() { echo '{"result":{"name":"x","protocols":["elemental.io/plugin/v1"],"verbs":["observe","stage","unstage","confirm","bootstrap"],"schema":{"type":"object"}}}'; }
fail() { echo '{"error":{"class":"'$1'","reason":"Wrong","message":"it is wrong"}}'; exit 1; }
`
	const tail = `
case $1 in describe) describe; exit;; esac
case $request in *elemental.io/plugin/v1*);; *) fail failed;; esac
case $request in *"a list"*) fail invalid;; esac
case $1 in
observe)
	verdict=outdated
	case $request in *osVersionManagement*) [ ! -e staged ] || verdict=satisfied;; *) verdict=satisfied;; esac
	echo '{"result":{"verdict":"'$verdict'"}}';;
stage) echo '{"progress":{"step":"Staging"}}'; sleep 0.05; touch staged; echo '{"result":{}}';;
unstage) rm -f staged; echo '{"result":{}}';;
confirm) echo '{"result":{}}';;
bootstrap) fail failed;;
*) fail failed;;
esac
`
	out, err := run(t, "", "test", "--request", request, "--stage", write("good", head+tail))
	t.Log("\n" + out)
	is.NoErr(err)
	is.True(strings.HasSuffix(out, "18 ok, 0 failed, 3 skipped\n"))

	for _, c := range []struct{ flaw, finding string }{
		{`[ $1 != describe ] || touch here`, "it describes itself, in an empty folder, and leaves it empty: it left here in its work dir"},
		{`case $1 in describe) echo '{"result":{"name":"x","protocols":["elemental.io/plugin/v1"],"verbs":["observe"]}}'; exit;; esac`, "it has the verbs that every host needs: stage is not among its verbs"},
		{`case $1 in describe) describe | sed s/object/text/; exit;; esac`, "its schema can be used, and refuses a list: reading the schema: at #/type: there is no type \"text\""},
		{`case $1 in describe) describe | sed 's/"type":"object"//'; exit;; esac`, "its schema can be used, and refuses a list: it accepts"},
		{`case $1$request in describe*plugin/v0*) fail failed;; esac`, "it answers describe whatever protocol is spoken: the request spoke elemental.io/plugin/v0, and its answer is"},
		{`case $1$request in observe*plugin/v0*) echo '{"result":{"verdict":"satisfied"}}'; exit;; esac`, "it refuses a protocol that it does not speak: the request spoke elemental.io/plugin/v0, and it answered with a result"},
		{`case $1 in levitate) echo '{"result":{}}'; exit;; esac`, "it refuses a verb that there is not: it was asked to levitate, and it answered with a result"},
		{`case $1 in levitate) echo no >&2; exit 3;; esac`, "it refuses a verb that there is not: it was asked to levitate, and it answered with no error: it wrote nothing on standard output, and exited with status 3"},
		{`case $1 in observe) echo '{"result":{"verdict":"outdated"}}'; exit;; esac`, "it is satisfied when nothing is requested: its verdict is outdated"},
		{`case $request in *future*) fail invalid;; esac`, "it ignores fields that it does not know: the request had the fields future and input.future"},
		{`case $request in *"a list"*) fail failed;; esac`, "it refuses a list as invalid: osVersionManagement was [\"a list\"], and its error is not of class invalid"},
		{`case $1 in describe) describe | sed 's/"type":"object"/"type":"object","required":["b"]/'; exit;; esac`, "its schema accepts the request: "},
		{`case $1 in observe) [ ! -e staged ] && case $request in *'"a":1'*) if [ -e ../odd ]; then rm ../odd; echo '{"result":{"verdict":"satisfied"}}'; else touch ../odd; echo '{"result":{"verdict":"outdated"}}'; fi; exit;; esac;; esac`, "it answers the same when it is asked twice: it answered {"},
		{`case $1 in observe) touch seen.$$;; esac`, "it changes nothing when it observes: seen."},
		{`case $1 in stage) [ -e lock ] && fail failed; touch lock; echo '{"progress":{"step":"Staging"}}'; sleep 0.2; rm lock; touch staged; echo '{"result":{}}'; exit;; esac`, "it recovers when it is killed while it stages: it is wrong"},
		{`case $1 in stage) echo '{"result":{}}'; exit;; esac`, "it has what it staged, and stages it twice: its verdict is outdated"},
		{`case $1 in unstage) [ -e staged ] || fail failed;; esac`, "it unstages when nothing is staged: it is wrong"},
		{`printf '%s\n' "$request" >&2`, "it keeps bootstrap data out of its log: it wrote them to its log"},
		{`[ $1 != stage ] || echo hello`, "all that it wrote on standard output is the protocol: asked to stage: a line of the answer is not a JSON object: \"hello\""},
		{`[ $1 != stage ] || echo '{"progress":{"step":"x","percent":"7"}}'`, "all that it wrote on standard output is the protocol: asked to stage: the progress of the answer can't be read"},
		{`[ $1 != stage ] || echo '{"progress":{"step":"x","percent":700}}'`, "all that it wrote on standard output is the protocol: asked to stage, its answer is not as the schema of the protocol says: progress.percent: it must be 100 or less"},
		{`case $1 in observe) echo '{"result":{"verdict":"satisfied","current":{"version":7}}}'; exit;; esac`, "all that it wrote on standard output is the protocol: asked to observe, its observation is not as the schema of the protocol says"},
		{`[ $1 != confirm ] && [ $1 != unstage ] || { sleep 60 >/dev/null 2>&1 & }`, "it left nothing running: when it had exited, children of it still ran, and were ended; it was asked to unstage"},
	} {
		t.Run(c.finding, func(t *testing.T) {
			out, err := run(t, "", "test", "--request", request, "--stage", write("bad", head+c.flaw+tail))
			if err == nil || !slices.ContainsFunc(strings.Split(out, "\n"), func(line string) bool { return strings.HasPrefix(line, "FAILED  "+c.finding) }) {
				t.Errorf("%v:\n%s", err, out)
			}
		})
	}
	out, err = run(t, "", "test", "-v", write("loud", head+"echo hello >&2"+tail))
	is.NoErr(err)
	is.True(strings.Contains(out, "ok      it describes itself, in an empty folder, and leaves it empty\n        | hello\n"))
	is.True(strings.Contains(out, "skipped it has what it staged, and stages it twice (--stage was not given)\n"))
	_, err = run(t, "", "test", filepath.Join(folder, "missing"))
	is.True(err != nil)
}

// TestConformanceOfTheHostsLife shows the same for the verbs that name, configure and reset a host, and that none of them is
// asked for by surprise.
func TestConformanceOfTheHostsLife(t *testing.T) {
	is := is.New(t)
	folder := t.TempDir()
	const head = `#!/bin/sh
request=$(cat)
fail() { echo '{"error":{"class":"'$1'","reason":"Wrong","message":"it is wrong"}}'; exit 1; }
case $request in *elemental.io/plugin/v1*) known=yes;; *) known=;; esac
[ -n "$known" ] || [ $1 = describe ] || fail failed
case $request in *"a list"*) fail invalid;; esac
`
	const tail = `
case $1 in
describe) echo '{"result":{"name":"x","protocols":["elemental.io/plugin/v1"],"verbs":["observe","stage","unstage","confirm","triggerReset","reset","setHostname","installCloudConfig"],"schema":{"type":"object"}}}';;
observe) echo '{"result":{"verdict":"satisfied"'$(cat reset 2>/dev/null)'}}';;
triggerReset) echo ',"reset":"underWay"' > reset; touch asked; echo '{"result":{}}';;
reset) echo ',"reset":"done"' > reset; echo '{"result":{}}';;
setHostname|installCloudConfig) touch asked; echo '{"result":{}}';;
*) fail failed;;
esac
`
	test := func(flaw string, flags ...string) (string, error) {
		path := filepath.Join(folder, "plugin")
		is.NoErr(os.WriteFile(path, []byte(head+flaw+tail), 0o755))
		return run(t, "", append(append([]string{"test"}, flags...), path)...)
	}
	out, err := test("", "--configure", "--reset")
	t.Log("\n" + out)
	is.NoErr(err)
	is.Equal(strings.Count(out, "ok      it resets the host")+strings.Count(out, "ok      it names the host")+strings.Count(out, "ok      it installs a cloud config"), 3)
	out, err = test(`case $1 in triggerReset|reset|setHostname|installCloudConfig) touch ` + folder + `/surprise;; esac`)
	is.NoErr(err)
	is.True(strings.Contains(out, "skipped it resets the host, and says how far that is (--reset was not given)\n"))
	_, err = os.Stat(filepath.Join(folder, "surprise"))
	is.True(os.IsNotExist(err))
	out, err = test(`case $1 in triggerReset) echo ',"reset":"underWay","needsRestart":true' > reset; echo '{"result":{}}'; exit;; esac`, "--reset")
	is.NoErr(err)
	is.True(strings.Contains(out, "skipped it resets the host, and says how far that is (it has begun the reset, which needs a restart: restart this machine, and test once more)\n"))
	for flaw, finding := range map[string]string{
		`[ $1 != setHostname ] || fail failed`:                                                       "it names the host, twice: it is wrong",
		`[ $1 != installCloudConfig ] || echo "$request" >&2`:                                        "it installs a cloud config and takes it away, and shows none of it: it showed the cloud config, which is secret",
		`[ $1 != installCloudConfig ] || case $request in *elemental_test*);; *) fail failed;; esac`: "it installs a cloud config and takes it away, and shows none of it: it is wrong",
		`[ $1 != triggerReset ] || { echo '{"result":{}}'; exit; }`:                                  `it resets the host, and says how far that is: after triggerReset, its reset is "", and must be "underWay"`,
		`[ $1 != triggerReset ] || [ ! -e reset ] || fail failed`:                                    "it resets the host, and says how far that is: it is wrong",
		`[ $1 != reset ] || { rm -f reset; echo '{"result":{}}'; exit; }`:                            `it resets the host, and says how far that is: after reset, its reset is "", and must be "done"`,
	} {
		t.Run(finding, func(t *testing.T) {
			out, err := test(flaw, "--configure", "--reset")
			if err == nil || !strings.Contains(out, "FAILED  "+finding) {
				t.Errorf("%v:\n%s", err, out)
			}
		})
	}
}

// TestDocumentedReport tests the examples of the documentation, and compares with the report that stands there.
func TestDocumentedReport(t *testing.T) {
	is := is.New(t)
	text, err := os.ReadFile("../../docs/plugin-protocol.md")
	is.NoErr(err)
	cut := func(from, to string) string {
		_, after, found := strings.Cut(string(text), from)
		is.True(found)
		inner, _, _ := strings.Cut(after, to)
		return inner
	}
	folder := t.TempDir()
	request := filepath.Join(folder, "request.json")
	is.NoErr(os.WriteFile(request, []byte(`{"motd":"hello"}`), 0o600))
	for language, program := range map[string]string{"sh": "jq", "python": "python3"} {
		if _, err := os.Stat("/usr/bin/" + program); err != nil {
			t.Logf("the example needs %s: apt-get install %s", program, program)
			continue
		}
		path := filepath.Join(folder, language)
		is.NoErr(os.WriteFile(path, []byte(cut("```"+language+"\n", "```")), 0o755))
		out, err := run(t, "", "test", "--stage", path, "--request", request)
		is.NoErr(err)
		is.Equal(out, cut("--stage ./motd\n", "```"))
	}
}
