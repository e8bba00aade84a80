package portstest_test

import (
	"testing"

	"elemental/ports"
	"elemental/ports/portstest"
)

func TestFakeGatekeeper(t *testing.T) {
	portstest.TestGatekeeper(t, func(*testing.T) (ports.Gatekeeper, portstest.Gate) {
		g := &portstest.Gatekeeper{}
		return g, g
	})
}
