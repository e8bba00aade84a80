// Package coredump keeps the memory of a process to itself: a token, or a host's key, is in the memory of whoever needs
// it, and must be in no core file.
package coredump

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Forbid lets this process leave no core file, however it ends and wherever the kernel would send one. The limit alone
// holds for files, and is for the programs that this process starts: a program that the kernel hands cores to, as
// systemd-coredump is, may look at it or not. Without the right to trace processes, nobody can read the memory either.
func Forbid() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("forbidding core files: prctl(PR_SET_DUMPABLE): %w", err)
	}
	err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	if errors.Is(err, unix.EPERM) { // Whoever started this process lets it change no limits. It has set them, as a unit does.
		return nil
	}
	if err != nil {
		return fmt.Errorf("forbidding core files: setrlimit(RLIMIT_CORE): %w", err)
	}
	return nil
}
