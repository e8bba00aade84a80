package systemd

import (
	"fmt"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Supervisor speaks to the service manager that started this process, by sd_notify(3). Where none did, it
// says nothing. It implements ports.Supervisor.
type Supervisor struct{}

// Ready says that the process does its work.
func (Supervisor) Ready() error { return notify(daemon.SdNotifyReady) }

// Status shows one line in systemctl status.
func (Supervisor) Status(line string) error { return notify("STATUS=" + line) }

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
