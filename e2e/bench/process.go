package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// memory is what a process holds, in bytes.
type memory struct {
	resident  int64 // VmRSS: all of it that is in memory now, with the parts of the program's file
	anonymous int64 // RssAnon: its own, which no other process shares
	peak      int64 // VmHWM: the most that was ever resident
}

const mebi = 1 << 20

func mebibytes(bytes int64) float64 { return float64(bytes) / mebi }

// child is the process ID of a child of this process whose command line has all these words.
func child(words ...string) (int, error) {
	found, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return 0, err
	}
	for _, file := range found {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			continue // It has ended.
		}
		line := strings.Split(string(text), "\x00")
		missing := func(word string) bool { return !slices.Contains(line, word) }
		if slices.ContainsFunc(words, missing) {
			continue
		}
		if fields, err := status(pid); err == nil && fields["PPid"] == strconv.Itoa(os.Getpid()) {
			return pid, nil
		}
	}
	return 0, fmt.Errorf("this program has no child %q", words)
}

func memoryOf(pid int) (memory, error) {
	fields, err := status(pid)
	if err != nil {
		return memory{}, fmt.Errorf("reading the memory of process %d: %w", pid, err)
	}
	var m memory
	for name, value := range map[string]*int64{"VmRSS": &m.resident, "RssAnon": &m.anonymous, "VmHWM": &m.peak} {
		kibibytes, err := strconv.ParseInt(strings.TrimSuffix(fields[name], " kB"), 10, 64)
		if err != nil {
			return memory{}, fmt.Errorf("reading the memory of process %d: %s is %q", pid, name, fields[name])
		}
		*value = kibibytes << 10
	}
	return m, nil
}

// status reads the fields of /proc/PID/status.
func status(pid int) (map[string]string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return nil, err
	}
	fields := map[string]string{}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(line, ":")
		fields[key] = strings.TrimSpace(value)
	}
	return fields, nil
}

func (b *bench) takeBinary(context.Context) error {
	info, err := os.Stat(b.Binary)
	if err != nil {
		return fmt.Errorf("measuring the program: %w", err)
	}
	b.figure("binary_mib", mebibytes(info.Size()), "size of the one static binary, as `make build` builds it")
	return nil
}
