// Package toolkit is the plugin of hosts that were installed with the elemental-toolkit. It drives the toolkit's own
// command, and believes neither its exit status nor its state more than they are worth.
package toolkit

import (
	"context"
	"fmt"
	"io"
	"time"

	"elemental/core"
	"elemental/ports"
)

// Config is what the plugin must know of its host.
type Config struct {
	WorkDir string
	// File is the host's own file that the rest was read from; messages name it.
	File string
	// Command is the path of the toolkit's command, which is called elemental, as this program is.
	Command string
	// StatePath is where the partition with the snapshots is mounted.
	StatePath string
	// MinFree is how much room an upgrade needs there, in bytes.
	MinFree uint64
	// Timeout is how long an upgrade may take.
	Timeout time.Duration

	// RunPath is where the toolkit's initrd says which system it has started.
	RunPath string
	// Cmdline is the file with the kernel's command line.
	Cmdline string
	// Boot names the boot of the host that now runs, and Began says when it began.
	Boot  func() (string, error)
	Began func() (time.Time, error)
	// Log takes all that the toolkit writes.
	Log io.Writer
}

// The toolkit's own places.
const (
	DefaultCommand   = "/usr/bin/elemental"
	DefaultStatePath = "/run/initramfs/elemental-state"
	DefaultMinFree   = 2 << 30
	DefaultTimeout   = 90 * time.Minute
	RunPath          = "/run/elemental"
	Cmdline          = "/proc/cmdline"
)

// The reasons of this plugin's failures.
const (
	ReasonCommandMissing = "ToolkitMissing"
	ReasonOwnProgram     = "ToolkitIsElemental"
	ReasonNotBooted      = "NotStartedByToolkit"
	ReasonNoState        = "NoToolkitState"
	ReasonBadState       = "ToolkitStateUnreadable"
	ReasonTimedOut       = "ToolkitTimedOut"
	ReasonBadSpec        = "ToolkitRefused"
	ReasonPullFailed     = "ImagePullFailed"
	ReasonUpgradeFailed  = "ToolkitUpgradeFailed"
	ReasonNotUpgraded    = "ToolkitDidNotUpgrade"
	ReasonDiskTooSmall   = "DiskTooSmall"
	ReasonInRecovery     = "RecoveryRuns"
)

// Plugin drives the toolkit.
type Plugin struct{ config Config }

// New returns the plugin for a host.
func New(config Config) *Plugin { return &Plugin{config: config} }

// Describe says what the plugin is.
func (p *Plugin) Describe(context.Context) (ports.Description, error) {
	return ports.Description{
		Name: "elemental-toolkit", Restarts: true, Schema: schema,
		Verbs: []core.Verb{core.VerbDescribe, core.VerbObserve, core.VerbStage, core.VerbUnstage, core.VerbConfirm},
	}, nil
}

// Do carries out a verb. The toolkit's boot loader keeps a system that comes up and leaves one that does not, so
// that there is nothing to confirm.
func (p *Plugin) Do(ctx context.Context, verb core.Verb, request ports.Request, progress func(ports.Progress)) error {
	switch verb {
	case core.VerbStage:
		want, err := readWish(request.OSVersion)
		if err != nil || want == nil {
			return err
		}
		return p.stage(ctx, *want, request.Hash, progress)
	case core.VerbUnstage:
		return p.unstage(ctx)
	case core.VerbConfirm:
		return nil
	default:
		return core.Failure{Class: core.FailureFailed, Reason: "VerbNotSupported", Message: fmt.Sprintf("the plugin elemental-toolkit has no verb %s", verb)}
	}
}

// unstage forgets that the active snapshot fell, so that it is tried again. The toolkit has no way to take back an
// upgrade that waits for its restart: the next one takes its place.
func (p *Plugin) unstage(ctx context.Context) error {
	now, err := p.look(ctx)
	if err != nil || now.mode == modeActive || now.active == nil {
		return err
	}
	now.memory.Forgotten = now.active.number
	return p.remember(now.memory)
}
