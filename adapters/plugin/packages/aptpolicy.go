package packages

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"elemental/adapters/plugin/durable"
	"elemental/adapters/plugin/program"
	"elemental/core"
	"elemental/ports"
)

// check refuses names and versions that no repository has. apt would take some of those for patterns, and does not
// tell which field is at fault.
func (a *apt) check(ctx context.Context, p plan) error {
	asked := slices.Concat(p.Install, sorted(p.Versions))
	if len(asked) == 0 {
		return nil
	}
	args := slices.Concat([]string{"apt-cache"}, a.options, []string{"policy", "--"}, asked)
	result, err := a.programs.ask(ctx, program.Command{Args: args})
	if err != nil {
		return fmt.Errorf("asking apt what its repositories have: %w", err)
	}
	have := readPolicy(result.Stdout)
	advice := ": mend the name, or add a repository that has it to the host"
	if !p.Refreshed {
		advice = ": mend the name, or set packages.refresh to true to ask the repositories anew"
	}
	for _, name := range asked {
		versions, known := have[name]
		if bare, _, _ := strings.Cut(name, ":"); !known {
			versions, known = have[bare]
		}
		pin, pinned := p.Versions[name]
		path := "packages.install"
		if pinned {
			path = "packages.versions." + name
		}
		switch {
		case !known:
			return core.Failure{
				Class: core.FailureFailed, Reason: reasonNoPackage, Path: path, Message: "no repository of this host has a package " + name + advice,
			}
		case pinned && !slices.Contains(versions, pin):
			return core.Failure{
				Class: core.FailureFailed, Reason: reasonNoVersion, Path: path,
				Message: fmt.Sprintf("no repository of this host has %s in version %s; there are: %s%s", name, pin, fewOf(versions), advice),
			}
		}
	}
	return nil
}

// fewOf lists the first of many.
func fewOf(versions []string) string {
	const most = 8
	if len(versions) == 0 {
		return "none"
	}
	if len(versions) > most {
		versions = append(slices.Clone(versions[:most]), "…")
	}
	return strings.Join(versions, ", ")
}

// readPolicy reads the versions of each package that apt-cache policy knows, the newest first. A name that is only
// provided by others has none.
//
//	nginx:
//	  Installed: 1.22.1-9
//	  Candidate: 1.24.0-1
//	  Version table:
//	     1.24.0-1 500
//	        500 http://repository/debian bookworm/main amd64 Packages
//	 *** 1.22.1-9 100
//	        100 /var/lib/dpkg/status
func readPolicy(text []byte) map[string][]string {
	all := map[string][]string{}
	name := ""
	for line := range bytes.Lines(text) {
		line := strings.TrimRight(string(line), "\n")
		if heading, ok := strings.CutSuffix(line, ":"); ok && !strings.HasPrefix(line, " ") {
			name = heading
			all[name] = nil
			continue
		}
		if len(line) < 6 || name == "" || line[5] == ' ' || line[:5] != "     " && line[:5] != " *** " {
			continue
		}
		all[name] = append(all[name], strings.Fields(line[5:])[0])
	}
	return all
}

// pinFile is Elemental's own file of preferences. A pin there, unlike apt-mark hold, can't be taken for one that an
// administrator set by hand, goes as a whole when it is no longer asked for, and lets apt choose that version also
// where another package asks for the name.
const pinFile = "etc/apt/preferences.d/elemental.pref"

const pinHeading = "# Written by Elemental from packages.versions of this host's ElementalHost; changes are overwritten.\n"

// hold lets apt keep packages at a version, and no others that Elemental held before.
func (a *apt) hold(versions map[string]string) error {
	if maps.Equal(a.held(), versions) {
		return nil
	}
	if len(versions) == 0 {
		if err := os.Remove(a.path(pinFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("letting go of what was held: %w", err)
		}
		return nil
	}
	text := pinHeading
	for _, name := range sorted(versions) {
		// Above 1000, an older version is taken too.
		text += fmt.Sprintf("\nPackage: %s\nPin: version %s\nPin-Priority: 1001\n", name, versions[name])
	}
	if err := os.MkdirAll(a.path("etc/apt/preferences.d"), 0o755); err != nil {
		return fmt.Errorf("holding packages at their version: %w", err)
	}
	return durable.WriteFile(a.path(pinFile), []byte(text), 0o644)
}

// held reads what Elemental holds; a file that can't be read holds nothing.
func (a *apt) held() map[string]string {
	held := map[string]string{}
	text, _ := os.ReadFile(a.path(pinFile))
	name := ""
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch key {
		case "Package":
			name = value
		case "Pin":
			held[name] = strings.TrimPrefix(value, "version ")
		}
	}
	return held
}

func sorted(versions map[string]string) []string { return slices.Sorted(maps.Keys(versions)) }

func progressOf(step string, percent int, message string) ports.Progress {
	return ports.Progress{Step: step, Percent: percent, Message: message}
}

func silent(ports.Progress) {}
