package deploy

import (
	"bytes"
	_ "embed" // The schema is part of the binary.
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"elemental/core"
)

// requestSchema is what osVersionManagement may say. It is the one source of truth: a request is read after
// it was held against the schema, so that what is published and what is accepted never differ.
//
//go:embed schema.json
var requestSchema []byte

// wish is an osVersionManagement, read.
type wish struct {
	ImageURI        string        `json:"imageUri"`
	Digest          string        `json:"digest"`
	UpgradeRecovery bool          `json:"upgradeRecovery"`
	Debug           bool          `json:"debug"`
	HealthChecks    []HealthCheck `json:"healthChecks"`
}

// HealthCheck is one thing that must hold before a deployment is kept. Exactly one of Unit, Command and TCP is set.
type HealthCheck struct {
	Unit    string   `json:"unit,omitempty"`
	Command []string `json:"command,omitempty"`
	TCP     string   `json:"tcp,omitempty"`
	Timeout string   `json:"timeout,omitempty"` // as time.ParseDuration reads it; empty: the host's default
}

// readWish reads osVersionManagement. Where it asks for nothing, the answer is nil. Errors are core.Failures of
// class invalid that name the field at fault.
func readWish(document []byte) (*wish, error) {
	if len(bytes.TrimSpace(document)) == 0 {
		return nil, nil
	}
	canonical, err := core.CanonicalJSON(document)
	if err != nil {
		return nil, core.Failure{Class: core.FailureInvalid, Reason: "Malformed", Message: err.Error()}
	}
	if string(canonical) == "null" {
		return nil, nil
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(canonical))
	if err != nil {
		return nil, core.Failure{Class: core.FailureInvalid, Reason: "Malformed", Message: err.Error()}
	}
	schema, err := compileSchema()
	if err != nil {
		return nil, err
	}
	if err := schema.Validate(value); err != nil {
		var found *jsonschema.ValidationError
		if errors.As(err, &found) {
			return nil, explain(found)
		}
		return nil, fmt.Errorf("validating the request: %w", err)
	}
	var read struct {
		OSVersion *wish `json:"osVersion"`
	}
	if err := json.Unmarshal(canonical, &read); err != nil {
		return nil, core.Failure{Class: core.FailureInvalid, Reason: "Malformed", Message: err.Error()}
	}
	if read.OSVersion == nil {
		return nil, nil
	}
	return read.OSVersion, checkHealthChecks(read.OSVersion.HealthChecks)
}

func compileSchema() (*jsonschema.Schema, error) {
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(requestSchema))
	if err != nil {
		return nil, fmt.Errorf("reading the schema of the image plugin: %w", err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("image.json", document); err != nil {
		return nil, fmt.Errorf("reading the schema of the image plugin: %w", err)
	}
	return compiler.Compile("image.json")
}

// checkHealthChecks says what the schema can't without losing sight of the field at fault.
func checkHealthChecks(checks []HealthCheck) error {
	for i, check := range checks {
		path := fmt.Sprintf("osVersion.healthChecks[%d]", i)
		kinds := 0
		for _, set := range []bool{check.Unit != "", len(check.Command) > 0, check.TCP != ""} {
			if set {
				kinds++
			}
		}
		if kinds != 1 {
			return core.Failure{Class: core.FailureInvalid, Reason: "WrongValue", Path: path, Message: "one of unit, command and tcp must be set, and only one"}
		}
		if check.Timeout == "" {
			continue
		}
		if d, err := time.ParseDuration(check.Timeout); err != nil || d <= 0 {
			return core.Failure{Class: core.FailureInvalid, Reason: "WrongValue", Path: path + ".timeout", Message: fmt.Sprintf("%q is not a time such as 90s", check.Timeout)}
		}
	}
	return nil
}

// explain turns the deepest cause of a validation error into a failure that names the field. A field that is not
// known comes first: what is missing beside it is often the same field, mistyped.
func explain(e *jsonschema.ValidationError) core.Failure {
	causes := leaves(e)
	e = causes[0]
	for _, cause := range causes {
		if _, unknown := cause.ErrorKind.(*kind.AdditionalProperties); unknown {
			e = cause
			break
		}
	}
	failure := core.Failure{Class: core.FailureInvalid, Reason: "WrongValue", Path: fieldPath(e.InstanceLocation)}
	switch k := e.ErrorKind.(type) {
	case *kind.AdditionalProperties:
		failure.Reason, failure.Path = "UnknownField", fieldPath(append(e.InstanceLocation, k.Properties[0]))
		failure.Message = "the image plugin knows no such field"
	case *kind.Type:
		failure.Reason = "WrongType"
		failure.Message = fmt.Sprintf("its type is %s; it must be %s", k.Got, strings.Join(k.Want, " or "))
	case *kind.Required:
		failure.Reason, failure.Path = "MissingField", fieldPath(append(e.InstanceLocation, k.Missing[0]))
		failure.Message = "this field is required"
	case *kind.Pattern:
		failure.Message = fmt.Sprintf("%q does not match %s", k.Got, k.Want)
	case *kind.MinLength:
		failure.Message = "it must not be empty"
	default:
		failure.Message = fmt.Sprintf("it breaks the rule %q of the schema", strings.Join(e.ErrorKind.KeywordPath(), "/"))
	}
	return failure
}

// leaves are the causes that have no causes of their own.
func leaves(e *jsonschema.ValidationError) []*jsonschema.ValidationError {
	if len(e.Causes) == 0 {
		return []*jsonschema.ValidationError{e}
	}
	var all []*jsonschema.ValidationError
	for _, cause := range e.Causes {
		all = append(all, leaves(cause)...)
	}
	return all
}

// fieldPath writes a location as people do: osVersion.healthChecks[0].unit.
func fieldPath(location []string) string {
	var path strings.Builder
	for _, part := range location {
		if _, err := strconv.Atoi(part); err == nil {
			path.WriteString("[" + part + "]")
			continue
		}
		if path.Len() > 0 {
			path.WriteByte('.')
		}
		path.WriteString(part)
	}
	return path.String()
}
