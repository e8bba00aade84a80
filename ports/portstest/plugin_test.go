package portstest_test

import (
	"testing"

	"elemental/ports/portstest"
)

func TestFakePlugin(t *testing.T) {
	for name, restarts := range map[string]bool{"that restarts": true, "that needs no restart": false} {
		t.Run(name, func(t *testing.T) {
			portstest.TestPlugin(t, func(*testing.T) portstest.PluginCase {
				return portstest.PluginCase{
					Plugin: &portstest.Plugin{Restarts: restarts},
					First:  `{"osVersion":{"imageUri":"oci://registry/os:1"}}`, Second: `{"osVersion":{"imageUri":"oci://registry/os:2"}}`,
					Invalid: `["a list"]`,
				}
			})
		})
	}
}
