package portstest

import (
	"slices"
	"sync"
	"testing"

	"github.com/matryer/is"

	"elemental/ports"
)

// Supervisor remembers what it was told.
type Supervisor struct {
	mutex sync.Mutex
	told  []string
}

// Told is everything that it was told, in the words of sd_notify(3).
func (s *Supervisor) Told() []string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return slices.Clone(s.told)
}

func (s *Supervisor) tell(what string) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.told = append(s.told, what)
	return nil
}

// Ready remembers that the process does its work.
func (s *Supervisor) Ready() error { return s.tell("READY=1") }

// Status remembers a line.
func (s *Supervisor) Status(line string) error { return s.tell("STATUS=" + line) }

// Alive remembers that the watchdog was fed.
func (s *Supervisor) Alive() error { return s.tell("WATCHDOG=1") }

// Stopping remembers that the process is about to end.
func (s *Supervisor) Stopping() error { return s.tell("STOPPING=1") }

// SupervisorCase is a supervisor to be tested.
type SupervisorCase struct {
	ports.Supervisor
	Told func() []string // everything that arrived, in the words of sd_notify(3)
}

// TestSupervisor holds a supervisor against its port.
func TestSupervisor(t *testing.T, open func(t *testing.T) SupervisorCase) {
	is := is.New(t)
	s := open(t)
	is.NoErr(s.Ready())
	is.NoErr(s.Status("the host restarts"))
	is.NoErr(s.Alive())
	is.NoErr(s.Stopping())
	is.Equal(s.Told(), []string{"READY=1", "STATUS=the host restarts", "WATCHDOG=1", "STOPPING=1"})
}
