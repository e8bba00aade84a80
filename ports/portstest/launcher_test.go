package portstest_test

import (
	"errors"
	"os"
	"testing"

	"github.com/matryer/is"

	"elemental/ports"
	"elemental/ports/portstest"
)

func TestLauncher(t *testing.T) {
	portstest.TestLauncher(t, func(*testing.T) ports.Launcher { return &portstest.Launcher{} })
}

func TestLauncherThatIsAway(t *testing.T) {
	away := errors.New("the bus is away")
	_, err := (&portstest.Launcher{Away: away}).Start(t.Context(), ports.Program{File: os.Stdin})
	is.New(t).True(errors.Is(err, ports.ErrNotReady) && errors.Is(err, away))
}
