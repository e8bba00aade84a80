// Package plugin runs plugin executables as child processes, and serves a Go plugin as one. The wire
// protocol between the two is written down for plugin authors in docs/plugin-protocol.md.
package plugin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strings"
	"unicode/utf8"

	"elemental/core"
	"elemental/ports"
)

// Protocol is the name and version of the wire protocol.
const Protocol = "elemental.io/plugin/v1"

const (
	maxLine    = 1 << 20 // bytes of one line of an answer
	maxRequest = 8 << 20 // bytes of a request; the API server holds no object of more than 3 MiB
	maxText    = 4 << 10 // bytes of a message for people
	maxName    = 1 << 10 // bytes of one part of a version's name
)

// request is what a plugin reads on its standard input: one JSON document, then the end of file.
type request struct {
	Protocol string    `json:"protocol"`
	Verb     core.Verb `json:"verb"`
	Host     string    `json:"host"`
	Boot     string    `json:"boot,omitempty"`
	WorkDir  string    `json:"workDir"`
	Input    input     `json:"input"`
}

type input struct {
	OSVersionManagement json.RawMessage `json:"osVersionManagement,omitempty"`
	Hash                string          `json:"hash,omitempty"`
	Bootstrap           *bootstrap      `json:"bootstrap,omitempty"`
	Hostname            string          `json:"hostname,omitempty"`
	CloudConfig         json.RawMessage `json:"cloudConfig,omitempty"`
	Options             json.RawMessage `json:"options,omitempty"`
	Files               []file          `json:"files,omitempty"`
	Keep                []string        `json:"keep,omitempty"`
}

type file struct {
	Path string `json:"path"`
	Mode uint32 `json:"mode"`
	Data []byte `json:"data"`
}

// wireInput writes what a verb is about.
func wireInput(in ports.Request) input {
	out := input{
		OSVersionManagement: in.OSVersion, Hash: in.Hash, Hostname: in.Hostname, CloudConfig: in.CloudConfig, Options: in.Options, Keep: in.Keep,
	}
	if in.Bootstrap != nil {
		out.Bootstrap = &bootstrap{Format: in.Bootstrap.Format, Data: in.Bootstrap.Data}
	}
	for _, f := range in.Files {
		out.Files = append(out.Files, file(f))
	}
	return out
}

// port reads what a verb is about, but for the version that is requested.
func (in input) port() ports.Request {
	out := ports.Request{Hostname: in.Hostname, CloudConfig: in.CloudConfig, Options: in.Options, Keep: in.Keep}
	if in.Bootstrap != nil {
		out.Bootstrap = &ports.BootstrapData{Format: in.Bootstrap.Format, Data: in.Bootstrap.Data}
	}
	for _, f := range in.Files {
		out.Files = append(out.Files, ports.File(f))
	}
	return out
}

type bootstrap struct {
	Format string `json:"format"`
	Data   []byte `json:"data"` // base64 on the wire, since it may be compressed
}

// answer is one line of a plugin's standard output. Exactly one of the three is there.
type answer struct {
	Progress *progress       `json:"progress,omitempty"`
	Result   json.RawMessage `json:"result,omitempty"`
	Error    *failure        `json:"error,omitempty"`
}

type progress struct {
	Step    string   `json:"step"`
	Percent *float64 `json:"percent,omitempty"`
	Message string   `json:"message,omitempty"`
}

type failure struct {
	Class   core.FailureClass `json:"class"`
	Reason  string            `json:"reason,omitempty"`
	Message string            `json:"message"`
	Path    string            `json:"path,omitempty"`
}

// description is the result of describe.
type description struct {
	Name      string          `json:"name"`
	Protocols []string        `json:"protocols"`
	Verbs     []core.Verb     `json:"verbs"`
	Restarts  bool            `json:"restarts"`
	Schema    json.RawMessage `json:"schema,omitempty"`
}

// observation is the result of observe.
type observation struct {
	Verdict      core.Verdict    `json:"verdict"`
	Current      *version        `json:"current,omitempty"`
	Staged       *version        `json:"staged,omitempty"`
	Previous     *version        `json:"previous,omitempty"`
	Fallen       *version        `json:"fallen,omitempty"`
	NeedsRestart bool            `json:"needsRestart,omitempty"`
	Installed    *bool           `json:"installed,omitempty"`
	Reset        core.ResetStage `json:"reset,omitempty"`
	Primed       bool            `json:"bootstrapApplied,omitempty"`
	Detail       string          `json:"detail,omitempty"`
}

type version struct {
	Reference string `json:"reference,omitempty"`
	Digest    string `json:"digest,omitempty"`
	Version   string `json:"version,omitempty"`
}

