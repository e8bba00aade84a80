package controller

import (
	"fmt"
	"os"
	"strings"
	"syscall"
)

// releaseCode takes the program's code out of this process's memory. What runs again comes back by itself from the
// page cache; what ran only at the start, which is more than half of it, stays away. Code is never written to,
// so that nothing is lost.
func releaseCode() error {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("finding the program's own file: %w", err)
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return fmt.Errorf("finding the program's code in memory: %w", err)
	}
	for line := range strings.Lines(string(maps)) {
		var from, to uintptr
		var rights, offset, device, inode, file string
		// A mapping without a file ends before its name.
		_, _ = fmt.Sscanf(line, "%x-%x %s %s %s %s %s", &from, &to, &rights, &offset, &device, &inode, &file)
		if rights != "r-xp" || file != program {
			continue
		}
		if _, _, errno := syscall.Syscall(syscall.SYS_MADVISE, from, to-from, syscall.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("releasing the program's code: %w", errno)
		}
	}
	return nil
}
