package packages

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"elemental/core"
	"elemental/ports"
)

const (
	keptErrors = 12 // lines of apt's own errors that are kept
	keptWords  = 5  // lines of a package's script that are kept
)

// aptOutput listens to apt and dpkg, to say how far they are and what went wrong.
type aptOutput struct {
	step   string
	report report
	last   ports.Progress // that was reported

	errors  []string            // lines in which apt says that something failed
	unmet   []string            // dependencies that can't be met
	current string              // the package that dpkg is at
	words   map[string][]string // the last words of each package's scripts
	broken  []string            // by pmerror: the package and what was wrong
	blamed  string              // the package that broken begins with
}

// status hears a line of APT::Status-Fd: what it is, whose, percent, and words.
func (o *aptOutput) status(line string) {
	fields := strings.SplitN(line, ":", 4)
	if len(fields) < 4 {
		return
	}
	percent, err := strconv.ParseFloat(strings.TrimSpace(fields[2]), 64)
	if err != nil { // The package bears its architecture, as libc6:amd64.
		if fields = strings.SplitN(line, ":", 5); len(fields) < 5 {
			return
		}
		fields = append(fields[:1], fields[1]+":"+fields[2], fields[3], fields[4])
		if percent, err = strconv.ParseFloat(strings.TrimSpace(fields[2]), 64); err != nil {
			return
		}
	}
	kind, name, message := fields[0], strings.TrimSpace(fields[1]), strings.TrimSpace(fields[3])
	switch kind {
	case "dlstatus":
		step := o.step
		if step == stepInstalling {
			step = stepDownloading
		}
		o.say(progressOf(step, int(percent), message))
	case "pmstatus":
		o.say(progressOf(o.step, int(percent), message))
	case "pmerror":
		if o.blamed == "" {
			o.blamed = name
		}
		o.broken = append(o.broken, message)
	}
}

// say reports progress that is news: apt repeats itself several times a second.
func (o *aptOutput) say(p ports.Progress) {
	if p != o.last {
		o.last = p
		o.report(p)
	}
}

// line hears a line of the outputs.
func (o *aptOutput) line(line string) {
	for _, verb := range []string{"Setting up ", "Removing ", "Preparing to unpack ", "Unpacking ", "Purging configuration files for "} {
		if rest, ok := strings.CutPrefix(line, verb); ok {
			o.current, _, _ = strings.Cut(strings.TrimSuffix(strings.Fields(rest + " ?")[0], "..."), ":")
			return
		}
	}
	switch {
	case strings.HasPrefix(line, "Errors were encountered"):
		o.current = "" // What follows is a list of names.
	case strings.HasPrefix(line, "E: "), strings.HasPrefix(line, "W: Failed to fetch"),
		strings.HasPrefix(line, "W: Some index files failed"), strings.HasPrefix(line, "dpkg: error: "):
		o.errors = append(o.errors, line)
		if len(o.errors) > keptErrors {
			o.errors = o.errors[1:]
		}
	case strings.Contains(line, " : Depends: "), strings.Contains(line, " : Conflicts: "), strings.Contains(line, " : PreDepends: "), strings.Contains(line, " : Breaks: "):
		o.unmet = append(o.unmet, line)
	case o.current != "" && !noise(line):
		if o.words == nil {
			o.words = map[string][]string{}
		}
		words := append(o.words[o.current], line)
		o.words[o.current] = words[max(0, len(words)-keptWords):]
	}
}

// noise says that a line is dpkg's own, and not a script's.
func noise(line string) bool {
	for _, begin := range []string{
		"dpkg: ", "debconf: ", "installed ", "new ", "old ", "(Reading database", "Processing triggers", "Selecting previously", "update-rc.d", "invoke-rc.d",
	} {
		if strings.HasPrefix(line, begin) {
			return true
		}
	}
	return false
}

