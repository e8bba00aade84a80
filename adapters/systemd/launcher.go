package systemd

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"

	"elemental/ports"
)

const (
	// unitPrefix begins the names of all units that a Launcher starts.
	unitPrefix = "elemental-plugin-"

	startTime    = 30 * time.Second // for a program to be executed, and for what an earlier call left to end
	refreshTime  = 30 * time.Second // after which a unit's state is asked for, in case that a signal was lost
	lostTime     = time.Minute      // without a connection, after which units are given up
	pauseAtFirst = 50 * time.Millisecond
	pauseAtMost  = 2 * time.Second
)

// Launcher starts programs as transient units of systemd: each is a service of its own, with all the rights of root
// and a control group from which nothing escapes that it starts. So this process needs no rights at all, but to be
// root to D-Bus. It implements ports.Launcher.
//
// Units are bound to the service that this process is, and end with it, however it ends. One connection to D-Bus is
// kept while there are units. When it breaks it is made again, and the units go on meanwhile.
type Launcher struct {
	connecting sync.Mutex // held while a connection is made or given up

	mutex   sync.Mutex
	manager *serviceManager  // nil: there is no connection
	units   map[string]*unit // that are started or run, by name
	self    *string          // the service that this process is, once that is known
}

// NewLauncher returns a launcher. It connects when it is needed.
func NewLauncher() *Launcher { return &Launcher{units: map[string]*unit{}} }

// Supervised says whether this process is a service of the systemd that runs this host.
func Supervised() bool {
	_, err := os.Stat("/run/systemd/system")
	return err == nil && os.Getenv("INVOCATION_ID") != "" && os.Getenv("NOTIFY_SOCKET") != ""
}

// Start starts a program as a unit. That D-Bus or systemd can't be spoken to is ports.ErrNotReady.
func (l *Launcher) Start(ctx context.Context, program ports.Program) (ports.Process, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	within, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	u := &unit{launcher: l, name: unitName(program.Name), patience: program.Patience, begun: make(chan struct{}), exited: make(chan struct{})}
	l.follow(u)
	m, err := l.connected(within)
	if err == nil {
		err = l.endOthers(within, m)
	}
	if err == nil {
		if err = u.start(within, m, l.properties(program)); err != nil {
			u.callOff(ctx, m)
		}
	}
	if err != nil {
		l.forget(u)
		return nil, err
	}
	return u, nil
}

// unitName names a unit after the plugin and the verb, as far as a unit's name can.
func unitName(program string) string {
	plain := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' {
			return r
		}
		return '-'
	}, program)
	return unitPrefix + plain[:min(len(plain), 100)] + "-" + strings.ToLower(rand.Text()[:12]) + ".service"
}

// property is one setting of a unit, as systemd takes it.
type property struct {
	Name  string
	Value dbus.Variant
}

// command is what a service executes, as systemd takes it.
type command struct {
	Path          string
	Args          []string
	IgnoreFailure bool
}

// auxiliary is a unit that is made along with another. There is never one.
type auxiliary struct {
	Name       string
	Properties []property
}

// properties are what a program needs, and no fence: plugins write whole systems.
//
// A unit executes by path, and between a check and the execution a path may come to lead elsewhere, by its last
// name or by any folder above. So the path is that of this process's own descriptor: it leads to the very file that
// was opened and checked, whatever happens to its names, and also where an update has replaced it.
func (l *Launcher) properties(p ports.Program) []property {
	var all []property
	set := func(name string, value any) { all = append(all, property{name, dbus.MakeVariant(value)}) }
	set("Description", "Elemental runs the plugin "+strings.Replace(p.Name, "/", " for ", 1))
	set("Type", "exec")
	set("ExecStart", []command{{Path: fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), p.File.Fd()), Args: literal(p.Args)}})
	set("StandardInputFileDescriptor", dbus.UnixFD(p.Stdin.Fd()))
	set("StandardOutputFileDescriptor", dbus.UnixFD(p.Stdout.Fd()))
	set("StandardErrorFileDescriptor", dbus.UnixFD(p.Stderr.Fd()))
	set("WorkingDirectory", p.Dir)
	set("Environment", p.Environment)
	// What systemd would add by itself.
	set("UnsetEnvironment", []string{"INVOCATION_ID", "JOURNAL_STREAM", "SYSTEMD_EXEC_PID", "MEMORY_PRESSURE_WATCH", "MEMORY_PRESSURE_WRITE"})
	set("IgnoreSIGPIPE", false)
	set("OOMScoreAdjust", int32(-500)) // As the agent has it: a change of the system is the last thing to be killed.
	set("LogLevelMax", int32(5))       // Notices: that it was started, and has ended well, stands in the agent's log already.
	set("LimitCORE", uint64(0))        // What a plugin is told is secret.
	set("LimitCORESoft", uint64(0))
	set("KillMode", "control-group")
	set("TimeoutStartUSec", microseconds(startTime))
	set("TimeoutStopUSec", microseconds(p.Patience))
	// The reference keeps what systemd knows of the unit's end until it was read, or the connection ends.
	set("AddRef", true)
	set("CollectMode", "inactive-or-failed")
	if l.self != nil && *l.self != "" {
		set("BindsTo", []string{*l.self})
		// What is started before stops after: an agent that is told to end ends its plugins itself, and knows why. The
		// other way round it would see them killed, and take it for their failure.
		set("Before", []string{*l.self})
	}
	return all
}

// literal writes arguments so that systemd reads them as they are: it would put variables in.
func literal(args []string) []string {
	written := make([]string, len(args))
	for i, arg := range args {
		written[i] = strings.ReplaceAll(arg, "$", "$$")
	}
	return written
}

