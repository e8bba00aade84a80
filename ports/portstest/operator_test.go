package portstest_test

import (
	"testing"

	"elemental/ports"
	"elemental/ports/portstest"
)

func TestFakeOperator(t *testing.T) {
	portstest.TestOperator(t, func(*testing.T) (ports.Operator, portstest.Yard) {
		o := &portstest.Operator{}
		return o, o
	})
}
