package hosts

import (
	"bufio"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// cgroup is a host's own control group, in each hierarchy in which systemd keeps its units: two hosts in one
// group would take each other's units for their own. It also ends a host with all that runs in it.
type cgroup []string

// cgroupParent holds the groups of all hosts of all tests.
const cgroupParent = "elemental-hosts"

// cgroupRoots finds the hierarchies that matter: the unified one and, beside old ones, systemd's.
func cgroupRoots() ([]string, error) {
	mounts, err := os.Open("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	defer func() { _ = mounts.Close() }()
	var roots []string
	lines := bufio.NewScanner(mounts)
	for lines.Scan() {
		mount := strings.Fields(lines.Text()) // device, place, type, options
		if len(mount) < 4 {
			continue
		}
		if mount[2] == "cgroup2" || mount[2] == "cgroup" && slices.Contains(strings.Split(mount[3], ","), "name=systemd") {
			roots = append(roots, mount[1])
		}
	}
	return roots, lines.Err()
}

func newCgroup(name string) (cgroup, error) {
	roots, err := cgroupRoots()
	if err != nil {
		return nil, err
	}
	var group cgroup
	for _, root := range roots {
		folder := filepath.Join(root, cgroupParent, name)
		err := os.MkdirAll(folder, 0o755)
		for tries := 0; errors.Is(err, fs.ErrNotExist) && tries < 100; tries++ { // Another host took the parent away.
			err = os.MkdirAll(folder, 0o755)
		}
		if err != nil {
			return nil, err
		}
		group = append(group, folder)
	}
	return group, nil
}

// joining is a shell script that runs its arguments as a program in the group. Before that it leaves a guard
// behind, outside of the group, which ends all that is in it once the other end of file descriptor 3 is closed:
// a container outlives both systemd-nspawn and the test where those are killed.
func (g cgroup) joining() string {
	var join, end strings.Builder
	for _, folder := range g {
		join.WriteString("echo $$ > '" + folder + "/cgroup.procs' || exit 1\n")
		end.WriteString("echo 1 > '" + folder + "/cgroup.kill'; ")
	}
	return "{ read -r _ <&3; " + end.String() + "} >/dev/null 2>&1 &\n" + join.String() + `exec "$@" 3<&-`
}

// kill ends everything in the group at once.
func (g cgroup) kill() {
	for _, folder := range g {
		_ = os.WriteFile(filepath.Join(folder, "cgroup.kill"), []byte("1"), 0o200) // Only the unified hierarchy has it.
	}
}

// remove takes the group away, which the kernel allows once the last process in it is reaped.
func (g cgroup) remove() {
	deadline := time.Now().Add(5 * time.Second)
	for _, folder := range g {
		for !removeGroup(folder) && time.Now().Before(deadline) {
			time.Sleep(10 * time.Millisecond)
		}
		_ = os.Remove(filepath.Dir(folder)) // It stays while other hosts are in it.
	}
}

func removeGroup(folder string) bool {
	below, err := os.ReadDir(folder)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	gone := true
	for _, child := range below {
		if child.IsDir() {
			gone = removeGroup(filepath.Join(folder, child.Name())) && gone
		}
	}
	err = os.Remove(folder)
	return gone && (err == nil || errors.Is(err, fs.ErrNotExist))
}
