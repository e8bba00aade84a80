package settings

import (
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"
)

func TestDecode(t *testing.T) {
	for text, want := range map[string]struct {
		tries int
		words string // of the error
	}{
		"":                          {3, ""},
		"# nothing\n":               {3, ""},
		"tries: 5":                  {5, ""},
		"tires: 5":                  {3, "line 1: there is no field tires; did you mean tries?"},
		"tries: five":               {3, "line 1: there must be a whole number, not five"},
		"tries: 5\n---\ntries: 6\n": {5, "one document"},
		"\t":                        {3, "it is no YAML: found character that cannot start any token"},
	} {
		is := is.New(t)
		read := struct{ Tries int }{3}
		err := Decode([]byte(text), &read)
		is.Equal(read.Tries, want.tries)
		is.Equal(err != nil, want.words != "")
		is.True(err == nil || strings.Contains(err.Error(), want.words))
	}
}

func TestErrorsAreInTheWordsOfWhoWroteTheFile(t *testing.T) {
	type inner struct {
		WorkDir string `yaml:"workDir"`
		Debug   *bool  `yaml:"debug,omitempty"`
		Secret  string `yaml:"token"`
	}
	type outer struct {
		Agent   inner         `yaml:"agent"`
		Plugins []string      `yaml:"plugins"`
		Room    uint64        `yaml:"minFreeMiB"`
		Timeout time.Duration `yaml:"timeout"`
		Tries   int
	}
	for text, want := range map[string]string{
		"agent:\n  workdir: /var":                   "line 2: there is no field workdir; did you mean workDir?",
		"agent:\n  colour: red":                     "line 2: there is no field colour",
		"Debug: true":                               "line 1: there is no field Debug", // Of another level it is no field.
		"\"two\\nlines\": 1":                        `line 1: there is no field "two\nlines"`,
		"agent: {debug: maybe}":                     "line 1: there must be true or false, not maybe",
		"agent: {token: [s3cret]}":                  "line 1: there must be text, not a list",
		"agent: {token: {s3cret: s3cret}}":          "line 1: there must be text, not fields",
		"agent: s3cret":                             "line 1: there must be fields, not text",
		"agent: [s3cret]":                           "line 1: there must be fields, not a list",
		"plugins: s3cret":                           "line 1: there must be a list, not text",
		"plugins: 1":                                "line 1: there must be a list, not a number",
		"plugins: true":                             "line 1: there must be a list, not true or false",
		"minFreeMiB: -1":                            "line 1: there must be a whole number that is not below 0, not -1",
		"timeout: a while":                          `line 1: there must be a duration such as 90s or 5m, not "a while"`,
		"timeout: 5":                                "line 1: there must be a duration such as 90s or 5m, not 5",
		"tries: 1\ntimeout: 5m\ntries: 2":           "line 3: the field tries is there twice, and on line 1 for the first time",
		"tires: 1\nplugins: {}\nagent: {debug: 12}": "line 1: there is no field tires; did you mean tries?; line 2: there must be a list, not fields; line 3: there must be true or false, not 12",
		"agent:\n  token: [s3cret\nplugins: x":      "it is no YAML: line 1: did not find expected ',' or ']'",
		strings.Repeat("x", 70) + ": 1":             `line 1: there is no field "` + strings.Repeat("x", 64) + `..."`,
	} {
		err := Decode([]byte(text), &outer{})
		if err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}
