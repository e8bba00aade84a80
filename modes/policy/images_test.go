package policy

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"

	"elemental/core"
)

// written is the policy that a text makes.
func written(t *testing.T, text string) Policy {
	t.Helper()
	path := filepath.Join(folder(t), "policy.yaml")
	write(t, path, text)
	p, err := Read(path)
	is.New(t).NoErr(err)
	return p
}

// denied checks that an error is a denial of a field that names the rule and the file.
func denied(t *testing.T, p Policy, err error, rule, field string) {
	t.Helper()
	is := is.New(t)
	var denial core.Failure
	is.True(errors.As(err, &denial))
	is.Equal(denial.Class, core.FailureInvalid)
	is.Equal(denial.Reason, core.ReasonPolicyDenied)
	is.True(strings.Contains(denial.Message, "the rule "+rule+" of this host") && strings.Contains(denial.Message, p.path))
	is.True(!strings.Contains(denial.Message, "%!"))
	is.Equal(denial.Path, field)
	t.Log(denial.Message)
}

func TestImagesComeFromWhereTheHostSays(t *testing.T) {
	is := is.New(t)
	for _, text := range []string{"", "images: {}", "images: {registries: []}"} {
		is.NoErr(written(t, text).AllowImagesFrom("anywhere.example/os"))
	}
	p := written(t, "images: {registries: [registry.example.com, other.example:5000/os/, /srv/images]}")
	for place, allowed := range map[string]bool{
		"registry.example.com/os": true, "registry.example.com/a/b": true, "registry.example.com": true,
		"registry.example.com.evil/os": false, "registry.example.com:5000/os": false, "registry.example.com/../evil/os": false,
		"other.example:5000/os": true, "other.example:5000/os/test": true, "other.example:5000/os2": false, "other.example/os": false,
		"/srv/images/v1": true, "/srv/images": true, "/srv/images-of-others": false, "/srv/images/../secret": false, "/srv": false, "": false,
	} {
		err := p.AllowImagesFrom(place)
		if allowed {
			is.NoErr(err)
			continue
		}
		denied(t, p, err, "images.registries", fieldOfImage)
	}
}

func TestADowngradeIsRefusedWhereTheHostSays(t *testing.T) {
	is := is.New(t)
	for _, text := range []string{"", "images: {downgrade: allow}"} {
		is.NoErr(written(t, text).AllowDowngrade("it is older"))
	}
	p := written(t, "images: {downgrade: deny}")
	denied(t, p, p.AllowDowngrade("v1 is 100% older than v2"), "images.downgrade", fieldOfImage)
	is.True(strings.Contains(p.AllowDowngrade("v1 is 100% older than v2").Error(), "v1 is 100% older than v2"))
}

func TestAResetIsRefusedWhereTheHostSays(t *testing.T) {
	is := is.New(t)
	for _, text := range []string{"", "reset: {}", "reset: {allow: true}"} {
		is.NoErr(written(t, text).AllowReset())
	}
	is.NoErr(Policy{}.AllowReset())
	p := written(t, "reset: {allow: false}")
	denied(t, p, p.AllowReset(), "reset.allow", "")
}

func TestRulesThatCanNotBeMeantAreErrors(t *testing.T) {
	path := filepath.Join(folder(t), "policy.yaml")
	for text, says := range map[string]string{
		"images: {registries: ['']}":                    "images.registries: a place is empty",
		"images: {registries: [/]}":                     "a place is empty",
		"images: {registries: ['oci://registry/os']}":   "without its scheme",
		"images: {registries: ['*.example.com']}":       "no registry, repository or path",
		"images: {registries: ['registry/os@sha256:']}": "no registry, repository or path",
		"images: {registries: registry.example.com}":    "there must be a list",
		"images: {downgrade: never}":                    `images.downgrade is "never": it must be allow or deny`,
		"images: {downgrade: true}":                     "must be allow or deny",
		"images: {verify: false}":                       "there is no field verify",
		"plugins: ['']":                                 "has no name",
		"plugins: image":                                "there must be a list",
		"reset: {allow: maybe}":                         "there must be true or false, not maybe",
		"reset: false":                                  "there must be fields",
	} {
		is := is.New(t)
		write(t, path, text)
		_, err := Read(path)
		is.True(err != nil)
		if !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
