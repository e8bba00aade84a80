package deploy_test

import (
	"os"
	"testing"

	"github.com/matryer/is"
)

func TestATrialCarriesNothingToWhatItFallsBackTo(t *testing.T) {
	is := is.New(t)
	h := newHost(t)
	v1 := h.put("v1", system(t, "1", item{name: "etc/fstab", content: "default"}))
	v2 := h.put("v2", system(t, "2", item{name: "etc/fstab", content: "default"}))
	h.install(v1)
	one := h.next()
	is.NoErr(os.WriteFile(h.path("deployments", one, "etc", "fstab"), []byte("mine"), 0o644))
	h.mustStage(v2)
	two := h.next()
	for range 3 {
		is.Equal(h.boot(), two)
		is.NoErr(os.WriteFile(h.path("deployments", two, "etc", "fstab"), []byte("broken by the trial"), 0o644))
		conflicts, err := h.CarryEtc(t.Context()) // As the unit does when the host goes down.
		is.NoErr(err)
		is.Equal(len(conflicts), 0)
	}
	is.Equal(h.boot(), one)
	is.Equal(h.read(one, "etc", "fstab"), "mine")
}

func TestSystemsThatDoNotRunAreOutOfReach(t *testing.T) {
	is := is.New(t)
	h := newHost(t)
	is.NoErr(os.MkdirAll(h.path("deployments"), 0o755)) // As an earlier version left it.
	h.install(h.put("v1", system(t, "1")))
	for _, folder := range []string{"deployments", "objects"} {
		info, err := os.Stat(h.path(folder))
		is.NoErr(err)
		is.Equal(info.Mode().Perm(), os.FileMode(0o700)) // Else anyone could run the set-user-ID programs in it.
	}
}
