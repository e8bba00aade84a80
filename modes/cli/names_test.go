package cli

import (
	"strings"
	"testing"

	"github.com/matryer/is"

	"elemental/core"
	"elemental/ports"
	"elemental/ports/portstest"
)

func TestNamesMayHaveTheirKind(t *testing.T) {
	is := is.New(t)
	d := &desk{Operator: &portstest.Operator{}}
	d.Put(t, ports.Target{Name: "a"}, nil, "")
	d.Put(t, ports.Target{Name: "b.c"}, nil, "")
	all, _, _ := d.types(t, "hosts -o name")
	again, _, status := d.types(t, "hosts -o name "+strings.ReplaceAll(all, "\n", " "))
	is.Equal(status, 0)
	is.Equal(again, all)
	for _, line := range []string{
		"hosts elementalhost/a", "hosts elementalhosts/b.c", "hosts describe host/a",
		"upgrade host elementalhost/a --image i",
	} {
		_, errs, status := d.types(t, line)
		t.Log(errs)
		is.Equal(status, 0)
	}
	for _, line := range []string{"hosts x/a", "hosts elementalmachine/a", "hosts default/a", "hosts host/", "retry a/b/c", "upgrade host /a --image i", "hosts describe a/b"} {
		_, errs, status := d.types(t, line)
		t.Log(errs)
		is.Equal(status, exitUsage)
	}
	_, err := namesOf(core.KindHost, []string{"a", ""})
	is.True(err != nil)
	names, err := namesOf(core.KindMachine, []string{"elementalmachine.infrastructure.cluster.x-k8s.io/m"})
	is.NoErr(err)
	is.Equal(names, []string{"m"})
}
