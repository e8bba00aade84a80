package plugin

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/matryer/is"

	"elemental/core"
	"elemental/ports"
	"elemental/ports/portstest"
)

// FuzzAnswer reads any line as each kind of answer: what can be read is within its bounds, and survives
// being written and read again.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		`{"progress":{"step":"Fetching","percent":12.5,"message":"1 of 8"}}`,
		`{"result":{"verdict":"staged","current":{"reference":"r","digest":"d","version":"v"},"needsRestart":true,"installed":false,"reset":"done"}}`,
		`{"result":{"name":"n","protocols":["elemental.io/plugin/v1"],"verbs":["stage"],"restarts":true,"schema":{}}}`,
		`{"error":{"class":"invalid","reason":"NoSuchField","message":"no such field","path":"osVersion.x"}}`,
		`{"error":null,"result":{}}`, `{"RESULT":{},"result":[]}`, `{"progress":{"percent":1e400}}`, `{`, `null`, "{\"result\":\"\xff\"}",
	} {
		f.Add([]byte(seed))
	}
	of := ports.Description{Verbs: []core.Verb{core.VerbInstall}}
	f.Fuzz(func(t *testing.T, line []byte) {
		a, err := parseAnswer(line)
		if err != nil {
			forPeople(t, err)
			return
		}
		switch {
		case a.Progress != nil:
			p := a.Progress.port()
			if p.Percent < -1 || p.Percent > 100 || len(p.Message) > maxText+4 {
				t.Fatalf("out of bounds: %+v", p)
			}
		case a.Error != nil:
			if c := a.Error.core(); c.Class == "" || c.Message == "" || len(c.Message) > maxText+4 {
				t.Fatalf("out of bounds: %+v", c)
			}
		default:
			_, _ = parseDescription(a.Result)
			o, err := parseObservation(a.Result, of)
			if err != nil {
				return
			}
			text, err := json.Marshal(wireObservation(o))
			if err != nil {
				t.Fatal(err)
			}
			again, err := parseObservation(text, of)
			if clipped := strings.Contains(string(text), "…"); !clipped && (err != nil || !reflect.DeepEqual(o, again)) {
				t.Fatalf("%+v became %+v: %v", o, again, err)
			}
		}
	})
}

// FuzzDescription reads anything as the result of describe.
func FuzzDescription(f *testing.F) {
	f.Add([]byte(`{"name":"n","protocols":["elemental.io/plugin/v1"],"verbs":["stage"],"restarts":true,"schema":{}}`))
	f.Fuzz(func(t *testing.T, result []byte) {
		d, err := parseDescription(result)
		if err != nil {
			forPeople(t, err)
			return
		}
		if len(d.Name) > maxName+4 || len(d.Schema) > 0 && !json.Valid(d.Schema) {
			t.Fatalf("out of bounds: %+v", d)
		}
	})
}

// FuzzObservation reads anything as the result of observe, of a plugin that can install and of one that can't.
func FuzzObservation(f *testing.F) {
	f.Add([]byte(`{"verdict":"rolledBack","fallen":{"reference":"r"},"reset":"underWay","detail":"why","bootstrapApplied":true}`), true)
	f.Fuzz(func(t *testing.T, result []byte, installs bool) {
		of := ports.Description{Restarts: true}
		if installs {
			of.Verbs = []core.Verb{core.VerbInstall}
		}
		o, err := parseObservation(result, of)
		if err != nil {
			forPeople(t, err)
			return
		}
		if o.Verdict == "" || !o.Restarts || len(o.Detail) > maxText+4 || len(o.Current.String()) > 4*maxName {
			t.Fatalf("out of bounds: %+v", o)
		}
	})
}

// FuzzRequest lets anything be asked of a plugin: it answers with one line of the protocol, whatever that was.
func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"protocol":"elemental.io/plugin/v1","verb":"stage","host":"h","workDir":"/","input":{"osVersionManagement":{"a":1},"bootstrap":{"format":"ignition","data":"AA=="}}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		in, err := readRequest(bytes.NewReader(text))
		if err != nil {
			forPeople(t, err)
		} else if in.Protocol != Protocol && in.Verb != core.VerbDescribe {
			t.Fatalf("the protocol %q was accepted", in.Protocol)
		}
		var out bytes.Buffer
		open := func(Opening) (ports.Plugin, error) { return &portstest.Plugin{}, nil }
		if err := Serve(t.Context(), bytes.NewReader(text), &out, open); err != nil {
			t.Fatal(err)
		}
		lines := bytes.Split(bytes.TrimSuffix(out.Bytes(), []byte("\n")), []byte("\n"))
		for i, line := range lines {
			if a, err := parseAnswer(line); err != nil || a.final() != (i == len(lines)-1) {
				t.Fatalf("the answer is not of the protocol: %q: %v", out.String(), err)
			}
		}
	})
}

func forPeople(t *testing.T, err error) {
	t.Helper()
	if !utf8.ValidString(err.Error()) || len(err.Error()) > 2*maxText {
		t.Fatalf("the error is not for people: %q", err)
	}
}

func TestClip(t *testing.T) {
	is := is.New(t)
	is.Equal(clip("short", 10), "short")
	is.Equal(clip("größer", 3), "gr…") // never half a character
	is.Equal(clip("\xff\xff\xff", 1), "\xff…")
}
