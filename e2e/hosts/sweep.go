package hosts

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
)

// prefix begins the name of each host's folder, control group and container; the number of the process that
// it belongs to follows.
const prefix = "elemental-host-"

var ownedName = regexp.MustCompile(`^` + prefix + `(\d+)-`)

// orphaned says whether a name is that of a host whose process is gone.
func orphaned(name string) bool {
	found := ownedName.FindStringSubmatch(name)
	if found == nil {
		return false
	}
	pid, err := strconv.Atoi(found[1])
	return err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}

// sweep ends and removes the hosts of processes that were killed and could not clean up. What it cannot
// remove stays for the next time: no test fails for it.
func sweep() {
	roots, _ := cgroupRoots()
	leftovers := map[string]cgroup{}
	for _, root := range roots {
		groups, _ := filepath.Glob(filepath.Join(root, cgroupParent, prefix+"*"))
		for _, group := range groups {
			if name := filepath.Base(group); orphaned(name) {
				leftovers[name] = append(leftovers[name], group)
			}
		}
	}
	for _, group := range leftovers {
		group.kill()
		group.remove()
	}
	folders, _ := filepath.Glob(filepath.Join(os.TempDir(), prefix+"*"))
	for _, folder := range folders {
		if orphaned(filepath.Base(folder)) {
			_ = os.RemoveAll(folder)
		}
	}
}
