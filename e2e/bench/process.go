package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
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
func status(pid int) (map[string]string, error) { return statusIn(fmt.Sprintf("/proc/%d", pid)) }

// statusIn reads the same of a process or a thread, by its folder.
func statusIn(folder string) (map[string]string, error) {
	text, err := os.ReadFile(filepath.Join(folder, "status"))
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

// work is what a process has used up to a moment.
type work struct {
	at          time.Duration // of the moment, since some other
	own         time.Duration // CPU time of its threads
	children    time.Duration // CPU time of its children that have ended, and of theirs
	childFaults int64         // page faults of the same; no process gets by without one
	wakes       int64         // how often one of its threads slept and went on
}

// since is what was used after an earlier moment.
func (w work) since(before work) work {
	return work{
		at: w.at - before.at, own: w.own - before.own, children: w.children - before.children,
		childFaults: w.childFaults - before.childFaults, wakes: w.wakes - before.wakes,
	}
}

// workOf reads what a process has used. Its own time is precise; that of its children is counted in ticks.
func workOf(pid int) (work, error) {
	var now, own unix.Timespec
	// The number of another process's CPU clock is made as clock_getcpuclockid(3) makes it.
	const schedulers = 2
	err := errors.Join(unix.ClockGettime(unix.CLOCK_MONOTONIC, &now), unix.ClockGettime(int32(^pid)<<3|schedulers, &own))
	if err != nil {
		return work{}, fmt.Errorf("reading the CPU clock of process %d: %w", pid, err)
	}
	w := work{at: time.Duration(now.Nano()), own: time.Duration(own.Nano())}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return work{}, fmt.Errorf("reading what process %d has used: %w", pid, err)
	}
	// The name stands in parentheses and may hold anything. What follows begins with field 3 of proc_pid_stat(5).
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	var ticks [2]int64
	for number, value := range map[int]*int64{11: &w.childFaults, 16: &ticks[0], 17: &ticks[1]} {
		if *value, err = strconv.ParseInt(fields[number-3], 10, 64); err != nil {
			return work{}, fmt.Errorf("reading what process %d has used: field %d: %w", pid, number, err)
		}
	}
	const tick = time.Second / 100 // USER_HZ, the same on all architectures that Go knows.
	w.children = time.Duration(ticks[0]+ticks[1]) * tick
	w.wakes, err = wakesOf(pid)
	return w, err
}

// wakesOf counts how often threads of a process gave up the CPU by themselves.
func wakesOf(pid int) (total int64, err error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/[0-9]*", pid))
	if err != nil {
		return 0, err
	}
	for _, thread := range threads {
		fields, err := statusIn(thread)
		if err != nil {
			continue // It has ended.
		}
		count, err := strconv.ParseInt(fields["voluntary_ctxt_switches"], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("reading %s: %w", thread, err)
		}
		total += count
	}
	return total, nil
}

func (b *bench) takeBinary(context.Context) error {
	info, err := os.Stat(b.Binary)
	if err != nil {
		return fmt.Errorf("measuring the program: %w", err)
	}
	b.figure("binary_mib", mebibytes(info.Size()), "size of the one static binary, as `make build` builds it")
	return nil
}