// fetchFailed says that a repository was not reached, which older apts only warn of.
func (o *aptOutput) fetchFailed() bool {
	return slices.ContainsFunc(o.errors, func(line string) bool { return strings.HasPrefix(line, "W: ") })
}

// failure words what went wrong. The error is how the program ended, and what is left to say where nothing is known.
func (o *aptOutput) failure(err error, refreshed bool) error {
	has := func(words ...string) string {
		for _, line := range o.errors {
			for _, word := range words {
				if strings.Contains(line, word) {
					return line
				}
			}
		}
		return ""
	}
	fail := func(class core.FailureClass, reason, format string, args ...any) error {
		return core.Failure{Class: class, Reason: reason, Message: fmt.Sprintf(format, args...)}
	}
	if i := slices.IndexFunc(o.errors, isLocked); i >= 0 {
		return locked(plain(o.errors[i]))
	}
	if line := has("No space left on device", "enough free space"); line != "" {
		return fail(core.FailureFailed, reasonDiskFull, "%s: make room on the host", plain(line))
	}
	if name, message := o.culprit(); name != "" {
		return fail(core.FailureFailed, reasonScript, "the package %s failed: %s%s; mend or remove that package, or ask for another version of it",
			name, message, o.lastWords(name))
	}
	if line := has("is not signed", "NO_PUBKEY", "EXPKEYSIG", "BADSIG", "invalid signature", "signatures were invalid", "signatures couldn't be verified", "cannot be authenticated"); line != "" &&
		has("Could not connect", "Could not resolve", "Temporary failure") == "" {
		return fail(core.FailureFailed, reasonUntrusted, "%s: give the host the key of that repository", plain(line))
	}
	if line := has("404  Not Found", "Hash Sum mismatch", "File has unexpected size"); line != "" && !refreshed {
		return fail(core.FailureRetryable, reasonRepository, "%s: the repository has changed since the host asked it last; set packages.refresh to true", plain(line))
	}
	if line := has("Failed to fetch", "Could not connect", "Could not resolve", "Temporary failure", "does not have a Release file",
		"no longer has a Release file", "Hash Sum mismatch", "Some index files failed", "Unable to fetch some archives"); line != "" {
		return fail(core.FailureRetryable, reasonRepository, "%s: see whether the repository and the host's network are up", plain(line))
	}
	if line := has("no installation candidate", "Unable to locate package"); line != "" {
		return fail(core.FailureFailed, reasonNoPackage, "%s: mend the name, or add a repository that has it to the host", plain(line))
	}
	if len(o.unmet) > 0 || has("unmet dependencies", "held broken packages", "Unable to correct problems") != "" {
		return fail(core.FailureFailed, reasonConflict, "the packages can't be had together: %s", strings.Join(o.unmet, "; "))
	}
	if line := has("needs to be reinstalled", "Packages need to be removed but remove is disabled", "dpkg was interrupted"); line != "" {
		return fail(core.FailureFailed, reasonBroken, "%s: repair the package database of the host by hand", plain(line))
	}
	return fmt.Errorf("running apt: %w", err)
}

// culprit is the package that broke the transaction, and how.
func (o *aptOutput) culprit() (name, message string) {
	if len(o.broken) == 0 {
		return "", ""
	}
	return o.blamed, o.broken[0]
}

// lastWords are those of a package's script; of another package's where nothing else is known.
func (o *aptOutput) lastWords(name string) string {
	bare, _, _ := strings.Cut(name, ":")
	words := o.words[bare]
	if len(words) == 0 && len(o.words) == 1 {
		words = slices.Collect(maps.Values(o.words))[0]
	}
	if len(words) == 0 {
		return ""
	}
	return fmt.Sprintf("; its last words: %q", strings.Join(words, "; "))
}

// plain takes the marks of a program off a line.
func plain(line string) string {
	for _, mark := range []string{"E: ", "W: ", "dpkg: error: "} {
		line = strings.TrimPrefix(line, mark)
	}
	return line
}
