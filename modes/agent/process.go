package agent

import (
	"context"

	"elemental/ports"
)

// processMachine is a host that is a plain process: it restarts by ending, and its parent starts it again.
// Each process is a boot of its own.
type processMachine struct {
	ports.Machine
	boot string
	end  context.CancelCauseFunc
}

// Facts are the machine's, with the boot of this process.
func (m processMachine) Facts(ctx context.Context) (ports.Facts, error) {
	facts, err := m.Machine.Facts(ctx)
	facts.BootID = m.boot
	return facts, err
}

// PowerOff ends the agent for good.
func (m processMachine) PowerOff(context.Context, string) error {
	m.end(errPowerOff)
	return nil
}

// Restart ends the agent with the error that asks for another start.
func (m processMachine) Restart(context.Context, string) error {
	m.end(errRestart)
	return nil
}
