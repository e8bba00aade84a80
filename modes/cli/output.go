package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"

	"elemental/ports"
)

// The forms in which hosts are shown.
const (
	outputTable = "table"
	outputWide  = "wide"
	outputJSON  = "json"
	outputYAML  = "yaml"
	outputName  = "name"
)

func outputs() []string {
	return []string{outputTable, outputWide, outputJSON, outputYAML, outputName}
}

// resourceName stands before the names of hosts where kubectl is to read them.
const resourceName = "elementalhost.infrastructure.cluster.x-k8s.io/"

// writeObjects writes the objects themselves as kubectl does: alone where one is named, else as a list. They are
// written one after the other, because there may be many.
func writeObjects(out io.Writer, output string, hosts []ports.Target, alone bool) error {
	buffered := bufio.NewWriter(out)
	var err error
	switch {
	case output == outputName:
		for _, h := range hosts {
			fmt.Fprintln(buffered, resourceName+h.Name)
		}
	case alone && len(hosts) == 1:
		err = writeObject(buffered, output, hosts[0])
	case output == outputJSON:
		err = writeListJSON(buffered, hosts)
	default:
		err = writeListYAML(buffered, hosts)
	}
	return errors.Join(err, buffered.Flush())
}

// writeObject writes one object alone.
func writeObject(out io.Writer, output string, host ports.Target) error {
	value, err := valueOf(host)
	if err != nil {
		return err
	}
	if output == outputYAML {
		return writeYAML(out, value)
	}
	text, err := json.MarshalIndent(value, "", "    ")
	if err == nil {
		_, err = fmt.Fprintf(out, "%s\n", text)
	}
	return err
}

func writeListJSON(out io.Writer, hosts []ports.Target) error {
	fmt.Fprint(out, "{\n    \"apiVersion\": \"v1\",\n    \"items\": [")
	for i, h := range hosts {
		value, err := valueOf(h)
		if err != nil {
			return err
		}
		text, err := json.MarshalIndent(value, "        ", "    ")
		if err != nil {
			return err
		}
		comma := ","
		if i == 0 {
			comma = ""
		}
		fmt.Fprintf(out, "%s\n        %s", comma, text)
	}
	end := "\n    ]"
	if len(hosts) == 0 {
		end = "]"
	}
	_, err := fmt.Fprint(out, end+",\n    \"kind\": \"List\",\n    \"metadata\": {\n        \"resourceVersion\": \"\"\n    }\n}\n")
	return err
}

func writeListYAML(out io.Writer, hosts []ports.Target) error {
	begin := "apiVersion: v1\nitems:\n"
	if len(hosts) == 0 {
		begin = "apiVersion: v1\nitems: []\n"
	}
	fmt.Fprint(out, begin)
	for some := range slices.Chunk(hosts, 100) { // An encoder for each would be slow, and one for all would be large.
		var values []any
		for _, h := range some {
			value, err := valueOf(h)
			if err != nil {
				return err
			}
			values = append(values, value)
		}
		if err := writeYAML(out, values); err != nil {
			return err
		}
	}
	_, err := fmt.Fprint(out, "kind: List\nmetadata:\n  resourceVersion: \"\"\n")
	return err
}

// valueOf reads the object of a host.
func valueOf(host ports.Target) (any, error) {
	value, err := decode(host.Object)
	if err != nil {
		return nil, fmt.Errorf("writing %s/%s: its object is not JSON: %w", host.Namespace, host.Name, err)
	}
	return value, nil
}

// decode reads JSON, and keeps whole numbers whole.
func decode(text []byte) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var value any
	err := decoder.Decode(&value)
	return value, err
}

// writeYAML writes a value that was JSON as kubectl writes YAML: keys in their order, lists at the column of their key.
func writeYAML(out io.Writer, value any) error {
	encoder := yaml.NewEncoder(out)
	encoder.SetIndent(2)
	encoder.CompactSeqIndent()
	return errors.Join(encoder.Encode(numbers(value)), encoder.Close())
}

// numbers makes numbers of what JSON says are numbers; to YAML they would be texts.
func numbers(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for key := range v {
			v[key] = numbers(v[key])
		}
	case []any:
		for i := range v {
			v[i] = numbers(v[i])
		}
	case json.Number:
		if whole, err := strconv.ParseInt(v.String(), 10, 64); err == nil {
			return whole
		}
		if large, err := strconv.ParseUint(v.String(), 10, 64); err == nil {
			return large
		}
		if broken, err := v.Float64(); err == nil {
			return broken
		}
	}
	return value
}
