package systemd

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/matryer/is"

	"elemental/ports"
)

// slowManager stands in systemd's place on a bus of the test's own. It never tells that a unit was started, and its
// units end when they are killed, and no sooner.
type slowManager struct {
	mutex   sync.Mutex
	units   []string
	started int
}

func (s *slowManager) StartTransientUnit(name, _ string, _ []property, _ []auxiliary) (dbus.ObjectPath, *dbus.Error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.units = append(s.units, name)
	s.started++
	return "/job/1", nil
}

func (s *slowManager) StopUnit(_, _ string) (dbus.ObjectPath, *dbus.Error) { return "/job/2", nil }

func (s *slowManager) UnrefUnit(string) *dbus.Error { return nil }

func (s *slowManager) KillUnit(name, _ string, _ int32) *dbus.Error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.units = slices.DeleteFunc(s.units, func(unit string) bool { return unit == name })
	return nil
}

func (s *slowManager) GetUnitByPID(uint32) (dbus.ObjectPath, *dbus.Error) {
	return "", dbus.NewError(noUnitFor, nil)
}

// listed is a unit as systemd lists it.
type listed struct {
	Name, Description, Load, Active, Sub, Following string
	Path                                            dbus.ObjectPath
	Job                                             uint32
	JobType                                         string
	JobPath                                         dbus.ObjectPath
}

func (s *slowManager) ListUnitsByPatterns(_, patterns []string) ([]listed, *dbus.Error) {
	var found []listed
	for _, name := range s.running() {
		prefix, _, open := strings.Cut(patterns[0], "*")
		if name == patterns[0] || open && strings.HasPrefix(name, prefix) {
			found = append(found, listed{Name: name, Path: "/unit", JobPath: "/"})
		}
	}
	return found, nil
}

func (s *slowManager) running() []string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return slices.Clone(s.units)
}

// onBus starts a bus on which such a manager is systemd.
func onBus(t *testing.T) *slowManager {
	t.Helper()
	is := is.New(t)
	program, err := exec.LookPath("dbus-daemon")
	if err != nil {
		t.Skip("there is no dbus-daemon here: apt-get install dbus")
	}
	daemon := exec.CommandContext(t.Context(), program, "--session", "--nofork", "--nopidfile", "--print-address", "--address=unix:dir="+t.TempDir())
	out, err := daemon.StdoutPipe()
	is.NoErr(err)
	is.NoErr(daemon.Start())
	t.Cleanup(func() { _, _ = daemon.Process.Kill(), daemon.Wait() })
	address, err := bufio.NewReader(out).ReadString('\n')
	is.NoErr(err)
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", strings.TrimSpace(address))
	conn, err := dbus.ConnectSystemBus()
	is.NoErr(err)
	t.Cleanup(func() { _ = conn.Close() })
	s := &slowManager{}
	is.NoErr(conn.Export(s, systemdPath, systemdManager))
	_, err = conn.RequestName(systemd, dbus.NameFlagDoNotQueue)
	is.NoErr(err)
	return s
}

// begin starts a program, and gives up after a moment.
func begin(t *testing.T, l *Launcher) error {
	t.Helper()
	is := is.New(t)
	file, err := os.Open("/bin/true")
	is.NoErr(err)
	defer file.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	_, err = l.Start(ctx, ports.Program{
		Name: "slow/stage", File: file, Args: []string{"true"}, Dir: "/", Stdin: file, Stdout: file, Stderr: file, Patience: 50 * time.Millisecond,
	})
	return err
}

// TestFailedStartLeavesNothing gives up while systemd has not told yet that the unit runs.
func TestFailedStartLeavesNothing(t *testing.T) {
	is := is.New(t)
	manager, l := onBus(t), NewLauncher()
	err := begin(t, l)
	is.True(err != nil)
	is.True(strings.Contains(err.Error(), "waiting until systemd has started the unit"))
	is.Equal(manager.started, 1)
	is.Equal(len(manager.running()), 0) // it has ended when the start has failed
}

// TestNothingIsStartedBesideWhatWasGivenUp finds a unit that would not end, over the connection that gave it up.
func TestNothingIsStartedBesideWhatWasGivenUp(t *testing.T) {
	is := is.New(t)
	manager, l := onBus(t), NewLauncher()
	is.True(begin(t, l) != nil)
	const left = unitPrefix + "left.service"
	manager.mutex.Lock()
	manager.units = append(manager.units, left)
	manager.mutex.Unlock()
	err := begin(t, l)
	is.True(err != nil)
	is.True(strings.Contains(err.Error(), "waiting for the end of "+left))
	is.Equal(manager.started, 1) // no second one
}
