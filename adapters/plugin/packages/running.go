package packages

import (
	"bufio"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	scanTime    = 200 * time.Millisecond // for looking at all processes
	maxPrograms = 10                     // that are named
)

// outdatedPrograms says in words which services still run program files that were replaced or removed since they
// started; empty where there are none. It reads proc for a short while only: on a host with very many processes it
// may miss some.
func outdatedPrograms(ctx context.Context, proc string) string {
	ctx, cancel := context.WithTimeout(ctx, scanTime)
	defer cancel()
	folders, err := filepath.Glob(filepath.Join(proc, "[0-9]*"))
	if err != nil {
		return ""
	}
	var names []string
	for _, folder := range folders {
		if ctx.Err() != nil {
			break
		}
		if runsDeleted(filepath.Join(folder, "maps")) {
			names = append(names, serviceOf(folder))
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	switch {
	case len(names) == 0:
		return ""
	case len(names) > maxPrograms:
		names = append(names[:maxPrograms], "and others")
	}
	return "these still run files that were replaced, until they are restarted: " + strings.Join(names, ", ")
}

// runsDeleted says whether a process has code in memory of a file of the system that is gone.
func runsDeleted(maps string) bool {
	file, err := os.Open(maps)
	if err != nil {
		return false // It has ended.
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		// Address, rights, offset, device, inode, path; the path of a file that is gone ends with a mark.
		line := lines.Text()
		if fields := strings.Fields(line); strings.HasSuffix(line, " (deleted)") && len(fields) > 6 && strings.Contains(fields[1], "x") &&
			(strings.HasPrefix(fields[5], "/usr/") || strings.HasPrefix(fields[5], "/opt/") || strings.HasPrefix(fields[5], "/lib") ||
				strings.HasPrefix(fields[5], "/bin/") || strings.HasPrefix(fields[5], "/sbin/")) {
			return true
		}
	}
	return false
}

// serviceOf names a process by its systemd service, or else by its program.
func serviceOf(folder string) string {
	groups, _ := os.ReadFile(filepath.Join(folder, "cgroup")) // Without it there is still the name.
	for line := range strings.Lines(string(groups)) {
		unit := filepath.Base(strings.TrimSpace(line))
		if strings.HasSuffix(unit, ".service") && !strings.HasPrefix(unit, "user@") {
			return unit
		}
	}
	name, err := os.ReadFile(filepath.Join(folder, "comm"))
	if err != nil {
		return "a process that has ended"
	}
	return strings.TrimSpace(string(name))
}
