package systemd

import (
	"os"
	"testing"

	"elemental/ports"
	"elemental/ports/portstest"
)

// onHost skips where no systemd runs: e2e runs these tests inside a host of its own.
func onHost(t testing.TB) {
	t.Helper()
	if _, err := os.Stat("/run/systemd/system"); err != nil || os.Getuid() != 0 {
		t.Skip("there is no systemd here that starts units for us; the story TestLifeUnit runs this inside a host")
	}
}

func TestLauncher(t *testing.T) {
	onHost(t)
	portstest.TestLauncher(t, func(*testing.T) ports.Launcher { return NewLauncher() })
}

func BenchmarkLauncher(b *testing.B) {
	onHost(b)
	portstest.BenchmarkLauncher(b, NewLauncher())
}
