package hostos

import (
	"errors"
	"strings"
	"testing"

	"github.com/matryer/is"

	"elemental/core"
	"elemental/modes/policy"
)

// TestBothListsOfRegistriesHold tells that the list in image.yaml goes on to hold beside the one of the policy.
func TestBothListsOfRegistriesHold(t *testing.T) {
	unreadable := errors.New("it can't be read")
	for name, c := range map[string]struct {
		policy, images []string
		broken         error
		denies         string // what the denial names; empty: it is allowed
	}{
		"neither says anything":    {},
		"the policy names it":      {policy: []string{"registry.example.com"}},
		"image.yaml names it":      {images: []string{"registry.example.com/os"}},
		"both name it":             {policy: []string{"registry.example.com"}, images: []string{"registry.example.com"}},
		"the policy does not":      {policy: []string{"other"}, images: []string{"registry.example.com"}, denies: "images.registries"},
		"image.yaml does not":      {policy: []string{"registry.example.com"}, images: []string{"other"}, denies: "allowedRegistries in " + ConfigPath},
		"the policy can't be read": {broken: unreadable},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			err := allowPlace(Config{AllowedRegistries: c.images}, func() (policy.Policy, error) {
				return policy.Policy{Images: policy.Images{Registries: c.policy}}, c.broken
			}, "registry.example.com/os/test")
			var denial core.Failure
			switch {
			case c.broken != nil:
				is.True(errors.Is(err, c.broken))
			case c.denies == "":
				is.NoErr(err)
			default:
				is.True(errors.As(err, &denial))
				is.Equal(denial.Reason, core.ReasonPolicyDenied)
				is.True(strings.Contains(denial.Message, c.denies))
			}
		})
	}
}
