package ports

import "context"

// Machine is the host itself.
type Machine interface {
	// Facts reads what is true of the running system.
	Facts(ctx context.Context) (Facts, error)
	// Restart asks the system to restart and returns once the request was taken: the end of this boot comes as
	// the end of the process. The reason is shown to whoever is logged in.
	Restart(ctx context.Context, why string) error
	// PowerOff asks the system to turn itself off, as Restart asks it to restart.
	PowerOff(ctx context.Context, why string) error
	// Joined says whether this boot has seen bootstrapping succeed.
	Joined(ctx context.Context) (bool, error)
	// FollowJoined calls changed whenever Joined may answer anew, until the context ends, which is not an error.
	FollowJoined(ctx context.Context, changed func()) error
}

// Facts describe the running system.
type Facts struct {
	BootID        string
	MachineID     string
	OSImage       string
	KernelVersion string
	Architecture  string // as Go names it
	AgentVersion  string
	Hostname      string // that the system has
	Serial        string // of the hardware, as its firmware says; empty where that says nothing of use
}
