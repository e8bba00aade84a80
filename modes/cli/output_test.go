package cli

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/matryer/is"

	"elemental/ports"
	"elemental/ports/portstest"
)

// object is an object with everything in it that YAML or JSON could spoil.
const object = `{"kind":"ElementalHost","apiVersion":"x/v1","metadata":{"name":"a","labels":{"b":"true","a":"1"}},` +
	`"spec":{"osVersionManagement":{"large":9007199254740993,"huge":18446744073709551615,"half":0.5,"no":false,"nil":null,"empty":[],"none":{},` +
	`"list":[{"b":1,"a":"x: y"},"2030-01-02T03:04:05Z"],"text":"one\ntwo\n","esc":"\u001b[31m<&>"}}}`

func TestOutputIsKubectls(t *testing.T) {
	is := is.New(t)
	var out bytes.Buffer
	host := ports.Target{Name: "a", Object: []byte(object)}
	is.NoErr(writeObjects(&out, outputYAML, []ports.Target{host}, true))
	is.Equal(out.String(), `apiVersion: x/v1
kind: ElementalHost
metadata:
  labels:
    a: "1"
    b: "true"
  name: a
spec:
  osVersionManagement:
    empty: []
    esc: "\e[31m<&>"
    half: 0.5
    huge: 18446744073709551615
    large: 9007199254740993
    list:
    - a: 'x: y'
      b: 1
    - "2030-01-02T03:04:05Z"
    nil: null
    "no": false
    none: {}
    text: |
      one
      two
`)
	out.Reset()
	is.NoErr(writeObjects(&out, outputJSON, []ports.Target{host}, true))
	is.True(strings.HasPrefix(out.String(), "{\n    \"apiVersion\": \"x/v1\",\n    \"kind\": \"ElementalHost\",\n"))
	is.True(json.Valid(out.Bytes()))
	for _, kept := range []string{"9007199254740993", "18446744073709551615", `\u001b[31m`} {
		is.True(strings.Contains(out.String(), kept))
	}
}

func TestOutputOfLists(t *testing.T) {
	is := is.New(t)
	for n, alone := range map[int]bool{0: false, 1: false, 2: true, 250: false} {
		hosts := make([]ports.Target, n)
		for i := range hosts {
			hosts[i].Object = []byte(object)
		}
		var inJSON, inYAML bytes.Buffer
		is.NoErr(writeObjects(&inJSON, outputJSON, hosts, alone))
		var list struct {
			APIVersion, Kind string
			Items            []json.RawMessage
			Metadata         map[string]string
		}
		is.NoErr(json.Unmarshal(inJSON.Bytes(), &list))
		is.Equal(list.APIVersion+" "+list.Kind, "v1 List")
		is.Equal(list.Metadata, map[string]string{"resourceVersion": ""})
		is.Equal(len(list.Items), n)
		is.True(list.Items != nil)
		// It is the very text that one encoder would write of all of it.
		value, err := decode(inJSON.Bytes())
		is.NoErr(err)
		again, err := json.MarshalIndent(value, "", "    ")
		is.NoErr(err)
		is.Equal(inJSON.String(), string(again)+"\n")
		is.NoErr(writeObjects(&inYAML, outputYAML, hosts, alone))
		var whole bytes.Buffer
		is.NoErr(writeYAML(&whole, value))
		is.Equal(inYAML.String(), whole.String())
	}
}

func TestOutputOfNamedHosts(t *testing.T) {
	is := is.New(t)
	d := &desk{Operator: &portstest.Operator{}}
	d.Put(t, runningHost("a"), nil, "")
	d.Put(t, runningHost("b"), nil, "")
	for line, list := range map[string]bool{
		"hosts a -o yaml": false, "hosts a b -o yaml": true, "hosts -o yaml": true, "hosts -o yaml --field-selector metadata.name=a": true,
	} {
		out, _, status := d.types(t, line)
		is.Equal(status, 0)
		is.Equal(strings.Contains(out, "kind: List"), list)
		is.Equal(strings.Contains(out, "kind: ElementalHost"), true)
	}
	out, _, _ := d.types(t, "hosts b a -o name")
	is.Equal(out, resourceName+"a\n"+resourceName+"b\n")
	err := writeObjects(&bytes.Buffer{}, outputYAML, []ports.Target{{Namespace: "field", Name: "a"}}, true)
	is.True(err != nil)
	is.True(strings.Contains(err.Error(), "field/a"))
}