// parseAnswer reads one line. Fields that it does not know are left alone, so that a plugin may be newer
// than the agent; what could be read in two ways is not an answer.
func parseAnswer(line []byte) (answer, error) {
	if !json.Valid(line) || bytes.TrimSpace(line)[0] != '{' {
		return answer{}, fmt.Errorf("a line of the answer is not a JSON object: %s", quote(line))
	}
	if _, err := core.CanonicalJSON(line); err != nil {
		return answer{}, fmt.Errorf("a line of the answer has no one meaning: %w: %s", err, quote(line))
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(line, &members); err != nil {
		return answer{}, fmt.Errorf("a line of the answer is not a JSON object: %s", quote(line))
	}
	known := map[string]json.RawMessage{}
	for _, name := range []string{"progress", "result", "error"} {
		if text, there := members[name]; there && string(text) != "null" {
			known[name] = text
		}
	}
	if len(known) != 1 {
		return answer{}, fmt.Errorf("a line of the answer has %d of progress, result and error, and must have exactly one: %s", len(known), quote(line))
	}
	a := answer{Result: known["result"]}
	for name, into := range map[string]any{"progress": &a.Progress, "error": &a.Error} {
		if text, there := known[name]; there {
			if err := json.Unmarshal(text, into); err != nil {
				return answer{}, fmt.Errorf("the %s of the answer can't be read: %w", name, typed(err))
			}
		}
	}
	return a, nil
}

// typed words the error of a value that is of the wrong type, or too large for it, without the names of this program's
// own types.
func typed(err error) error {
	var wrong *json.UnmarshalTypeError
	if !errors.As(err, &wrong) {
		return err
	}
	field := "it"
	if wrong.Field != "" {
		field = clip(wrong.Field, maxName)
	}
	return fmt.Errorf("%s is of the wrong type or out of bounds: %s", field, clip(wrong.Value, 40))
}

// final says whether a plugin's answer ends with this line.
func (a answer) final() bool { return a.Progress == nil }

func (p progress) port() ports.Progress {
	percent := -1
	if p.Percent != nil {
		percent = int(math.Round(min(100, max(0, *p.Percent))))
	}
	return ports.Progress{Step: clip(p.Step, maxName), Percent: percent, Message: clip(p.Message, maxText)}
}

// reasonPattern is what Kubernetes accepts as the reason of a condition.
var reasonPattern = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]{0,127}$`)

// failure turns a plugin's own error into the core's. An unknown class is failed, the one that ends.
func (f failure) core() core.Failure {
	out := core.Failure{Class: f.Class, Message: clip(strings.TrimSpace(f.Message), maxText), Path: clip(f.Path, maxName)}
	switch f.Class {
	case core.FailureInvalid, core.FailureRetryable, core.FailureFailed:
	default:
		out.Class = core.FailureFailed
	}
	if reasonPattern.MatchString(f.Reason) {
		out.Reason = f.Reason
	}
	if out.Message == "" {
		out.Message = "the plugin reports an error and does not say which"
	}
	return out
}

func parseDescription(result json.RawMessage) (ports.Description, error) {
	var d description
	if err := json.Unmarshal(result, &d); err != nil {
		return ports.Description{}, fmt.Errorf("the result of describe can't be read: %w", typed(err))
	}
	return ports.Description{
		Name: clip(d.Name, maxName), Protocols: d.Protocols, Verbs: d.Verbs, Schema: d.Schema, Restarts: d.Restarts,
	}, nil
}

// parseObservation reads the result of observe, for a plugin that describes itself so.
func parseObservation(result json.RawMessage, of ports.Description) (ports.Observation, error) {
	var o observation
	if err := json.Unmarshal(result, &o); err != nil {
		return ports.Observation{}, fmt.Errorf("the result of observe can't be read: %w", typed(err))
	}
	switch o.Verdict {
	case core.VerdictSatisfied, core.VerdictOutdated, core.VerdictStaged, core.VerdictUnconfirmed, core.VerdictRolledBack:
	default:
		return ports.Observation{}, fmt.Errorf(
			"the result of observe has the verdict %q, and must have satisfied, outdated, staged, unconfirmed or rolledBack", clip(string(o.Verdict), maxName))
	}
	switch o.Reset {
	case core.ResetNone, core.ResetUnderWay, core.ResetDone:
	default:
		return ports.Observation{}, fmt.Errorf("the result of observe has the reset stage %q, and may have underWay or done", clip(string(o.Reset), maxName))
	}
	installed := !has(of, core.VerbInstall)
	if o.Installed != nil {
		installed = *o.Installed
	}
	return ports.Observation{
		View: core.View{
			Verdict: o.Verdict, NeedsRestart: o.NeedsRestart, Restarts: of.Restarts, Primed: o.Primed,
			Current: o.Current.core(), Staged: o.Staged.core(), Previous: o.Previous.core(), Fallen: o.Fallen.core(),
			Detail: clip(o.Detail, maxText),
		},
		Installed: installed, Reset: o.Reset,
	}, nil
}

func (v *version) core() core.Version {
	if v == nil {
		return core.Version{}
	}
	return core.Version{
		Reference: clip(v.Reference, maxName), Digest: clip(v.Digest, maxName), Version: clip(v.Version, maxName),
	}
}

func wireVersion(v core.Version) *version {
	if v == (core.Version{}) {
		return nil
	}
	return &version{Reference: v.Reference, Digest: v.Digest, Version: v.Version}
}

func wireObservation(o ports.Observation) observation {
	return observation{
		Verdict: o.Verdict, NeedsRestart: o.NeedsRestart, Installed: &o.Installed, Reset: o.Reset, Primed: o.Primed, Detail: o.Detail,
		Current: wireVersion(o.Current), Staged: wireVersion(o.Staged), Previous: wireVersion(o.Previous), Fallen: wireVersion(o.Fallen),
	}
}

// clip keeps the first bytes of a text, never half a character. It bounds what a plugin can put into the
// status of its host.
func clip(text string, most int) string {
	if len(text) <= most {
		return text
	}
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most] + "…"
}

// quote shows the beginning of what a plugin wrote, with everything unprintable escaped.
func quote(line []byte) string {
	const most = 120
	return fmt.Sprintf("%q", clip(string(line[:min(len(line), 4*most)]), most))
}
