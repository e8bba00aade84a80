package policy

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"elemental/core"
)

// Images is the rule on the images that a cluster may ask for.
type Images struct {
	// Registries are where images may come from, as HOST[:PORT][/REPOSITORY…] or as the path of a folder or file; none
	// named: anywhere.
	Registries []string `yaml:"registries"`
	// Downgrade is allow or deny; empty: allow.
	Downgrade string `yaml:"downgrade"`
}

// The words of the rule on downgrades.
const (
	downgradeAllow = "allow"
	downgradeDeny  = "deny"
)

// fieldOfImage is the field of a request that names an image.
const fieldOfImage = "osVersion.imageUri"

func (i Images) check() error {
	if err := CheckPlaces(i.Registries); err != nil {
		return fmt.Errorf("images.registries: %w", err)
	}
	if !slices.Contains([]string{"", downgradeAllow, downgradeDeny}, i.Downgrade) {
		return fmt.Errorf("images.downgrade is %q: it must be %s or %s", i.Downgrade, downgradeAllow, downgradeDeny)
	}
	return nil
}

// CheckPlaces says which of the places of a rule can't be meant: it would match nothing, or everything.
func CheckPlaces(places []string) error {
	for _, place := range places {
		switch {
		case strings.Trim(place, "/") == "":
			return errors.New("a place is empty; remove the line, or name a registry such as registry.example.com")
		case strings.Contains(place, "://"):
			return fmt.Errorf("%q must be named without its scheme, such as registry.example.com:5000/os", place)
		case strings.ContainsAny(place, "*?@ "):
			return fmt.Errorf("%q is no registry, repository or path; one that is named stands for all that is below it", place)
		}
	}
	return nil
}

// AllowImagesFrom returns nil where images may come from a place, and else the failure that says how to allow it. A
// place is REGISTRY/REPOSITORY, or the path of a folder or file.
func (p Policy) AllowImagesFrom(place string) error {
	if Among(place, p.Images.Registries) {
		return nil
	}
	return p.denial(fieldOfImage, "images.registries", "takes no images from "+place, "name it in that rule in %s")
}

// Among says whether a place is one of those that are named, or lies below one. Where none is named, each is.
func Among(place string, named []string) bool {
	place = path.Clean(place)
	return len(named) == 0 || slices.ContainsFunc(named, func(name string) bool {
		name = strings.TrimSuffix(name, "/")
		return place == name || strings.HasPrefix(place, name+"/")
	})
}

// AllowDowngrade returns nil where a version may be asked for that is older than the one that runs, or can't be compared
// with it, and else the failure. Why says which of both it is, as a whole clause.
func (p Policy) AllowDowngrade(why string) error {
	if p.Images.Downgrade != downgradeDeny {
		return nil
	}
	return core.Failure{
		Class: core.FailureInvalid, Reason: core.ReasonPolicyDenied, Path: fieldOfImage,
		Message: fmt.Sprintf("the rule images.downgrade of this host allows newer versions alone, and %s; to allow it, write the line "+
			"\"images: {downgrade: allow}\" into %s on the host, and then give the retry annotation a new value", why, p.path),
	}
}
