package ports

import "context"

// BootLoader chooses, when the host starts, which deployment runs. It counts the boots of a trial and falls
// back by itself when its tries are used up.
type BootLoader interface {
	// Entries lists what may be booted, the one that would be chosen next first.
	Entries(ctx context.Context) ([]BootEntry, error)
	// Add makes a deployment the next choice for so many tries. It replaces an entry of the same deployment.
	// It is atomic: after a crash the entry is there whole, or not at all.
	Add(ctx context.Context, entry BootEntry) error
	// Confirm ends a deployment's trial: it is good, and counted no more.
	Confirm(ctx context.Context, deployment string) error
	// Remove takes a deployment out of the choice. One that is not there is no error.
	Remove(ctx context.Context, deployment string) error
	// Booted names the deployment that runs now; empty when the host was not started from one.
	Booted(ctx context.Context) (string, error)
}

// BootEntry is one choice of the boot loader.
type BootEntry struct {
	Deployment string
	Title      string
	Order      uint64 // the highest is chosen first
	Kernel     string // path of the kernel from the top of the boot partition; empty where the host brings its own
	Initrd     string
	Options    string // the kernel command line
	Trial      bool   // whether its boots are counted
	Tries      int    // boots left, of a trial; at 0 it is chosen only when nothing else is left
	Tried      int    // boots used, of a trial
}
