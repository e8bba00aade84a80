package packages

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"elemental/core"
)

// rpmOutput listens for what rpm itself says, through dnf or zypper.
type rpmOutput struct {
	script    string   // the package whose script failed
	words     []string // that were said with it
	full      string
	untrusted string
	locked    string
}

var (
	// scriptFailed matches the ways in which rpm words that a script failed: the script, and the package.
	scriptFailed = regexp.MustCompile(`%\w+\(([^)]+)\)[^:]* scriptlet failed|%\w+\(([^)]+)\)"\]|Error in \w+ scriptlet in rpm package (\S+)`)
	diskFull     = regexp.MustCompile(`No space left on device|more space (needed )?on the|Not enough space|not enough free (disk )?space|insufficient (disk )?space`)
	untrusted    = regexp.MustCompile(`(?i)GPG check FAILED|Public key for .* is not installed|signature verification (error|failed)|is not signed|Bad GPG signature|GPG keys listed for .* are not correct|signature .*BAD`)
	rpmLocked    = regexp.MustCompile(`can't create transaction lock|cannot (get|open) .* lock on`)
	accepted     = regexp.MustCompile(`Accepting package despite the error`)
)

func (o *rpmOutput) line(line string) {
	if m := scriptFailed.FindStringSubmatch(line); m != nil {
		if name := m[1] + m[2] + m[3]; len(name) > len(o.script) {
			o.script = name
		}
	}
	if strings.HasPrefix(line, "error: ") || strings.HasPrefix(line, "warning: %") {
		o.words = keep(o.words, line)
	}
	for what, heard := range map[*regexp.Regexp]*string{diskFull: &o.full, untrusted: &o.untrusted, rpmLocked: &o.locked} {
		if *heard == "" && what.MatchString(line) {
			*heard = line
		}
	}
	if accepted.MatchString(line) { // The host's own configuration lets it pass.
		o.untrusted = ""
	}
}

// failure words what rpm has said; nil where it has said of no failure.
func (o *rpmOutput) failure() error {
	fail := func(class core.FailureClass, reason, format string, args ...any) error {
		return core.Failure{Class: class, Reason: reason, Message: fmt.Sprintf(format, args...)}
	}
	switch {
	case o.full != "":
		return fail(core.FailureFailed, reasonDiskFull, "%s: make room on the host", o.full)
	case o.locked != "":
		return locked("another rpm")
	case o.script != "":
		return fail(core.FailureFailed, reasonScript, "a script of the package %s failed; its last words: %q; mend or remove that package, or ask for another version of it",
			o.script, strings.Join(o.words, "; "))
	case o.untrusted != "":
		return fail(core.FailureFailed, reasonUntrusted, "%s: give the host the key of that repository", o.untrusted)
	default:
		return nil
	}
}

// keep adds a line to the few that are kept, once.
func keep(lines []string, line string) []string {
	if len(lines) >= keptErrors || slices.Contains(lines, line) {
		return lines
	}
	return append(lines, line)
}

// notFound says which packages no repository of the host has.
func notFound(all []missing, refreshed bool) error {
	advice := "mend the name, or add a repository that has it to the host"
	if !refreshed {
		advice += ", or set packages.refresh to true"
	}
	first := all[0]
	if first.Version != "" && len(first.There) > 0 {
		return core.Failure{
			Class: core.FailureFailed, Reason: reasonNoVersion, Path: "packages.versions." + first.Name,
			Message: fmt.Sprintf("no repository of this host has %s %s, there are: %s", first.Name, first.Version, fewOf(first.There)),
		}
	}
	var unknown []string
	for _, m := range all {
		unknown = append(unknown, m.Name)
	}
	path := "packages.install"
	if first.Version != "" {
		path = "packages.versions." + first.Name
	}
	return core.Failure{
		Class: core.FailureFailed, Reason: reasonNoPackage, Path: path,
		Message: fmt.Sprintf("no repository of this host has a package %s: %s", strings.Join(unknown, ", "), advice),
	}
}

func wouldRemove(more []string) error {
	return core.Failure{
		Class: core.FailureFailed, Reason: reasonWouldRemove, Path: "packages.remove",
		Message: fmt.Sprintf("what is asked for needs the removal of %s: name them there too if that is right", strings.Join(more, ", ")),
	}
}
