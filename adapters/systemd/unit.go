package systemd

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/godbus/dbus/v5"

	"elemental/ports"
)

// What systemd says of how a service's process ended, as waitid(2) does.
const (
	codeExited = 1
	codeKilled = 2
	codeDumped = 3
)

// The exit statuses of systemd itself, in place of the program's, where the program was not executed.
const (
	statusesFrom = 200
	statusesTo   = 243
	statusExec   = 203 // of them: the kernel refused to execute it
)

// killEvery is how often a unit that is to be killed is killed until it has ended.
const killEvery = time.Second

// hangTime is how long a unit that is killed may take to end. One that waits in the kernel, for a disk or for a file
// system of the network, does not end before that answers.
const hangTime = time.Minute

// unit is a program that runs as a unit. It implements ports.Process.
type unit struct {
	launcher *Launcher
	name     string
	patience time.Duration
	begun    chan struct{} // closed when it was started, or could not be
	exited   chan struct{}

	mutex        sync.Mutex
	launched     bool   // systemd was asked to start it and has agreed
	result       string // of that; empty until it has begun
	active       string // the state, in systemd's word
	code, status int32  // how its process ended; no code: it runs
	asked        bool   // it was told to end
	left, ended  bool
	exit         ports.Exit
}

// start starts the unit and returns when its program runs.
func (u *unit) start(ctx context.Context, m *serviceManager, settings []property) error {
	m.listen(u.name)
	var job dbus.ObjectPath
	// Everything that it depends on is there, since this process is. While the host shuts down systemd would refuse to
	// look at that; whoever is asked to end by that ends the unit, too.
	const mode = "ignore-dependencies"
	if err := m.call(ctx, "StartTransientUnit", []any{&job}, u.name, mode, settings, []auxiliary{}); err != nil {
		return notReady(fmt.Errorf("asking systemd to start the unit %s: %w", u.name, err))
	}
	u.mutex.Lock()
	u.launched = true
	u.mutex.Unlock()
	select {
	case <-u.begun:
	case <-ctx.Done():
		return notReady(fmt.Errorf("waiting until systemd has started the unit %s: %w", u.name, context.Cause(ctx)))
	}
	u.mutex.Lock()
	defer u.mutex.Unlock()
	switch {
	case u.ran():
		return nil
	case u.result == "failed" && u.status == statusExec:
		return errors.New("it can't be executed: it must be a program of this machine, or a script whose first line names one (journalctl --unit=" + u.name + " says more)")
	case u.result == "failed" && u.code != 0:
		return fmt.Errorf("systemd could not prepare its execution, and gave up with status %d (journalctl --unit=%s says more)", u.status, u.name)
	default:
		return notReady(fmt.Errorf("starting the unit %s ended with %q", u.name, u.result))
	}
}

