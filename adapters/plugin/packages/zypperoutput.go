package packages

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"html"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"elemental/core"
	"elemental/ports"
)

// zypperOutput is what a zypper says with --xmlout: how far it is, as it comes, and at the end what came of it.
type zypperOutput struct {
	step      string
	report    report
	refreshed bool
	last      ports.Progress

	rpmOutput
	Updates  []string            // packages that have a newer version
	Editions map[string][]string // by package, the versions that a search found
	removes  []string            // that the transaction takes away
	errors   []string
	problems []string // of dependencies
	unknown  []missing
}

var (
	zypperProgress = regexp.MustCompile(`^<progress id="([^"]*)" name="([^"]*)"(?:.* value="(\d+)")?`)
	zypperDownload = regexp.MustCompile(`^<download url="([^"]*)"(?:.* percent="(\d+)")?`)
	zypperCount    = regexp.MustCompile(`^\((\d+)/(\d+)\) `)
	noProvider     = regexp.MustCompile(`No provider of '([^'=]+)[^']*' found|No matching items found`)
	unavailable    = regexp.MustCompile(`(?i)Download \(curl\) error|Problem retrieving|Valid metadata not found|Error building the cache|not found on medium|Can't provide|Failed to download|Problem retrieving|Skipping repository|media exception|wrong digest`)
)

// line hears a line as it comes.
func (o *zypperOutput) line(line string) {
	p := ports.Progress{Step: o.step, Percent: -1}
	if m := zypperDownload.FindStringSubmatch(line); m != nil {
		url := html.UnescapeString(m[1])
		p.Step, p.Message = stepDownloading, url[strings.LastIndexByte(url, '/')+1:]
		if percent, err := strconv.Atoi(m[2]); err == nil {
			p.Percent = min(percent, 100)
		}
	} else if m := zypperProgress.FindStringSubmatch(line); m != nil {
		p.Message = html.UnescapeString(m[2])
		percent, err := strconv.Atoi(m[3])
		if err == nil {
			p.Percent = min(percent, 100)
		}
		if count := zypperCount.FindStringSubmatch(p.Message); count != nil {
			at, _ := strconv.Atoi(count[1]) // They match digits only, and too many of them are no count.
			of, _ := strconv.Atoi(count[2])
			if of > 0 && at > 0 && at <= of {
				p.Percent = ((at-1)*100 + min(percent, 100)) / of
			}
		}
	} else {
		return
	}
	if p != o.last {
		o.last = p
		o.report(p)
	}
}

// read takes in all that was said, as far as it is whole.
func (o *zypperOutput) read(stdout []byte) {
	o.Editions = map[string][]string{}
	decoder := xml.NewDecoder(bytes.NewReader(stdout))
	removing := false
	for {
		token, err := decoder.Token()
		if err != nil {
			return
		}
		switch element := token.(type) {
		case xml.EndElement:
			if element.Name.Local == "to-remove" {
				removing = false
			}
		case xml.StartElement:
			switch element.Name.Local {
			case "to-remove":
				removing = true
			case "solvable":
				o.solvable(attribute(element, "name"), attribute(element, "edition"), removing)
			case "update":
				o.Updates = append(o.Updates, attribute(element, "name"))
			case "message":
				var text string
				if decoder.DecodeElement(&text, &element) == nil {
					o.message(attribute(element, "type"), text)
				}
			case "description":
				var text string
				if decoder.DecodeElement(&text, &element) == nil && strings.HasPrefix(text, "Problem: ") {
					problem, _, _ := strings.Cut(text, "\n Solution")
					o.problems = keep(o.problems, strings.Join(strings.Fields(problem), " "))
				}
			}
		}
	}
}

func attribute(element xml.StartElement, name string) string {
	for _, a := range element.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

func (o *zypperOutput) solvable(name, edition string, removing bool) {
	if removing {
		o.removes = append(o.removes, name)
	} else if !slices.Contains(o.Editions[name], edition) {
		o.Editions[name] = append(o.Editions[name], edition)
	}
}

func (o *zypperOutput) message(kind, text string) {
	for line := range strings.Lines(text) {
		o.rpmOutput.line(strings.TrimSpace(line))
	}
	if kind != "error" && kind != "warning" {
		return
	}
	words := strings.Join(strings.Fields(text), " ")
	if m := noProvider.FindStringSubmatch(words); m != nil && m[1] != "" {
		o.unknown = append(o.unknown, missing{Name: strings.TrimPrefix(m[1], "-")})
	}
	if kind == "error" || unavailable.MatchString(words) {
		o.errors = keep(o.errors, words)
	}
}

// removals are the packages that would go, and that nobody named.
func (o *zypperOutput) removals(named []string) []string {
	var more []string
	for _, name := range o.removes {
		gone := func(n string) bool { return n == name || strings.HasPrefix(n, name+".") }
		if !slices.ContainsFunc(named, gone) {
			more = append(more, name)
		}
	}
	return distinct(more)
}

// failure words what went wrong; nil when nothing did. The status is zypper's own, and the error what it ended with.
func (o *zypperOutput) failure(status int, err error) error {
	fail := func(class core.FailureClass, reason, format string, args ...any) error {
		return core.Failure{Class: class, Reason: reason, Message: fmt.Sprintf(format, args...)}
	}
	if failed := o.rpmOutput.failure(); failed != nil {
		return failed
	}
	down := slices.ContainsFunc(o.errors, unavailable.MatchString)
	switch {
	case status == zypperScript:
		return fail(core.FailureFailed, reasonScript, "a script of a package failed: see /var/log/zypp/history on the host for which, and mend or remove that package")
	case down && (status != zypperSkipped || o.step == stepRefreshing):
		return fail(core.FailureRetryable, reasonRepository, "%s: see whether the repository and the host's network are up", strings.Join(o.errors, "; "))
	case err == nil, status == zypperRestart, status == zypperAgain, status == zypperSkipped && o.step != stepRefreshing:
		return nil
	case status == zypperNoRepositories:
		return fail(core.FailureFailed, "NoRepositories", "zypper has no repositories on this host: add one there, with zypper addrepo")
	case status == zypperNotFound && len(o.unknown) > 0:
		return notFound(o.unknown, o.refreshed)
	case status == zypperNotFound:
		return fail(core.FailureFailed, reasonNoPackage, "no repository of this host has such packages")
	case len(o.problems) > 0:
		return fail(core.FailureFailed, reasonConflict, "the packages can't be had together: %s", strings.Join(o.problems, "; "))
	case len(o.errors) > 0:
		return fmt.Errorf("running zypper, which exited with status %d: %s", status, strings.Join(o.errors, "; "))
	default:
		return fmt.Errorf("running zypper: %w", err)
	}
}
