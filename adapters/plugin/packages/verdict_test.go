package packages

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"elemental/core"
)

func equal(installed, asked string) bool { return installed == asked }

func TestJudge(t *testing.T) {
	has := inventory{Installed: map[string][]string{"nginx": {"1.22"}, "kernel": {"5", "6"}}, Held: map[string]string{}}
	holds := inventory{Installed: has.Installed, Held: map[string]string{"nginx": "1.22"}}
	none := inventory{Installed: has.Installed} // Of a tool that can't hold anything.
	ours := state{Restart: pending{Boot: "now", Because: []string{"kernel"}}}
	for _, c := range []struct {
		request string
		have    inventory
		state   state
		verdict core.Verdict
		detail  string
	}{
		{`{"install":["nginx"]}`, has, state{}, core.VerdictSatisfied, ""},
		{`{"install":["nginx","curl"]}`, has, state{}, core.VerdictOutdated, "curl is missing"},
		{`{"versions":{"nginx":"1.24"},"install":["curl"]}`, has, state{}, core.VerdictOutdated, "curl is missing; nginx is 1.22, 1.24 is asked for"},
		{`{"versions":{"nginx":"1.22"}}`, has, state{}, core.VerdictOutdated, "nginx is not held at 1.22"},
		{`{"versions":{"nginx":"1.22"}}`, holds, state{}, core.VerdictSatisfied, ""},
		{`{"versions":{"nginx":"1.22"}}`, none, state{}, core.VerdictSatisfied, ""},
		{`{"versions":{"kernel":"5"}}`, none, state{}, core.VerdictSatisfied, ""},
		{`{"versions":{"curl":"7"}}`, none, state{}, core.VerdictOutdated, "curl is missing, 7 is asked for"},
		{`{"install":["nginx"]}`, holds, state{}, core.VerdictOutdated, "nginx is still held at 1.22"},
		{`{"remove":["curl"]}`, has, state{}, core.VerdictSatisfied, ""},
		{`{"remove":["nginx"]}`, has, state{}, core.VerdictOutdated, "nginx 1.22 is still installed"},
		{`{"remove":["curl"]}`, inventory{Partial: []string{"curl"}}, state{}, core.VerdictOutdated, "curl is not wholly gone"},
		{`{"refresh":true}`, has, state{}, core.VerdictOutdated, "this request was not carried out yet"},
		{`{"refresh":true}`, has, state{Carried: "hash"}, core.VerdictSatisfied, ""},
		{`{"upgrade":"all"}`, has, state{Carried: "another"}, core.VerdictOutdated, "this request was not carried out yet"},
		{`{"upgrade":["nginx"]}`, has, state{Carried: "hash"}, core.VerdictSatisfied, ""},
		{`{"install":["nginx"]}`, has, state{Open: &begun{Boot: "before"}}, core.VerdictOutdated, "the last transaction was interrupted"},
		{`{"install":["nginx"]}`, has, ours, core.VerdictStaged, "the host must restart for kernel"},
		{`{"install":["curl"]}`, has, ours, core.VerdictOutdated, "curl is missing"},
		{`{"install":["nginx"]}`, has, state{Restart: pending{Boot: "before", Because: []string{"kernel"}}}, core.VerdictSatisfied, ""},
		{
			`{"install":["nginx"]}`, inventory{Installed: has.Installed, Broken: []string{"curl is unpacked, and not configured"}},
			state{Foreign: pending{Boot: "now", Because: []string{"libc6"}}}, core.VerdictSatisfied,
			"the host was to be restarted even before, for libc6; curl is unpacked, and not configured",
		},
	} {
		t.Run(c.request+c.detail, func(t *testing.T) {
			is := is.New(t)
			want, err := readRequest([]byte(`{"packages":` + c.request + `}`))
			is.NoErr(err)
			view := judge(want, "hash", c.have, equal, c.state, "now")
			is.Equal(view.Verdict, c.verdict)
			is.Equal(view.Detail, c.detail)
			is.Equal(view.NeedsRestart, c.verdict == core.VerdictStaged)
			// A plan has something in it exactly where something is asked that is not so.
			_, needed := planFor(want, c.have, equal)
			is.Equal(needed, len(differences(want, c.have, equal)) > 0 || want.Upgrade.All || len(want.Upgrade.Names) > 0)
		})
	}
}

