package packages

import (
	"encoding/json"
	"fmt"
	"strings"

	"elemental/core"
	"elemental/ports"
)

// dnfOutput listens to dnf, to say how far it is and what went wrong.
type dnfOutput struct {
	step      string
	report    report
	refreshed bool

	rpmOutput
	unavailable []string // what was said of repositories
	problems    []string // of dependencies
	errors      []string
	missing     []missing
	removes     []string
	inProblem   bool
}

// missing is a package that no repository has, or not in that version.
type missing struct {
	Name    string   `json:"missing"`
	Version string   `json:"version"`
	There   []string `json:"there"`
	Why     string   `json:"why"`
}

// status hears a line of dnfchange.py.
func (o *dnfOutput) status(line string) {
	var said struct {
		missing
		Removes []string `json:"removes"`
		Step    string   `json:"step"`
		Percent int      `json:"percent"`
		Message string   `json:"message"`
	}
	if err := json.Unmarshal([]byte(line), &said); err != nil {
		return
	}
	switch {
	case said.Name != "":
		o.missing = append(o.missing, said.missing)
	case len(said.Removes) > 0:
		o.removes = said.Removes
	case said.Step != "":
		o.report(ports.Progress{Step: said.Step, Percent: said.Percent, Message: said.Message})
	}
}

// line hears a line of the outputs.
func (o *dnfOutput) line(line string) {
	o.rpmOutput.line(line)
	switch {
	case strings.HasPrefix(line, "Errors during downloading metadata for repository"), strings.Contains(line, "Curl error"),
		strings.Contains(line, "Status code:"), strings.HasPrefix(line, "Error downloading packages"),
		strings.Contains(line, "Cannot download"), strings.HasPrefix(line, "Error opening "), strings.Contains(line, "incorrect checksum"), strings.HasPrefix(line, "Error: Failed to download metadata"):
		o.unavailable = keep(o.unavailable, strings.TrimPrefix(line, "- "))
	case strings.HasPrefix(line, "Problem"):
		o.inProblem = true
		o.problems = keep(o.problems, line)
	case o.inProblem && strings.HasPrefix(line, "- "):
		o.problems = keep(o.problems, strings.TrimPrefix(line, "- "))
	case strings.HasPrefix(line, "Error"):
		o.errors = keep(o.errors, strings.TrimPrefix(line, "Error: "))
		o.inProblem = false
	default:
		o.inProblem = false
	}
}

// failure words what went wrong; nil when nothing did.
func (o *dnfOutput) failure(err error) error {
	fail := func(class core.FailureClass, reason, path, format string, args ...any) error {
		return core.Failure{Class: class, Reason: reason, Message: fmt.Sprintf(format, args...), Path: path}
	}
	if failed := o.rpmOutput.failure(); failed != nil {
		return failed
	}
	switch {
	case err == nil:
		return nil
	case len(o.missing) > 0:
		return notFound(o.missing, o.refreshed)
	case len(o.removes) > 0:
		return wouldRemove(o.removes)
	case len(o.unavailable) > 0:
		return fail(core.FailureRetryable, reasonRepository, "", "%s: see whether the repository and the host's network are up", strings.Join(o.unavailable, "; "))
	case len(o.problems) > 0:
		return fail(core.FailureFailed, reasonConflict, "", "the packages can't be had together: %s", strings.Join(o.problems, "; "))
	case len(o.errors) > 0:
		return fmt.Errorf("running dnf: %s", strings.Join(o.errors, "; "))
	default:
		return fmt.Errorf("running dnf: %w", err)
	}
}
