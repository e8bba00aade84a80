package plugin

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/matryer/is"

	"elemental/core"
	"elemental/ports"
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
			if !utf8.ValidString(err.Error()) || len(err.Error()) > 2*maxText {
				t.Fatalf("the error is not for people: %q", err)
			}
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

func TestClip(t *testing.T) {
	is := is.New(t)
	is.Equal(clip("short", 10), "short")
	is.Equal(clip("größer", 3), "gr…") // never half a character
	is.Equal(clip("\xff\xff\xff", 1), "\xff…")
}
