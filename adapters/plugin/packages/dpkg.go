package packages

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"elemental/adapters/plugin/program"
)

// Inventory asks dpkg for all packages, which is one reading of one file.
func (a *apt) Inventory(ctx context.Context, names []string) (inventory, error) {
	const format = "${Package}\t${Architecture}\t${db:Status-Abbrev}\t${Version}\t${Provides}\n"
	args := slices.Concat([]string{"dpkg-query"}, a.admin, []string{"--show", "--showformat=" + format})
	result, err := a.programs.ask(ctx, program.Command{Args: args})
	if err != nil {
		return inventory{}, err
	}
	have, err := readInventory(string(result.Stdout), names)
	have.Held = a.held()
	return have, err
}

// readInventory reads the lines that dpkg-query shows.
func readInventory(text string, names []string) (inventory, error) {
	have := inventory{Installed: map[string][]string{}}
	provided := map[string][]string{}
	note := func(to map[string][]string, name, version string) {
		if slices.Contains(names, name) && !slices.Contains(to[name], version) {
			to[name] = append(to[name], version)
		}
	}
	for line := range strings.Lines(text) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(fields) != 5 || len(fields[2]) < 2 {
			return have, fmt.Errorf("reading the list of dpkg-query: the line %q is of no known form", line)
		}
		name, architecture, status, version := fields[0], fields[1], fields[2], fields[3]
		if wrong := dpkgTrouble(status); wrong != "" {
			have.Broken = append(have.Broken, name+" is "+wrong)
			for _, asked := range []string{name, name + ":" + architecture} {
				if slices.Contains(names, asked) {
					have.Partial = append(have.Partial, asked)
				}
			}
		}
		if status[1] != 'i' {
			continue
		}
		note(have.Installed, name, version)
		note(have.Installed, name+":"+architecture, version)
		for provision := range strings.SplitSeq(fields[4], ",") {
			if words := strings.Fields(provision); len(words) > 0 {
				note(provided, words[0], version)
			}
		}
	}
	for name, versions := range provided {
		if len(have.Installed[name]) == 0 {
			have.Installed[name] = versions
		}
	}
	return have, nil
}

// damaged is what is wrong with a package that can only be unpacked anew.
const damaged = "only half unpacked"

// dpkgTrouble words the status of a package that is neither wholly there nor wholly gone. The second letter is what
// is so; a third one says that the package is damaged.
func dpkgTrouble(status string) string {
	if len(status) > 2 && status[2] == 'R' {
		return damaged
	}
	switch status[1] {
	case 'H':
		return damaged
	case 'U':
		return "unpacked, and not configured"
	case 'F':
		return "only half configured: its script failed"
	case 'W', 't':
		return "waiting for the triggers of others"
	default:
		return ""
	}
}

// locks are the files by which apt and dpkg keep others away.
var locks = []string{
	"var/lib/dpkg/lock-frontend", "var/lib/dpkg/lock", "var/lib/apt/lists/lock", "var/cache/apt/archives/lock",
}

// await waits until no other apt or dpkg is at work.
func (a *apt) await(ctx context.Context, report report) error {
	return awaitLock(ctx, report, func() (holder, error) {
		for _, lock := range locks {
			if found, err := lockHolder(a.path(lock)); err != nil || found.PID != 0 {
				return found, err
			}
		}
		return holder{}, nil
	})
}

// lockHolder asks the kernel who holds a lock, and takes none.
func lockHolder(path string) (holder, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return holder{}, nil
	}
	if err != nil {
		return holder{}, err
	}
	defer file.Close()
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	if err := unix.FcntlFlock(file.Fd(), unix.F_GETLK, &lock); err != nil {
		return holder{}, fmt.Errorf("asking who holds %s: %w", path, err)
	}
	if lock.Type == unix.F_UNLCK {
		return holder{}, nil
	}
	if lock.Pid <= 0 {
		return holder{PID: -1, Name: "a process outside of this host's view", What: path}, nil
	}
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", lock.Pid))
	if err != nil {
		name = []byte("a process")
	}
	return holder{PID: int(lock.Pid), Name: strings.TrimSpace(string(name)), What: path}, nil
}

// isLocked says that dpkg or apt found another at work.
func isLocked(line string) bool {
	return strings.Contains(line, "Could not get lock") || strings.Contains(line, "Unable to acquire the dpkg frontend lock") ||
		strings.Contains(line, "Unable to lock ") || strings.Contains(line, "lock was locked by another process")
}
