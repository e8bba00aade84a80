package pid1

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"
)

// Where a host's disk keeps what init needs. Paths are those of the disk's own root.
const (
	elementalFolder = "/elemental"
	bootFolder      = "/boot"
	// BootedFile says, in the running system, which deployment it is.
	BootedFile = "/run/elemental/deployment"
)

// parameter names the deployment on the kernel command line.
const parameter = "elemental.deployment="

// deploymentID is the first half of a sha256 in hexadecimal. Nothing else becomes part of a path.
var deploymentID = regexp.MustCompile(`^[0-9a-f]{32}$`)

// Deployment finds which deployment is to run: what the arguments say, else what the kernel command line
// says. Of several, the last counts, as the kernel itself has it.
func Deployment(arguments []string, commandLine string) (string, error) {
	for _, words := range [][]string{arguments, strings.Fields(commandLine)} {
		id := ""
		for _, word := range words {
			if value, ok := strings.CutPrefix(word, parameter); ok {
				id = strings.Trim(value, `"`)
			}
		}
		if id == "" {
			continue
		}
		if !deploymentID.MatchString(id) {
			return "", fmt.Errorf("reading %s%s: a deployment is named by 32 hexadecimal digits", parameter, id)
		}
		return id, nil
	}
	return "", fmt.Errorf("finding the deployment to run: the boot entry has no %s<id> among its options", parameter)
}

// Action is what one step does.
type Action string

// The actions.
const (
	Private  Action = "private"   // no mount made from here on spreads to another namespace
	Folder   Action = "folder"    // make a folder where none is
	Bind     Action = "bind"      // show a folder in a second place
	ReadOnly Action = "read-only" // let nothing be written through a mount
	Move     Action = "move"      // move a mount, with all that is mounted below it
	Mount    Action = "mount"     // mount a new file system
	Write    Action = "write"     // write a small file
	Enter    Action = "enter"     // make a mount the root, and forget the one before
	Shared   Action = "shared"    // let mounts spread, as systemd wants it
)

// Step is one thing done on the way from the disk's root to the deployment's.
type Step struct {
	Do   Action
	From string      // a path; for Mount the type of file system; for Write the text
	To   string      // a path
	Mode fs.FileMode // of Folder and Write
	Data string      // the options of Mount
}

// String says what the step does, for the console.
func (s Step) String() string {
	switch s.Do {
	case Bind, Move:
		return fmt.Sprintf("%s %s to %s", s.Do, s.From, s.To)
	case Mount:
		return fmt.Sprintf("mount %s on %s", s.From, s.To)
	default:
		return fmt.Sprintf("%s %s", s.Do, s.To)
	}
}

// Disk is what is true of the disk before anything is done.
type Disk struct {
	Deployment string
	Mounted    map[string]bool // which of the kernel's file systems are mounted
	Linked     map[string]bool // which folders of the image's root are links; the image has its own plan for those
	BootHere   bool            // the boot entries lie on this file system, not on one that the system mounts itself
}

// kernelMount is a file system that the kernel provides, and how it is mounted where nothing has done so.
type kernelMount struct{ folder, kind, data string }

var kernelMounts = []kernelMount{
	{"/proc", "proc", ""},
	{"/sys", "sysfs", ""},
	{"/dev", "devtmpfs", "mode=0755"},
	{"/run", "tmpfs", "mode=0755"},
}

// sharedFolder is a folder that all deployments of a host have in common.
type sharedFolder struct {
	from, to string
	mode     fs.FileMode
}

var sharedFolders = []sharedFolder{
	{elementalFolder + "/var", "/var", 0o755},
	{elementalFolder + "/var/home", "/home", 0o755},
	{elementalFolder + "/var/roothome", "/root", 0o700},
	{elementalFolder, "/elemental", 0o755},
}

// Root is where a deployment's tree lies.
func (d Disk) Root() string { return path.Join(elementalFolder, "deployments", d.Deployment, "root") }

// Etc is where a deployment's own /etc lies.
func (d Disk) Etc() string { return path.Join(elementalFolder, "deployments", d.Deployment, "etc") }

// Plan lists what turns the disk's root into the deployment's. It is pure: the same disk, the same steps.
//
// The root is bound onto itself, so that no mount point need be found for it. Only the bind is read-only:
// seen through /elemental the tree stays what the disk makes of it, since collecting must remove it one day.
func Plan(disk Disk) []Step {
	root := disk.Root()
	steps := []Step{
		{Do: Private, To: "/"},
		{Do: Bind, From: root, To: root},
	}
	var mounts []Step
	point := func(folder string, mount Step) {
		if disk.Linked[folder] {
			return
		}
		mount.To = root + folder
		steps = append(steps, Step{Do: Folder, To: mount.To, Mode: 0o755})
		mounts = append(mounts, mount)
	}

	point("/etc", Step{Do: Bind, From: disk.Etc()})
	for _, shared := range sharedFolders {
		steps = append(steps, Step{Do: Folder, To: shared.from, Mode: shared.mode})
		point(shared.to, Step{Do: Bind, From: shared.from})
	}
	if disk.BootHere {
		point("/boot", Step{Do: Bind, From: bootFolder})
	}
	point("/tmp", Step{Do: Mount, From: "tmpfs", Data: "mode=1777"})
	for _, kernel := range kernelMounts {
		mount := Step{Do: Mount, From: kernel.kind, Data: kernel.data}
		if disk.Mounted[kernel.folder] {
			mount = Step{Do: Move, From: kernel.folder}
		}
		point(kernel.folder, mount)
	}

	steps = append(steps, Step{Do: ReadOnly, To: root})
	steps = append(steps, mounts...)
	return append(steps,
		Step{Do: Folder, To: root + path.Dir(BootedFile), Mode: 0o755},
		Step{Do: Write, From: disk.Deployment + "\n", To: root + BootedFile, Mode: 0o644},
		Step{Do: Enter, To: root},
		Step{Do: Shared, To: "/"},
	)
}
