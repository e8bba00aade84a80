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
	return ending{"restart", "Reboot", "reboot.target"}.begin(ctx, why)
}

// PowerOff asks logind to turn the host off, as Restart asks it to restart.
func (m Machine) PowerOff(ctx context.Context, why string) error {
	return ending{"power-off", "PowerOff", "poweroff.target"}.begin(ctx, why)
}

// ending is one way in which a boot ends.
type ending struct {
	name   string
	method string // of logind
	target string // of the unit manager
}

func (e ending) begin(ctx context.Context, why string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	// The end of the boot ends this process, too: what was asked for may come before the answer does.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTime)
	defer cancel()
	asked := e.askLogind(ctx, why)
	if asked == nil || errors.Is(asked, ports.ErrNotReady) {
		return asked
	}
	if err := e.startTarget(ctx); err != nil {
		return fmt.Errorf("asking for the %s of the host: %w; and then, without logind: %w", e.name, asked, err)
	}
	return nil
}

func (e ending) askLogind(ctx context.Context, why string) error {
	bus, err := dbus.ConnectSystemBus(dbus.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("connecting to D-Bus: %w", err)
	}
	defer func() { _ = bus.Close() }() // Nothing is lost by it.
	login := bus.Object(logind, logindPath)
	if err := inhibited(ctx, login); err != nil {
		return err
	}
	// A host without users to warn is no reason not to go on.
	_ = login.CallWithContext(ctx, manager+".SetWallMessage", 0, why, true).Err
	if err := login.CallWithContext(ctx, manager+"."+e.method, 0, false).Err; err != nil {
		return fmt.Errorf("asking logind for the %s: %w", e.name, err)
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
		return fmt.Errorf("asking logind who blocks the end of this boot: %w", err)
	}
	for _, l := range locks {
		if l.Mode == "block" && strings.Contains(":"+l.What+":", ":shutdown:") {
			return fmt.Errorf("ending this boot: %s (process %d) holds an inhibitor lock: %s: %w", l.Who, l.PID, l.Why, ports.ErrNotReady)
		}
	}
	return nil
}

// startTarget starts the target that logind would have.
func (e ending) startTarget(ctx context.Context) error {
	units, err := sddbus.NewSystemConnectionContext(ctx)
	if err != nil {
		return fmt.Errorf("connecting to the unit manager: %w", err)
	}
	defer units.Close()
	if _, err := units.StartUnitContext(ctx, e.target, "replace-irreversibly", nil); err != nil {
		return fmt.Errorf("starting %s: %w", e.target, err)
	}
	return nil
}
