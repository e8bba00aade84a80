// Package deploy keeps several complete systems side by side on one disk and lets the boot loader choose
// among them. A new one is written next to the one that runs, and only the last, atomic step makes it the
// next choice, for a counted number of tries.
//
// On disk, below Config.Root:
//
//	objects/ab/cdef…             each distinct file once: content, mode, owner, xattrs and mtime are its identity
//	layers/<diffID>.json.zst     what a layer holds
//	deployments/<id>/root        a tree of hard links into objects; never written to once it is published
//	deployments/<id>/etc         the deployment's own /etc
//	deployments/<id>/deployment.json
//	staging/                     work under way; what lies here at the start of a staging is debris
//	var/                         shared by all deployments
//	reset/                       what the running deployment is reset to by the next boot; see the package reset
//
// Nothing is remembered beside the disk: what is booted, staged, confirmed or fallen back from is read from
// the deployments, the boot entries and what the running boot says of itself.
package deploy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"elemental/core"
	"elemental/ports"
)

// KernelPolicy says where the kernel of a host comes from.
type KernelPolicy string

// The kernel policies.
const (
	KernelRequired KernelPolicy = "required" // from the image, which must have one
	KernelNone     KernelPolicy = "none"     // from outside, as in a container
)

// Config is what an engine works on and with. Root, Boot, Images and Loader are required.
type Config struct {
	Root          string        // the folder with the deployments, on a persistent file system
	Boot          string        // the top of the boot partition
	Kernel        KernelPolicy  // by default required
	Tries         int           // boots that a new deployment has to prove itself; by default 3
	Architecture  string        // as Go names it
	Options       string        // kernel command line of new entries; by default that of the running one
	HealthTimeout time.Duration // how long a new deployment has to become healthy; by default 5 min
	FetchTimeout  time.Duration // how long one layer may make no progress; by default 2 min
	Budget        Budget        // what an image may cost; by default DefaultBudget

	// Downgrade is asked where a staging would run an image that is older than the one that runs, or that can't be
	// compared with it; why says which, as a clause. An error refuses the staging. nil: all are taken.
	Downgrade func(why string) error

	ResetKeeps []string               // patterns of what a reset keeps besides what it is asked to; nil: DefaultResetKeeps
	BootID     func() (string, error) // the boot ID of the running system, for requests that do not say it; nil: it is not known

	// Own are the files by which an installed system's image plugin is configured as this one is; nil: there are none.
	Own func() ([]ports.File, error)
	// Named are the files by which an installed system has its name and its cloud config, as they are written where a
	// host that runs gets them; either may be empty. nil: nothing of the kind is installed.
	Named   func(hostname string, cloudConfig []byte) ([]ports.File, error)
	Program string // is made the first process of an installed system; by default this very program

	Images ports.Images
	Loader ports.BootLoader
	Now    func() time.Time                    // by default time.Now
	Free   func(folder string) (uint64, error) // bytes free to write; by default what statfs says
	Log    *slog.Logger                        // by default slog.Default
}

// Engine is the image plugin: it makes OCI images the system that runs. It implements ports.Plugin.
type Engine struct {
	Config
}

var _ ports.Plugin = (*Engine)(nil)

