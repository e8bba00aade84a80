package plugin_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/matryer/is"

	"elemental/adapters/plugin"
	"elemental/core"
	"elemental/ports"
	"elemental/ports/portstest"
)

func TestChildren(t *testing.T) {
	portstest.TestLauncher(t, func(*testing.T) ports.Launcher { return plugin.Children{} })
}

func BenchmarkChildren(b *testing.B) { portstest.BenchmarkLauncher(b, plugin.Children{}) }

// TestNothingCanBeStarted is a host whose service manager can't be reached: the plugin is not to blame.
func TestNothingCanBeStarted(t *testing.T) {
	is := is.New(t)
	s := script(t, result, func(c *plugin.Config) { c.Launcher = &portstest.Launcher{Away: errors.New("the bus is away")} })
	failure := s.stage(t)
	is.Equal(failure.Class, core.FailureRetryable)
	is.True(strings.Contains(failure.Message, "the bus is away"))
}

// TestLost is a plugin of which nobody knows what became of it: it is asked again, and not to blame.
func TestLost(t *testing.T) {
	is := is.New(t)
	s := script(t, result, func(c *plugin.Config) { c.Launcher = &portstest.Launcher{Lost: "systemd is silent"} })
	_, err := s.Describe(t.Context())
	failure := failureOf(t, err)
	is.Equal(failure.Class, core.FailureRetryable)
	is.Equal(failure.Reason, "PluginLost")
	is.True(strings.Contains(failure.Message, "systemd is silent"))
}
