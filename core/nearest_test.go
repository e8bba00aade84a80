package core_test

import (
	"strings"
	"testing"

	"github.com/matryer/is"

	"elemental/core"
)

func TestNearest(t *testing.T) {
	is := is.New(t)
	known := []string{"imageUri", "digest", "healthChecks", "debug"}
	for typed, meant := range map[string]string{
		"imageUrl": "imageUri", "IMAGEURI": "imageUri", "iamgeUri": "imageUri", "heal": "healthChecks", "degub": "debug",
		"": "", "x": "", "something": "", strings.Repeat("x", 10000): "",
	} {
		is.Equal(core.Nearest(typed, known), meant)
	}
	is.Equal(core.Nearest("debug", nil), "")
	commands := []string{"agent", "hosts", "os"}
	for typed, meant := range map[string]string{"get": "", "foo": "", "so": "os", "hst": "", "hots": "hosts", "ho": "hosts"} {
		is.Equal(core.Nearest(typed, commands), meant)
	}
}
