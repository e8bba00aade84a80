package packages

import (
	"context"

	"elemental/ports"
)

// manager is the package manager of a host. Its backends know their tool; what is to be done and when is decided
// above them, in plugin.go.
//
// Names and versions that it is given match the patterns of schema.json; a backend passes "--" before them all the
// same where its tool knows it. It runs every program that may change the host through programs.run, so that what the tool says reaches the
// plugin's log. Each method may be killed at any moment and called again. Where the tool is at work for someone else,
// the methods that change the host wait with awaitLock.
//
// Errors are core.Failures wherever the person who reads them can act on them: with the class, one of the reasons
// below or one of the backend's own, a message that names the package, the repository or the process at fault and
// says what to do, and the field (packages.install, packages.versions.NAME) when one is at fault. Whatever is not a
// core.Failure counts as failed.
type manager interface {
	// Name is what people call the tool: apt, dnf, zypper.
	Name() string

	// Inventory says how the packages named stand, and which ones of all are broken. It changes nothing, uses no
	// network, waits for no lock, and takes far less than a second.
	Inventory(ctx context.Context, names []string) (inventory, error)

	// Same says whether an installed version, as Inventory words it, is the one that a person asked for: where the
	// tool's versions have parts that people leave out, such as an epoch or a release, those are left out of the
	// comparison too.
	Same(installed, asked string) bool

	// RestartReasons says why the host must restart for what was installed, one short phrase each ("linux-image-6.1",
	// "glibc was updated"); none: it need not. It changes nothing and uses no network, but may take some seconds.
	RestartReasons(ctx context.Context) ([]string, error)

	// Repair ends what an interrupted transaction left half done. Where nothing is, it changes nothing. What it can't
	// mend is an error, which stops no one from trying a transaction that may mend it.
	Repair(ctx context.Context, report report) error

	// Refresh renews what the host knows of its repositories. One that can't be reached is an error of class
	// retryable with reasonRepository, also where the tool itself would go on with what it knew before.
	Refresh(ctx context.Context, report report) error

	// Apply makes a plan true, in one transaction where the tool has one. It asks nothing, keeps configuration files
	// that were changed on the host, may install what is needed besides, and removes nothing that the plan does not
	// name: reasonWouldRemove.
	Apply(ctx context.Context, plan plan, report report) error
}

// report hears of progress. Percent is of the step, and -1 where it can't be told.
type report func(ports.Progress)

// The steps that progress names, in their order. A step may be left out.
const (
	stepWaiting     = "Waiting" // for a lock
	stepRepairing   = "Repairing"
	stepRefreshing  = "Refreshing"
	stepDownloading = "Downloading"
	stepInstalling  = "Installing" // and upgrading, and removing
)

// The reasons that all backends share.
const (
	reasonLocked      = "DatabaseLocked"        // retryable: another process is at work
	reasonRepository  = "RepositoryUnavailable" // retryable: no network, a repository that is down or half renewed
	reasonUntrusted   = "RepositoryNotTrusted"  // failed: a signature that is missing, wrong or of no known key
	reasonNoPackage   = "PackageNotFound"       // failed, since a repository may have it later
	reasonNoVersion   = "VersionNotFound"       // failed, since a repository may have it later
	reasonWouldRemove = "WouldRemove"           // failed: it needs the removal of something that remove does not name
	reasonConflict    = "DependenciesUnmet"     // failed: the packages can't be had together
	reasonScript      = "PackageScriptFailed"   // failed: a package's own script did; with its name and last words
	reasonBroken      = "DatabaseBroken"        // failed: it can't be repaired without a person
	reasonDiskFull    = "DiskFull"              // failed
)

// inventory is how the packages that were asked about stand.
type inventory struct {
	// Installed holds, by each name that was asked about and is wholly installed, its versions: more than one where
	// the tool keeps several side by side. A name that only other packages provide has the versions of those.
	Installed map[string][]string
	// Partial are those of the names asked about that are neither wholly there nor wholly gone. A tool that knows no
	// such state leaves it empty.
	Partial []string
	// Held holds, by name, the versions at which Elemental itself holds packages now, whether asked about or not.
	// Nil, and not empty, where the tool has no means to hold any: then nothing is missing.
	Held map[string]string
	// Broken are packages, of all on the host, that are neither wholly there nor wholly gone, each with what is
	// wrong ("nginx is unpacked, and not configured").
	Broken []string
}

// plan is what one transaction is to change. Where something is already so, it is not in it; Hold alone always says
// it all.
type plan struct {
	Install    []string          // not installed: the newest version that can be had
	Versions   map[string]string // not installed, or in another version, be it older or newer: to be exactly this one
	Remove     []string          // installed; their configuration may stay
	Upgrade    []string          // installed: to the newest version that can be had
	UpgradeAll bool              // whatever is installed, but for what Hold holds
	Hold       map[string]string // what nobody is to change, by name the version; whatever else Elemental held is let go
	Refreshed  bool              // the repositories were asked just now: else a message may advise refresh: true
}
