package packages

import (
	_ "embed" // The schema is part of the binary.
	"encoding/json"
	"fmt"
	"slices"

	"elemental/core"
)

// requestSchema is what osVersionManagement may say. A request was held against it before it comes here.
//
//go:embed schema.json
var requestSchema []byte

// request is an osVersionManagement, read.
type request struct {
	Refresh  bool              `json:"refresh"`
	Install  []string          `json:"install"`
	Remove   []string          `json:"remove"`
	Versions map[string]string `json:"versions"`
	Upgrade  upgrade           `json:"upgrade"`
	Revision string            `json:"revision"`
}

// upgrade is which packages are brought to their newest version.
type upgrade struct {
	All   bool
	Names []string
}

// UnmarshalJSON reads the word all, or a list of names.
func (u *upgrade) UnmarshalJSON(text []byte) error {
	*u = upgrade{All: string(text) == `"all"`}
	if u.All {
		return nil
	}
	return json.Unmarshal(text, &u.Names)
}

// once says that the request asks for something that leaves no trace by which it could be seen to be done.
func (r request) once() bool { return r.Refresh || r.Upgrade.All || len(r.Upgrade.Names) > 0 }

// names are all packages that the request speaks of, each once and in order.
func (r request) names() []string {
	all := slices.Concat(r.Install, r.Remove, r.Upgrade.Names)
	for name := range r.Versions {
		all = append(all, name)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// readRequest reads osVersionManagement. Errors are core.Failures of class invalid that name the field at fault.
func readRequest(document []byte) (request, error) {
	canonical, err := core.CanonicalJSON(document)
	if err != nil {
		return request{}, core.Failure{Class: core.FailureInvalid, Reason: "Malformed", Message: err.Error()}
	}
	if len(canonical) == 0 {
		return request{}, nil
	}
	var read struct {
		Packages request `json:"packages"`
	}
	if err := json.Unmarshal(canonical, &read); err != nil {
		return request{}, core.Failure{Class: core.FailureInvalid, Reason: "Malformed", Message: err.Error()}
	}
	return read.Packages, read.Packages.check()
}

// check says what a schema can't: a package can't be wanted and unwanted.
func (r request) check() error {
	for i, name := range r.Remove {
		_, pinned := r.Versions[name]
		for field, contradicts := range map[string]bool{
			"install": slices.Contains(r.Install, name), "versions": pinned, "upgrade": slices.Contains(r.Upgrade.Names, name),
		} {
			if contradicts {
				return contradiction(fmt.Sprintf("packages.remove[%d]", i), name, field)
			}
		}
	}
	for i, name := range r.Upgrade.Names {
		if _, pinned := r.Versions[name]; pinned {
			return contradiction(fmt.Sprintf("packages.upgrade[%d]", i), name, "versions")
		}
	}
	return nil
}

func contradiction(path, name, field string) core.Failure {
	return core.Failure{
		Class: core.FailureInvalid, Reason: "Contradiction", Path: path,
		Message: fmt.Sprintf("%s also stands in packages.%s: take it out of one of the two", name, field),
	}
}
