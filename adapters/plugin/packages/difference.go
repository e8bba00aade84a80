package packages

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// differences says in words what of a request is not so; none: the host is as it is asked to be, as far as that can
// be seen.
func differences(r request, have inventory, same func(installed, asked string) bool) []string {
	var all []string
	for _, name := range r.Install {
		if _, pinned := r.Versions[name]; !pinned && len(have.Installed[name]) == 0 {
			all = append(all, name+" is missing")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Versions)) {
		asked, installed := r.Versions[name], have.Installed[name]
		switch {
		case len(installed) == 0:
			all = append(all, fmt.Sprintf("%s is missing, %s is asked for", name, asked))
		case !matches(installed, asked, same):
			all = append(all, fmt.Sprintf("%s is %s, %s is asked for", name, strings.Join(installed, " and "), asked))
		case have.Held != nil && have.Held[name] != asked:
			all = append(all, fmt.Sprintf("%s is not held at %s", name, asked))
		}
	}
	for _, name := range r.Remove {
		if installed := have.Installed[name]; len(installed) > 0 {
			all = append(all, fmt.Sprintf("%s %s is still installed", name, strings.Join(installed, " and ")))
		} else if slices.Contains(have.Partial, name) {
			all = append(all, name+" is not wholly gone")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(have.Held)) {
		if _, pinned := r.Versions[name]; !pinned {
			all = append(all, fmt.Sprintf("%s is still held at %s", name, have.Held[name]))
		}
	}
	return all
}

func matches(installed []string, asked string, same func(installed, asked string) bool) bool {
	return slices.ContainsFunc(installed, func(version string) bool { return same(version, asked) })
}

// planFor is the transaction that makes a request true, and whether there is anything in it.
func planFor(r request, have inventory, same func(installed, asked string) bool) (plan, bool) {
	p := plan{UpgradeAll: r.Upgrade.All, Versions: map[string]string{}, Hold: r.Versions, Refreshed: r.Refresh}
	for _, name := range r.Install {
		if _, pinned := r.Versions[name]; !pinned && len(have.Installed[name]) == 0 {
			p.Install = append(p.Install, name)
		}
	}
	for name, asked := range r.Versions {
		if !matches(have.Installed[name], asked, same) {
			p.Versions[name] = asked
		}
	}
	for _, name := range r.Remove {
		if len(have.Installed[name]) > 0 || slices.Contains(have.Partial, name) {
			p.Remove = append(p.Remove, name)
		}
	}
	for _, name := range r.Upgrade.Names {
		if len(have.Installed[name]) > 0 {
			p.Upgrade = append(p.Upgrade, name)
		}
	}
	return p, p.UpgradeAll || len(p.Upgrade) > 0 || len(differences(r, have, same)) > 0
}

const maxSummary = 120 // bytes

// summary names in a few words the versions that a request speaks of, those first that it pins.
func summary(r request, have inventory) string {
	names := slices.Sorted(maps.Keys(r.Versions))
	for _, name := range slices.Concat(r.Install, r.Upgrade.Names) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	var words []string
	for _, name := range names {
		if installed := have.Installed[name]; len(installed) > 0 {
			words = append(words, name+" "+strings.Join(installed, " and "))
		}
	}
	text := strings.Join(words, ", ")
	for shown := len(words) - 1; shown > 0 && len(text) > maxSummary; shown-- {
		text = fmt.Sprintf("%s and %d more", strings.Join(words[:shown], ", "), len(words)-shown)
	}
	return text
}
