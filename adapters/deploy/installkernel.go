package deploy

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"elemental/core"
)

// kernelOptions is the kernel command line of a target whose kernel comes from its image: it finds the root, and begins
// with Elemental. Where the host brings its kernel, it brings what that must know, too, and the answer is empty.
func (t *target) kernelOptions() (string, error) {
	if t.Kernel != KernelRequired {
		return "", nil
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", fmt.Errorf("looking for what is mounted at %s: %w", t.at, err)
	}
	id := ""
	device, within := MountedDevice(string(mounts), t.at)
	switch {
	case device == "":
	case within != "/":
		return "", badInstallOption("install.root", "%s is only the folder %s of the file system on %s (a bind mount, or a subvolume), where the installed kernel would not find its first process: mount the file system itself there, without subvol=, or use another one", t.at, within, device)
	default:
		id = uuidOf("/dev/disk/by-uuid", device)
	}
	if id == "" {
		return "", core.Failure{
			Class: core.FailureInvalid, Reason: ReasonBadInstallOptions, Path: "install.root",
			Message: fmt.Sprintf("no file system with a UUID in /dev/disk/by-uuid is mounted at %s, by which the installed kernel would find it: mount one there, or write kernel: none into the configuration of images", t.at),
		}
	}
	return "root=UUID=" + id + " rw panic=10 rd.emergency=reboot rd.shell=0 systemd.crash_reboot=yes init=/elemental/" + programFile + " -- init", nil
}

// MountedDevice is the device whose file system is mounted at a folder, by the text of /proc/self/mountinfo, and which
// folder of that file system is seen there: "/", unless only a part of it is mounted. Without a device, nothing is
// mounted. Of several, the last hides the others.
func MountedDevice(mountinfo, at string) (device, within string) {
	for line := range strings.Lines(mountinfo) {
		mount, source, _ := strings.Cut(line, " - ")
		fields, sources := strings.Fields(mount), strings.Fields(source)
		if len(fields) > 4 && len(sources) > 1 && strings.ReplaceAll(fields[4], `\040`, " ") == at {
			device, within = sources[1], fields[3]
		}
	}
	return device, within
}

// uuidOf finds the name by which a folder of links knows a device.
func uuidOf(folder, device string) string {
	want, err := filepath.EvalSymlinks(device)
	if err != nil {
		return ""
	}
	links, err := filepath.Glob(filepath.Join(folder, "*"))
	if err != nil {
		return ""
	}
	for _, link := range links {
		if found, err := filepath.EvalSymlinks(link); err == nil && found == want {
			return filepath.Base(link)
		}
	}
	return ""
}