// callOff ends a unit whose start was not seen to succeed: it may have been started all the same, and two plugins must not
// change one system. It returns when the unit has ended. What can't be ended or asked for here, the next start waits for.
func (u *unit) callOff(ctx context.Context, m *serviceManager) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), u.patience+hangTime)
	defer cancel()
	m.tell("StopUnit", u.name, "replace")
	killing := time.Now().Add(u.patience)
	for pause := pauseAtFirst; ; pause = min(2*pause, killEvery) {
		running, err := m.running(ctx, u.name)
		if err != nil || len(running) == 0 {
			return
		}
		if time.Now().After(killing) {
			m.kill(u.name, syscall.SIGKILL)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// ran says whether the program was executed. To systemd the start of one that has failed before it was seen to run has
// failed, too.
func (u *unit) ran() bool {
	return u.result == "done" || u.result == "failed" && u.code != 0 &&
		(u.code != codeExited || u.status < statusesFrom || u.status > statusesTo)
}

// Exited is closed when nothing of the unit is left.
func (u *unit) Exited() <-chan struct{} { return u.exited }

// Exit says how the program ended. One that ended while systemd could not be asked counts as one that ended well: its
// answer says enough.
func (u *unit) Exit() ports.Exit {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	return u.exit
}

// Stop asks everything in the unit to end, waits, and kills it. What does not end then is given up.
//
// It sends signals, and does not ask systemd for the unit's stop: that would wait for its turn when the host shuts
// down, behind that of the agent, which waits for its plugin.
func (u *unit) Stop() {
	u.signal(syscall.SIGTERM)
	last, wait := time.After(u.patience+hangTime), u.patience
	for {
		select {
		case <-u.exited:
			return
		case <-last:
			u.end(ports.Exit{Lost: fmt.Sprintf("it was killed and had not ended %s later: it may wait for a disk or for a file system of the network", hangTime)})
			return
		case <-time.After(wait):
			// What is said while there is no connection is not heard.
			u.signal(syscall.SIGKILL)
			wait = killEvery
		}
	}
}

// Kill kills everything in the unit.
func (u *unit) Kill() { u.signal(syscall.SIGKILL) }

func (u *unit) signal(signal syscall.Signal) {
	u.mutex.Lock()
	u.asked = true
	u.mutex.Unlock()
	if m := u.launcher.connection(); m != nil {
		m.kill(u.name, signal)
	}
}

// adopt takes the unit up on a new connection.
func (u *unit) adopt(ctx context.Context, m *serviceManager) error {
	if !u.known() {
		return nil
	}
	m.listen(u.name)
	err := m.call(ctx, "RefUnit", nil, u.name)
	if named(err, noSuchUnit) {
		u.gone()
		return nil
	}
	if err != nil {
		return err
	}
	return u.refresh(ctx, m)
}

// known says whether systemd has heard of the unit. One of which it has not heard yet is not gone.
func (u *unit) known() bool {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	return u.launched
}

// refresh asks how the unit stands.
func (u *unit) refresh(ctx context.Context, m *serviceManager) error {
	if !u.known() {
		return nil
	}
	values, err := m.values(ctx, u.name)
	if err != nil {
		return err
	}
	if load, _ := values["LoadState"].Value().(string); load == "not-found" {
		u.gone()
		return nil
	}
	if entered, _ := values["ActiveEnterTimestampMonotonic"].Value().(uint64); entered > 0 {
		u.begin("done")
	}
	u.apply(values)
	return nil
}

// gone takes that systemd knows nothing of the unit any more.
func (u *unit) gone() {
	u.begin("lost")
	u.end(ports.Exit{})
}

// begin takes the result of the unit's start; only the first one counts.
func (u *unit) begin(result string) {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	if u.result != "" {
		return
	}
	u.result = result
	close(u.begun)
	if result == "failed" {
		u.settle()
	}
}

// apply takes what systemd says of the unit.
func (u *unit) apply(values map[string]dbus.Variant) {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	take(values, "ActiveState", &u.active)
	take(values, "ExecMainCode", &u.code)
	take(values, "ExecMainStatus", &u.status)
	u.settle()
}

// settle concludes from what is known whether the unit has ended, and how.
func (u *unit) settle() {
	if u.active == "deactivating" && u.code != 0 && !u.asked {
		u.left = true // Its process has ended, and others have not.
	}
	// Before it was started it was inactive, too.
	if !u.ran() || u.active != "inactive" && u.active != "failed" {
		return
	}
	exit := ports.Exit{Left: u.left}
	switch u.code {
	case codeExited:
		exit.Status = int(u.status)
	case codeKilled, codeDumped:
		exit.Signal = int(u.status)
	}
	u.finish(exit)
}

func take[T any](values map[string]dbus.Variant, name string, to *T) {
	if value, ok := values[name].Value().(T); ok {
		*to = value
	}
}

// end notes how the unit ended; only the first time counts.
func (u *unit) end(exit ports.Exit) {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	u.finish(exit)
}

func (u *unit) finish(exit ports.Exit) {
	if u.ended {
		return
	}
	u.ended, u.exit = true, exit
	close(u.exited)
	go u.launcher.forget(u) // Whoever tells of the end may be the connection, which must not wait for itself.
}