// microseconds is a time as systemd takes it, which takes 0 for no limit.
func microseconds(d time.Duration) uint64 {
	return uint64(max(d, time.Millisecond) / time.Microsecond)
}

func (l *Launcher) follow(u *unit) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.units[u.name] = u
}

// forget lets go of a unit that has ended, or was never started.
func (l *Launcher) forget(u *unit) {
	l.mutex.Lock()
	delete(l.units, u.name)
	m := l.manager
	l.mutex.Unlock()
	if m != nil {
		m.tell("UnrefUnit", u.name)
		m.deafen(u.name)
	}
}

func (l *Launcher) followed() []*unit {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return slices.Collect(maps.Values(l.units))
}

// connection is the one that there is; nil: there is none.
func (l *Launcher) connection() *serviceManager {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.manager != nil && !l.manager.conn.Connected() {
		l.manager = nil
	}
	return l.manager
}

// connected returns the connection, and makes one where there is none. Units that run on are taken up by it.
func (l *Launcher) connected(ctx context.Context) (*serviceManager, error) {
	l.connecting.Lock()
	defer l.connecting.Unlock()
	if m := l.connection(); m != nil {
		return m, nil
	}
	m, err := connect(ctx, l)
	if err != nil {
		return nil, notReady(err)
	}
	if err := l.take(ctx, m); err != nil {
		m.close()
		return nil, notReady(err)
	}
	l.mutex.Lock()
	l.manager = m
	l.mutex.Unlock()
	go l.keep(m)
	return m, nil
}

// take takes up the units on a new connection.
func (l *Launcher) take(ctx context.Context, m *serviceManager) error {
	if l.self == nil {
		self, err := m.self(ctx)
		if err != nil {
			return fmt.Errorf("asking systemd which service this process is: %w", err)
		}
		l.self = &self
	}
	for _, u := range l.followed() {
		if err := u.adopt(ctx, m); err != nil {
			return fmt.Errorf("asking systemd for the unit %s: %w", u.name, err)
		}
	}
	return nil
}

// endOthers ends the units that nobody follows, and waits for their end: two plugins must not change one system. A killed
// agent left them, or this one has given them up.
func (l *Launcher) endOthers(ctx context.Context, m *serviceManager) error {
	asked := map[string]bool{}
	for {
		names, err := m.running(ctx, unitPrefix+"*.service")
		if err != nil {
			return notReady(fmt.Errorf("asking systemd for the units of earlier plugins: %w", err))
		}
		l.mutex.Lock()
		names = slices.DeleteFunc(names, func(name string) bool { return l.units[name] != nil })
		l.mutex.Unlock()
		if len(names) == 0 {
			return nil
		}
		for _, name := range names {
			if !asked[name] {
				asked[name] = true
				m.tell("StopUnit", name, "replace")
			}
		}
		select {
		case <-ctx.Done():
			return notReady(fmt.Errorf("waiting for the end of %s, which an earlier call left (systemctl status says what it waits for): %w",
				strings.Join(names, ", "), context.Cause(ctx)))
		case <-time.After(pauseAtFirst):
		}
	}
}

// keep stays with a connection until it breaks, or nobody needs it any more. One that breaks is made again while there
// are units.
func (l *Launcher) keep(m *serviceManager) {
	tick := time.NewTicker(refreshTime)
	defer tick.Stop()
	for m.conn.Connected() {
		select {
		case <-m.conn.Context().Done():
		case <-tick.C:
			if l.closeUnneeded(m) {
				return
			}
			l.refresh(m)
		}
	}
	since := time.Now()
	for pause := pauseAtFirst; len(l.followed()) > 0; pause = min(2*pause, pauseAtMost) {
		time.Sleep(pause)
		ctx, cancel := context.WithTimeout(context.Background(), startTime)
		_, err := l.connected(ctx)
		cancel()
		if err == nil {
			return
		}
		if time.Since(since) > lostTime {
			for _, u := range l.followed() {
				u.end(ports.Exit{Lost: fmt.Sprintf("for %s systemd could not be asked how it stands: %v", lostTime, err)})
			}
		}
	}
}

// closeUnneeded closes a connection that serves no unit.
func (l *Launcher) closeUnneeded(m *serviceManager) bool {
	l.connecting.Lock()
	defer l.connecting.Unlock()
	l.mutex.Lock()
	unneeded := len(l.units) == 0
	if unneeded && l.manager == m {
		l.manager = nil
	}
	l.mutex.Unlock()
	if unneeded {
		m.close()
	}
	return unneeded
}

// refresh asks how the units stand. A connection over which that can't be asked is of no use.
func (l *Launcher) refresh(m *serviceManager) {
	for _, u := range l.followed() {
		ctx, cancel := context.WithTimeout(context.Background(), answerTime)
		err := u.refresh(ctx, m)
		cancel()
		if err != nil {
			m.close()
			return
		}
	}
}

// changed takes a signal of a unit.
func (l *Launcher) changed(path dbus.ObjectPath, values map[string]dbus.Variant) {
	for _, u := range l.followed() {
		if pathOf(u.name) == path {
			u.apply(values)
		}
	}
}

// jobRemoved takes the signal that a unit was started, or could not be.
func (l *Launcher) jobRemoved(name, result string) {
	l.mutex.Lock()
	u := l.units[name]
	l.mutex.Unlock()
	if u != nil {
		u.begin(result)
	}
}

// notReady says that not the program is to blame.
func notReady(err error) error { return fmt.Errorf("%w (%w)", err, ports.ErrNotReady) }