func TestSummary(t *testing.T) {
	is := is.New(t)
	have := inventory{Installed: map[string][]string{"nginx": {"1.22"}, "kernel": {"5", "6"}}}
	r := request{Versions: map[string]string{"nginx": "1.22"}, Install: []string{"kernel", "missing", "nginx"}}
	is.Equal(summary(r, have), "nginx 1.22, kernel 5 and 6")
	is.Equal(summary(request{Upgrade: upgrade{All: true}}, have), "")
	for i := range 100 {
		name := strings.Repeat("x", i+1)
		r.Install, have.Installed[name] = append(r.Install, name), []string{"1"}
	}
	is.Equal(summary(r, have)[:26], "nginx 1.22, kernel 5 and 6")
	is.True(len(summary(r, have)) <= maxSummary)
	is.True(strings.HasSuffix(summary(r, have), " more"))
}

func TestRequests(t *testing.T) {
	is := is.New(t)
	for path, text := range map[string]string{
		"packages.remove[1]":  `{"remove":["a","b"],"install":["b"]}`,
		"packages.remove[0]":  `{"remove":["a"],"versions":{"a":"1"}}`,
		"packages.upgrade[0]": `{"upgrade":["a"],"versions":{"a":"1"}}`,
	} {
		_, err := readRequest([]byte(`{"packages":` + text + `}`))
		var failure core.Failure
		is.True(errors.As(err, &failure))
		is.Equal(failure.Class, core.FailureInvalid)
		is.Equal(failure.Path, path)
	}
	for _, text := range []string{``, `null`, `{}`, `{"packages":null}`, `{"packages":{}}`} {
		_, err := readRequest([]byte(text))
		is.NoErr(err)
	}
}

// TestSchema holds the schema against what must never reach a program.
func TestSchema(t *testing.T) {
	is := is.New(t)
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(requestSchema))
	is.NoErr(err)
	compiler := jsonschema.NewCompiler()
	is.NoErr(compiler.AddResource("packages.json", document))
	schema, err := compiler.Compile("packages.json")
	is.NoErr(err)
	valid := func(request map[string]any) bool {
		text, err := json.Marshal(map[string]any{"packages": request})
		is.NoErr(err)
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		is.NoErr(err)
		return schema.Validate(value) == nil
	}
	for _, name := range []string{"a", "nginx", "g++", "libc6:i386", "libstdc++6", "python3.11", "kernel-core", "Glibc_x", "0ad"} {
		is.True(valid(map[string]any{"install": []string{name}}))
		is.True(valid(map[string]any{"versions": map[string]string{name: "1:2.3~rc1-4+b1^git_5"}}))
	}
	for _, name := range []string{
		"", "-", "--now", "-o=x", "a b", "a;b", "a\nb", "a\n", "a-", "a=1", "a/b", "a*", "^a", "$(a)", "`a`", "../a", "a:", "a:-", "@group", "é", strings.Repeat("a", 256),
	} {
		is.True(!valid(map[string]any{"install": []string{name}}))
		is.True(!valid(map[string]any{"remove": []string{name}}))
		is.True(!valid(map[string]any{"upgrade": []string{name}}))
		is.True(!valid(map[string]any{"versions": map[string]string{name: "1"}}))
	}
	for _, version := range []string{"", "-1", "1 2", "1;2", "1\n", "*", "1*", "$x", "1/2"} {
		is.True(!valid(map[string]any{"versions": map[string]string{"a": version}}))
	}
	is.True(valid(map[string]any{"upgrade": "all", "refresh": true, "revision": "May"}))
	is.True(!valid(map[string]any{"upgrade": "everything"}))
}

// TestState tells what becomes of a memory that is damaged.
func TestState(t *testing.T) {
	is := is.New(t)
	folder := t.TempDir()
	s, err := readState(folder)
	is.NoErr(err)
	is.Equal(s, state{})
	want := state{Carried: "x", Open: &begun{Boot: "b", Before: []string{"c"}}, Restart: pending{Boot: "b", Because: []string{"d"}}, Changed: "b"}
	is.NoErr(want.write(folder))
	s, err = readState(folder)
	is.NoErr(err)
	is.Equal(s, want)
	is.NoErr(os.WriteFile(filepath.Join(folder, stateFile), []byte(`{"Carried":"x","Op`), 0o600))
	s, err = readState(folder)
	is.NoErr(err)
	is.Equal(s, state{})
}
