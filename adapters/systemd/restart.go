package systemd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	sddbus "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"

	"elemental/ports"
)

// answerTime is how long logind and the unit manager may take to answer. One that hangs must not hold up the agent.
const answerTime = 30 * time.Second

const (
	logind     = "org.freedesktop.login1"
	logindPath = dbus.ObjectPath("/org/freedesktop/login1")
	manager    = logind + ".Manager"
)

// Restart asks logind to restart the host, and the unit manager where logind does not answer. Whoever holds
// an inhibitor lock that blocks shutdown is respected: the error is then ports.ErrNotReady and names them.
func (m Machine) Restart(ctx context.Context, why string) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	asked := m.askLogind(ctx, why)
	if asked == nil || errors.Is(asked, ports.ErrNotReady) {
		return asked
	}
	if err := startReboot(ctx); err != nil {
		return fmt.Errorf("restarting the host: %w", errors.Join(asked, err))
	}
	return nil
}

func (m Machine) askLogind(ctx context.Context, why string) error {
	bus, err := dbus.ConnectSystemBus(dbus.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("connecting to D-Bus: %w", err)
	}
	defer func() { _ = bus.Close() }() // Nothing is lost by it.
	login := bus.Object(logind, logindPath)
	if err := inhibited(ctx, login); err != nil {
		return err
	}
	// A host without users to warn is no reason not to restart.
	_ = login.CallWithContext(ctx, manager+".SetWallMessage", 0, why, true).Err
	if err := login.CallWithContext(ctx, manager+".Reboot", 0, false).Err; err != nil {
		return fmt.Errorf("asking logind to restart: %w", err)
	}
	return nil
}

// inhibitor is one lock as ListInhibitors tells it.
type inhibitor struct {
	What, Who, Why, Mode string
	UID, PID             uint32
}

// inhibited returns an error that names who blocks a shutdown. For root logind itself would not ask.
func inhibited(ctx context.Context, login dbus.BusObject) error {
	var locks []inhibitor
	if err := login.CallWithContext(ctx, manager+".ListInhibitors", 0).Store(&locks); err != nil {
		return fmt.Errorf("asking logind who blocks a restart: %w", err)
	}
	for _, l := range locks {
		if l.Mode == "block" && strings.Contains(":"+l.What+":", ":shutdown:") {
			return fmt.Errorf("restarting the host: %s (process %d) holds an inhibitor lock: %s: %w", l.Who, l.PID, l.Why, ports.ErrNotReady)
		}
	}
	return nil
}

// startReboot starts the target that logind would have.
func startReboot(ctx context.Context) error {
	units, err := sddbus.NewSystemConnectionContext(ctx)
	if err != nil {
		return fmt.Errorf("connecting to the unit manager: %w", err)
	}
	defer units.Close()
	if _, err := units.StartUnitContext(ctx, "reboot.target", "replace-irreversibly", nil); err != nil {
		return fmt.Errorf("starting reboot.target: %w", err)
	}
	return nil
}
