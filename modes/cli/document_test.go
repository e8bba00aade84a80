package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"
)

func TestDocumentOf(t *testing.T) {
	bomb := "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for before, name := 'a', 'b'; name < 'k'; before, name = name, name+1 {
		bomb += fmt.Sprintf("%c: &%c [%s]\n", name, name, strings.Repeat(fmt.Sprintf("*%c, ", before), 10))
	}
	for name, c := range map[string]struct{ text, want, wrong string }{
		"JSON":                {text: "{\n\t\"b\": 1.0, \"a\": [null, true]\n}\n", want: `{"a":[null,true],"b":1.0}`},
		"YAML":                {text: "# what it is to run\n---\nosVersion:\n  imageUri: oci://r/os:2\n  debug: true\n", want: `{"osVersion":{"debug":true,"imageUri":"oci://r/os:2"}}`},
		"numbers":             {text: "a: 1\nb: 1.50\nc: 0x10\nd: +5\ne: 1e3\nf: -0.5\ng: .5\nh: 12345678901234567890123\n", want: `{"a":1,"b":1.50,"c":16,"d":5,"e":1e3,"f":-0.5,"g":0.5,"h":12345678901234567890123}`},
		"texts":               {text: "a: '1'\nb: 2030-01-02\nc: yes\nd: |\n  two\n  lines\ne: ~\nf: \"\\u00e9\"\n", want: `{"a":"1","b":"2030-01-02","c":"yes","d":"two\nlines\n","e":null,"f":"é"}`},
		"an alias":            {text: "a: &x {n: 1}\nb: *x\n", want: `{"a":{"n":1},"b":{"n":1}}`},
		"nothing asked":       {text: "{}", want: "{}"},
		"empty":               {text: "", wrong: "there is no document in it"},
		"only a comment":      {text: "# later\n", wrong: "there is no document in it"},
		"null":                {text: "null", wrong: "it must be an object"},
		"a list":              {text: "- a\n", wrong: "it must be an object"},
		"a text":              {text: "oci://r/os:2", wrong: "it must be an object"},
		"two documents":       {text: "a: 1\n---\nb: 2\n", wrong: "line 2: another document begins"},
		"not YAML":            {text: "a: 1\nb: [1\nc: 2\n", wrong: "line 2: did not find expected ',' or ']'"},
		"no key":              {text: "a: 1\nb\nc: 2\n", wrong: "line 2: could not find expected ':'"},
		"no end":              {text: "a: 1\n- b\n", wrong: "line 2: did not find expected key"},
		"the first line":      {text: "a: b: c\n", wrong: "line 1: mapping values are not allowed"},
		"a bell":              {text: "a: \a\n", wrong: "control characters are not allowed"},
		"a tab":               {text: "a:\n\tb: 1\n", wrong: "line 2: "},
		"a field twice":       {text: "a: 1\nb: 2\na: 3\n", wrong: `line 3: the field "a" stands in line 1 already`},
		"a field twice, JSON": {text: `{"a":1,"a":2}`, wrong: `"a"`},
		"a number as a name":  {text: "x: 1\n1: a\n", wrong: "line 2: the name of a field must be text"},
		"a list as a name":    {text: "? [a]\n: b\n", wrong: "line 1: the name of a field must be text"},
		"infinity":            {text: "a: .inf\n", wrong: "line 1: JSON has no number .inf"},
		"a tag":               {text: "a: !secret b\n", wrong: "line 1: the tag !secret is not understood"},
		"a merge":             {text: "a: &x {n: 1}\nb:\n  <<: *x\n", wrong: "line 3: << is not understood"},
		"a bomb":              {text: bomb, wrong: "with its aliases written out"},
		"a cycle":             {text: "a: &a [*a]\n", wrong: "line 1: "},
		"depth":               {text: strings.Repeat("[", 300) + strings.Repeat("]", 300), wrong: "nested deeper than 200"},
		"size":                {text: "a: " + strings.Repeat("x", 1<<20), wrong: "more than 1048576 bytes"},
		"no UTF-8":            {text: "a: \xff\xfe\n", wrong: "UTF-8"},
		"a manifest":          {text: "apiVersion: v1\nkind: ElementalHost\nspec:\n  osVersionManagement: {}\n", wrong: "it has the field spec at its top"},
		"one level too much":  {text: "osVersionManagement:\n  osVersion: {}\n", wrong: "it has the field osVersionManagement at its top"},
		"a field called spec": {text: "spec: a\nother: b\n", want: `{"other":"b","spec":"a"}`},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			document, err := documentOf("-", strings.NewReader(c.text))
			if c.wrong != "" {
				t.Log(err)
				is.True(err != nil)
				is.True(strings.HasPrefix(err.Error(), "reading the standard input: "))
				is.True(strings.Contains(err.Error(), c.wrong))
				return
			}
			is.NoErr(err)
			is.Equal(string(document), c.want)
		})
	}
}

func TestDocumentOfFile(t *testing.T) {
	is := is.New(t)
	file := filepath.Join(t.TempDir(), "os.yaml")
	is.NoErr(os.WriteFile(file, []byte("a: [\n"), 0o600))
	_, err := documentOf(file, nil)
	is.True(strings.HasPrefix(fmt.Sprint(err), "reading "+file+": line "))
	_, err = documentOf(filepath.Dir(file), nil)
	is.True(strings.Contains(fmt.Sprint(err), "is a directory"))
}
