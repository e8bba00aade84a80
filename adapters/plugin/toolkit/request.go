package toolkit

import (
	"bytes"
	_ "embed" // The schema is part of the binary.
	"encoding/json"
	"strings"

	"elemental/core"
)

// schema is what osVersionManagement may say.
//
//go:embed schema.json
var schema []byte

// wish is an osVersionManagement, read.
type wish struct {
	ImageURI        string `json:"imageUri"`
	UpgradeRecovery bool   `json:"upgradeRecovery"`
	Debug           bool   `json:"debug"`
}

// readWish reads osVersionManagement. Where it asks for nothing, the answer is nil. Errors are core.Failures of
// class invalid.
func readWish(document []byte) (*wish, error) {
	text, err := core.CanonicalJSON(document)
	if err != nil {
		return nil, core.Failure{Class: core.FailureInvalid, Reason: "Malformed", Path: "osVersionManagement", Message: err.Error()}
	}
	if len(text) == 0 {
		return nil, nil
	}
	var read struct {
		OSVersion *wish `json:"osVersion"`
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&read); err != nil {
		return nil, core.Failure{Class: core.FailureInvalid, Reason: "Malformed", Path: "osVersionManagement", Message: err.Error()}
	}
	return read.OSVersion, nil
}

// source is the image as the toolkit wants it named: what follows oci:// is not a host and a path to it.
func (w wish) source() string { return "oci:" + strings.TrimPrefix(w.ImageURI, "oci://") }
