// Package boot tells a plugin which boot of the host it runs in.
package boot

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// ID is the kernel's name for this boot. Two boots never share one.
func ID() (string, error) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("reading the boot ID: %w", err)
	}
	id := strings.TrimSpace(string(text))
	if id == "" {
		return "", errors.New("reading the boot ID: the kernel says none")
	}
	return id, nil
}

// Began is when this boot began, by the host's present clock and to the second.
func Began() (time.Time, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return time.Time{}, fmt.Errorf("reading when the host was booted: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if value, found := strings.CutPrefix(line, "btime "); found {
			seconds, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			if err != nil {
				return time.Time{}, fmt.Errorf("reading when the host was booted: %w", err)
			}
			return time.Unix(seconds, 0), nil
		}
	}
	return time.Time{}, errors.New("reading when the host was booted: /proc/stat has no btime")
}
