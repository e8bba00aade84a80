package systemd

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"syscall"

	sddbus "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
)

const (
	systemd        = "org.freedesktop.systemd1"
	systemdPath    = dbus.ObjectPath("/org/freedesktop/systemd1")
	systemdManager = systemd + ".Manager"
	systemdUnit    = systemd + ".Unit"
	systemdService = systemd + ".Service"

	properties = "org.freedesktop.DBus.Properties"
)

// The errors of systemd that say something of a unit, and nothing against the connection.
const (
	noSuchUnit = systemd + ".NoSuchUnit"
	noUnitFor  = systemd + ".NoUnitForPID"
)

// listener takes what systemd tells of units. Its methods are called in the order in which systemd speaks, and hold up
// the connection until they return.
type listener interface {
	changed(unit dbus.ObjectPath, values map[string]dbus.Variant)
	jobRemoved(unit, result string)
}

// serviceManager is a connection to systemd over the bus.
type serviceManager struct {
	conn    *dbus.Conn
	manager dbus.BusObject
}

// connect connects to systemd, within the time that the context gives. The connection outlives the context.
func connect(ctx context.Context, to listener) (*serviceManager, error) {
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, end)
	conn, err := dbus.ConnectSystemBus(dbus.WithContext(life), dbus.WithSignalHandler(signals{to}))
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		end()
		return nil, fmt.Errorf("connecting to D-Bus: %w", err)
	}
	if !conn.SupportsUnixFDs() {
		end()
		return nil, errors.New("connecting to D-Bus: the bus can't carry file descriptors; is it one of another machine?")
	}
	return &serviceManager{conn: conn, manager: conn.Object(systemd, systemdPath)}, nil
}

func (s *serviceManager) close() { _ = s.conn.Close() } // Nothing is lost by it.

// call calls a method of the manager and stores what it answers.
func (s *serviceManager) call(ctx context.Context, method string, results []any, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	return s.manager.CallWithContext(ctx, systemdManager+"."+method, 0, args...).Store(results...)
}

// tell calls a method of the manager, and waits for no answer.
func (s *serviceManager) tell(method string, args ...any) {
	s.manager.Go(systemdManager+"."+method, dbus.FlagNoReplyExpected, nil, args...)
}

// listen has what happens to a unit told. Messages keep their order, so that nothing is missed of what is asked for next.
func (s *serviceManager) listen(unit string) { s.match("AddMatch", unit) }

// deafen is the end of that.
func (s *serviceManager) deafen(unit string) { s.match("RemoveMatch", unit) }

func (s *serviceManager) match(method, unit string) {
	for _, rule := range []string{
		"type='signal',sender='" + systemd + "',path='" + string(pathOf(unit)) + "',interface='" + properties + "',member='PropertiesChanged'",
		"type='signal',sender='" + systemd + "',path='" + string(systemdPath) + "',interface='" + systemdManager + "',member='JobRemoved',arg2='" + unit + "'",
	} {
		s.conn.BusObject().Go("org.freedesktop.DBus."+method, dbus.FlagNoReplyExpected, nil, rule)
	}
}

// values reads all that systemd knows of a service.
func (s *serviceManager) values(ctx context.Context, unit string) (map[string]dbus.Variant, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	object, all := s.conn.Object(systemd, pathOf(unit)), map[string]dbus.Variant{}
	// The state comes last, so that it is not older than what the service has said of its end.
	for _, kind := range []string{systemdService, systemdUnit} {
		some := map[string]dbus.Variant{}
		if err := object.CallWithContext(ctx, properties+".GetAll", 0, kind).Store(&some); err != nil {
			return nil, err
		}
		maps.Copy(all, some)
	}
	return all, nil
}

// running lists the services that have a name of this form and have not ended.
func (s *serviceManager) running(ctx context.Context, pattern string) ([]string, error) {
	var found []struct {
		Name, Description, Load, Active, Sub, Following string
		Path                                            dbus.ObjectPath
		Job                                             uint32
		JobType                                         string
		JobPath                                         dbus.ObjectPath
	}
	states := []string{"active", "activating", "deactivating", "reloading"}
	if err := s.call(ctx, "ListUnitsByPatterns", []any{&found}, states, []string{pattern}); err != nil {
		return nil, err
	}
	var names []string
	for _, unit := range found {
		names = append(names, unit.Name)
	}
	return names, nil
}

// self is the service that this process belongs to; empty where it belongs to none.
func (s *serviceManager) self(ctx context.Context) (string, error) {
	var path dbus.ObjectPath
	err := s.call(ctx, "GetUnitByPID", []any{&path}, uint32(os.Getpid()))
	if named(err, noUnitFor) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	var name string
	if err := s.conn.Object(systemd, path).CallWithContext(ctx, properties+".Get", 0, systemdUnit, "Id").Store(&name); err != nil {
		return "", err
	}
	if !strings.HasSuffix(name, ".service") {
		return "", nil
	}
	return name, nil
}

// named says whether an error is this one of systemd's.
func named(err error, name string) bool {
	var told dbus.Error
	return errors.As(err, &told) && told.Name == name
}

// signals hands the signals of a connection to its listener.
type signals struct{ listener }

// DeliverSignal is called for every signal that arrives.
func (s signals) DeliverSignal(_, _ string, signal *dbus.Signal) {
	switch signal.Name {
	case properties + ".PropertiesChanged":
		if len(signal.Body) > 1 {
			if values, ok := signal.Body[1].(map[string]dbus.Variant); ok {
				s.changed(signal.Path, values)
			}
		}
	case systemdManager + ".JobRemoved":
		if len(signal.Body) > 3 {
			unit, _ := signal.Body[2].(string)
			result, _ := signal.Body[3].(string)
			s.jobRemoved(unit, result)
		}
	}
}

// pathOf is the object of a unit on the bus.
func pathOf(unit string) dbus.ObjectPath {
	return systemdPath + "/unit/" + dbus.ObjectPath(sddbus.PathBusEscape(unit))
}

// kill sends a signal to all processes of a unit.
func (s *serviceManager) kill(unit string, signal syscall.Signal) {
	s.tell("KillUnit", unit, "all", int32(signal))
}