// New returns an engine, and an error where its configuration says too little.
func New(config Config) (*Engine, error) {
	if config.Root == "" || config.Boot == "" || config.Images == nil || config.Loader == nil || config.Architecture == "" {
		return nil, errors.New("making the image engine: root, boot, architecture, images and boot loader are required")
	}
	switch config.Kernel {
	case "":
		config.Kernel = KernelRequired
	case KernelRequired, KernelNone:
	default:
		return nil, fmt.Errorf("making the image engine: kernel is %q; it may be %q or %q", config.Kernel, KernelRequired, KernelNone)
	}
	if config.Tries <= 0 {
		config.Tries = 3
	}
	if config.HealthTimeout <= 0 {
		config.HealthTimeout = 5 * time.Minute
	}
	if config.FetchTimeout <= 0 {
		config.FetchTimeout = 2 * time.Minute
	}
	if config.Budget == (Budget{}) {
		config.Budget = DefaultBudget()
	}
	if config.ResetKeeps == nil {
		config.ResetKeeps = DefaultResetKeeps()
	}
	for _, pattern := range config.ResetKeeps {
		if err := CheckResetKeep(pattern); err != nil {
			return nil, fmt.Errorf("making the image engine: what a reset keeps: %w", err)
		}
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Free == nil {
		config.Free = freeBytes
	}
	if config.Log == nil {
		config.Log = slog.Default()
	}
	return &Engine{Config: config}, nil
}

// verbs are what the engine carries out.
var verbs = [...]core.Verb{
	core.VerbDescribe, core.VerbObserve, core.VerbStage, core.VerbUnstage, core.VerbConfirm, core.VerbRollback,
	core.VerbInstall,
	core.VerbBootstrap, core.VerbTriggerReset, core.VerbReset,
}

// Describe says what the engine is and can.
func (e *Engine) Describe(context.Context) (ports.Description, error) {
	return ports.Description{
		Name: "image", Protocols: []string{"elemental.io/plugin/v1"},
		Verbs: slices.Clone(verbs[:]), Schema: slices.Clone(requestSchema), Restarts: true,
	}, nil
}

// Do carries out a verb.
func (e *Engine) Do(ctx context.Context, verb core.Verb, request ports.Request, progress func(ports.Progress)) error {
	switch verb {
	case core.VerbStage:
		return e.Stage(ctx, request, progress)
	case core.VerbUnstage:
		return e.Unstage(ctx)
	case core.VerbConfirm:
		return e.Confirm(ctx, request)
	case core.VerbRollback:
		return e.Rollback(ctx)
	case core.VerbInstall:
		return e.InstallTo(ctx, request, progress)
	case core.VerbBootstrap:
		return e.Bootstrap(ctx)
	case core.VerbTriggerReset:
		return e.TriggerReset(ctx, request, progress)
	case core.VerbReset:
		return e.Reset(ctx, request, progress)
	default:
		return core.Failure{
			Class: core.FailureInvalid, Reason: "UnsupportedVerb",
			Message: fmt.Sprintf("the image plugin does not know the verb %q", verb),
		}
	}
}

func (e *Engine) path(elements ...string) string {
	return filepath.Join(append([]string{e.Root}, elements...)...)
}

// lockPatience is how long a verb waits for another to end.
const lockPatience = 10 * time.Second

// lock keeps other processes from changing the same disk. The kernel lets go of it when the process ends.
func (e *Engine) lock(ctx context.Context) (unlock func(), err error) {
	if err := os.MkdirAll(e.Root, 0o755); err != nil {
		return nil, fmt.Errorf("making %s: %w", e.Root, err)
	}
	file, err := os.OpenFile(e.path("lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the lock: %w", err)
	}
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	patience := time.NewTimer(lockPatience)
	defer patience.Stop()
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = file.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			_ = file.Close()
			return nil, fmt.Errorf("locking %s: %w", file.Name(), err)
		}
		select {
		case <-ctx.Done():
			_ = file.Close()
			return nil, ctx.Err()
		case <-patience.C:
			_ = file.Close()
			return nil, core.Failure{
				Class: core.FailureRetryable, Reason: "Busy",
				Message: "another elemental process is changing " + e.Root + "; wait until it ends",
			}
		case <-again.C:
		}
	}
}

// occupy keeps other processes from changing the disk of a host that was started from a deployment, and reads how it stands.
func (e *Engine) occupy(ctx context.Context) (now state, unlock func(), err error) {
	if unlock, err = e.lock(ctx); err != nil {
		return state{}, nil, err
	}
	if now, err = e.look(ctx); err == nil {
		err = e.checkBooted(now)
	}
	if err != nil {
		unlock()
		return state{}, nil, err
	}
	return now, unlock, nil
}

// freeBytes is what may be written to the file system that holds a folder.
func freeBytes(folder string) (uint64, error) {
	var state unix.Statfs_t
	if err := unix.Statfs(folder, &state); err != nil {
		return 0, fmt.Errorf("asking for the free space of %s: %w", folder, err)
	}
	return state.Bavail * uint64(state.Bsize), nil
}
