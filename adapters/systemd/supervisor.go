package systemd

import (
	"fmt"
	"strings"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Supervisor speaks to the service manager that started this process, by sd_notify(3). Where none did, it
// says nothing. It implements ports.Supervisor.
type Supervisor struct{}

// Ready says that the process does its work.
func (Supervisor) Ready() error { return notify(daemon.SdNotifyReady) }

// Status shows one line in systemctl status. Each line of a message is a setting of its own to sd_notify, so that a text of
// several lines becomes one.
func (Supervisor) Status(line string) error {
	parts := strings.FieldsFunc(line, func(r rune) bool { return r == '\n' || r == '\r' })
	return notify("STATUS=" + strings.Join(parts, "; "))
}

// Alive feeds the watchdog.
func (Supervisor) Alive() error { return notify(daemon.SdNotifyWatchdog) }

// Stopping says that the process is about to end.
func (Supervisor) Stopping() error { return notify(daemon.SdNotifyStopping) }

func notify(state string) error {
	if _, err := daemon.SdNotify(false, state); err != nil {
		return fmt.Errorf("telling the service manager: %w", err)
	}
	return nil
}
