package plugin_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"

	"elemental/adapters/plugin"
	"elemental/core"
	"elemental/ports"
	"elemental/ports/portstest"
)

// strict is a script with a schema that marks each start.
func strict(schema string) string {
	return `#!/bin/sh
echo $1 >> started
case "$1" in
describe) echo '{"result":{"name":"strict","protocols":["elemental.io/plugin/v1"],"verbs":["observe","stage","confirm"],"schema":` + schema + `}}';;
observe) echo '{"result":{"verdict":"satisfied"}}';;
*) echo '{"result":{}}';;
esac
`
}

// TestWrongFieldStartsNothing shows that a request which a plugin's schema does not accept never reaches it.
func TestWrongFieldStartsNothing(t *testing.T) {
	is := is.New(t)
	workDir := t.TempDir()
	path := write(t, strict(`{"type":"object","properties":{"motd":{"type":"string"}},"additionalProperties":false}`))
	r := plugin.NewRunner(plugin.Config{Name: path, WorkDir: workDir, Deadlines: deadlines()})
	wrong := ports.Request{Host: "host-1", OSVersion: []byte(`{"mtod":"hello"}`)}
	want := core.Failure{
		Class: core.FailureInvalid, Reason: "UnknownField", Message: "there is no such field; did you mean motd?", Path: "mtod",
	}
	_, err := r.Observe(t.Context(), wrong)
	is.Equal(failureOf(t, err), want)
	is.Equal(failureOf(t, r.Do(t.Context(), core.VerbStage, wrong, ignore)), want)
	started := func() string {
		text, err := os.ReadFile(filepath.Join(workDir, "plugins", "plugin", "started"))
		is.NoErr(err)
		return strings.Join(strings.Fields(string(text)), " ")
	}
	is.Equal(started(), "describe")
	// A trial is confirmed whatever is asked by then, and nothing is asked for by an empty object too.
	is.NoErr(r.Do(t.Context(), core.VerbConfirm, wrong, ignore))
	_, err = r.Observe(t.Context(), ports.Request{OSVersion: []byte(`{}`)})
	is.NoErr(err)
	_, err = r.Observe(t.Context(), ports.Request{OSVersion: []byte(`{"motd":"hello"}`)})
	is.NoErr(err)
	is.Equal(started(), "describe confirm observe observe")
}

// TestBadSchemaOfAnother shows that a plugin whose schema can't be used is asked all the same, and that the log says so.
func TestBadSchemaOfAnother(t *testing.T) {
	is := is.New(t)
	s := script(t, "", func(c *plugin.Config) { c.Name = write(t, strict(`{"$ref":"file:///etc/passwd"}`)) })
	for range 2 {
		_, err := s.Observe(t.Context(), request(t))
		is.NoErr(err)
	}
	is.Equal(strings.Count(s.log.String(), "a schema that can't be used"), 1)
	is.True(strings.Contains(s.log.String(), "a schema may refer to its own parts only"))
}

// described is a plugin of this program with a schema of its own.
type described struct {
	*portstest.Plugin
	schema string
}

func (d described) Describe(ctx context.Context) (ports.Description, error) {
	out, err := d.Plugin.Describe(ctx)
	out.Schema = []byte(d.schema)
	return out, err
}

// TestChecked shows that a plugin that is served is asked for nothing that its schema does not accept.
func TestChecked(t *testing.T) {
	is := is.New(t)
	fake := &portstest.Plugin{}
	ask := func(schema, verb, document string) string {
		return serve(t, `{"protocol":"elemental.io/plugin/v1","verb":"`+verb+`","input":{"osVersionManagement":`+document+`}}`,
			func(plugin.Opening) (ports.Plugin, error) { return described{fake, schema}, nil })
	}
	const schema = `{"properties":{"a":{"type":"number"}}}`
	is.Equal(ask(schema, "stage", `{"a":"b"}`), `{"error":{"class":"invalid","reason":"WrongType","message":"its type is string; it must be number","path":"a"}}`+"\n")
	is.Equal(ask(schema, "observe", `{"a":"b"}`), `{"error":{"class":"invalid","reason":"WrongType","message":"its type is string; it must be number","path":"a"}}`+"\n")
	is.Equal(len(fake.Done()), 0)
	is.True(strings.Contains(ask(`{"type":7}`, "stage", `{"a":1}`), `"reason":"BadSchema","message":"the plugin \"fake\" publishes a schema that can't be used`))
	is.Equal(len(fake.Done()), 0)
	is.True(strings.HasSuffix(ask(schema, "stage", `{"a":1}`), `{"result":{}}`+"\n"))
	is.Equal(ask(``, "confirm", `{"a":"b"}`), `{"result":{}}`+"\n")
	is.Equal(fake.Done(), []core.Verb{core.VerbStage, core.VerbConfirm})
}

func ignore(ports.Progress) {}
