package portstest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/matryer/is"

	"elemental/ports"
)

// Machine is a host in memory. It restarts when it is told to, by OnRestart.
type Machine struct {
	// OnRestart is what a restart does; an error is one that does not begin.
	OnRestart func(why string) error
	// OnPowerOff is what turning off does, in the same way.
	OnPowerOff func(why string) error

	mutex   sync.Mutex
	boot    int
	joined  bool
	changed func()
}

// Boot starts the machine anew: what bootstrapping left in /run is gone.
func (m *Machine) Boot() {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.boot++
	m.joined = false
}

// Join lets bootstrapping succeed.
func (m *Machine) Join() {
	m.mutex.Lock()
	m.joined = true
	changed := m.changed
	m.mutex.Unlock()
	if changed != nil {
		changed()
	}
}

// Facts names the boot.
func (m *Machine) Facts(context.Context) (ports.Facts, error) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return ports.Facts{BootID: fmt.Sprintf("boot-%d", m.boot), MachineID: "machine", OSImage: "An OS", KernelVersion: "6.1", Architecture: "amd64"}, nil
}

// Restart does what OnRestart says.
func (m *Machine) Restart(_ context.Context, why string) error {
	if m.OnRestart == nil {
		return nil
	}
	return m.OnRestart(why)
}

// PowerOff does what OnPowerOff says.
func (m *Machine) PowerOff(_ context.Context, why string) error {
	if m.OnPowerOff == nil {
		return nil
	}
	return m.OnPowerOff(why)
}

// Joined says whether Join was called in this boot.
func (m *Machine) Joined(context.Context) (bool, error) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return m.joined, nil
}

// FollowJoined calls changed when Join is called.
func (m *Machine) FollowJoined(ctx context.Context, changed func()) error {
	m.mutex.Lock()
	m.changed = changed
	m.mutex.Unlock()
	<-ctx.Done()
	return nil
}

// MachineCase is a machine to be tested. Its restart is not: it would be the test's own.
type MachineCase struct {
	ports.Machine
	Join func() // lets bootstrapping succeed
}

// TestMachine holds a machine against its port.
func TestMachine(t *testing.T, open func(t *testing.T) MachineCase) {
	t.Run("knows its boot", func(t *testing.T) {
		is := is.New(t)
		m := open(t)
		facts, err := m.Facts(context.Background())
		is.NoErr(err)
		is.True(facts.BootID != "")
		is.True(facts.KernelVersion != "")
		is.True(facts.Architecture != "")
		again, err := m.Facts(context.Background())
		is.NoErr(err)
		is.Equal(again, facts)
	})
	t.Run("sees bootstrapping succeed", func(t *testing.T) {
		is := is.New(t)
		m := open(t)
		joined, err := m.Joined(context.Background())
		is.NoErr(err)
		is.True(!joined)
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		changed, ended := make(chan struct{}, 16), make(chan error, 1)
		go func() { ended <- m.FollowJoined(ctx, func() { changed <- struct{}{} }) }()
		for seen := false; !seen; {
			m.Join() // The first may come before the watch begins.
			select {
			case <-changed:
				seen = true
			case <-time.After(10 * time.Millisecond):
			case <-ctx.Done():
				t.Fatal("nobody saw that bootstrapping succeeded")
			}
		}
		joined, err = m.Joined(context.Background())
		is.NoErr(err)
		is.True(joined)
		cancel()
		is.NoErr(<-ended) // The end of the context is no error.
	})
}
