package deploy

import (
	_ "embed" // The schema is part of the binary.
	"encoding/json"
	"fmt"
	"time"

	"elemental/core"
)

// requestSchema is what osVersionManagement may say. It is published, and each request is held against it before
// the engine reads it.
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

// readWish reads osVersionManagement, which whoever holds the engine has held against the schema. Where it asks for
// nothing, the answer is nil. Errors are core.Failures of class invalid that name the field at fault.
func readWish(document []byte) (*wish, error) {
	canonical, err := core.CanonicalJSON(document)
	if err != nil {
		return nil, core.Failure{Class: core.FailureInvalid, Reason: "Malformed", Message: err.Error()}
	}
	if canonical == nil {
		return nil, nil
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
	return read.OSVersion, checkTimeouts(read.OSVersion.HealthChecks)
}

// checkTimeouts says what the schema can't.
func checkTimeouts(checks []HealthCheck) error {
	for i, check := range checks {
		if check.Timeout == "" {
			continue
		}
		if d, err := time.ParseDuration(check.Timeout); err != nil || d <= 0 {
			return core.Failure{
				Class: core.FailureInvalid, Reason: "WrongValue", Path: fmt.Sprintf("osVersion.healthChecks[%d].timeout", i),
				Message: fmt.Sprintf("%q is not a time such as 90s", check.Timeout),
			}
		}
	}
	return nil
}
