package packages

import (
	"context"
	"errors"

	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// rpmLocks are locked by an rpm that changes something. Where the database lies differs between systems.
var rpmLocks = []string{"var/lib/rpm/.rpm.lock", "usr/lib/sysimage/rpm/.rpm.lock"}

// pidFileHolder is who has written its process number into a file, if that process is still there.
func pidFileHolder(path string) (holder, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return holder{}, nil
	}
	if err != nil {
		return holder{}, err
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil || pid <= 0 || errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return holder{}, nil // What ends well may leave the file, and it is empty or of a process that was.
	}
	name, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "comm"))
	if err != nil {
		return holder{}, nil // It has just ended.
	}
	return holder{PID: pid, Name: strings.TrimSpace(string(name)), What: path}, nil
}

// await waits until neither rpm nor a tool above it, which writes its process number into one of the files, is at work.
func (r rpm) await(ctx context.Context, report report, files ...string) error {
	return awaitLock(ctx, report, func() (holder, error) {
		for _, name := range files {
			if found, err := pidFileHolder(r.path(name)); err != nil || found.PID != 0 {
				return found, err
			}
		}
		for _, name := range rpmLocks {
			if found, err := lockHolder(r.path(name)); err != nil || found.PID != 0 {
				return found, err
			}
		}
		return holder{}, nil
	})
}
