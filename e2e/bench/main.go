// Bench measures Elemental on one machine, with a real API server, the real controller and real agents. It
// prints one line a figure, with how it was taken, and asserts nothing.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// part is a group of figures that are taken together.
type part struct {
	name    string
	figures string // what it measures, for the reader of -h
	take    func(*bench, context.Context) error
}

// parts are taken in this order. What waits for minutes begins first and is read last, before the outage.
func parts() []part {
	return []part{
		{"binary", "size of the program", (*bench).takeBinary},
		{"idle", "requests of an idle agent", (*bench).beginIdle},
		{"memory", "memory of an idle agent", (*bench).takeMemory},
		{"patch", "from a patch to the plugin", (*bench).takePatches},
		{"upgrade", "an upgrade of a host that restarts", (*bench).takeUpgrades},
		{"controller", "a controller of 1,000 hosts", (*bench).takeController},
		{"deploy", "the image plugin beside umoci and skopeo", (*bench).takeDeployments},
		{"idle", "", (*bench).endIdle},
		{"outage", "the controller after an outage of the API server", (*bench).takeOutages},
	}
}

func main() {
	only := flag.String("only", "", "take only these `PARTS`, separated by commas: "+list())
	idle := flag.Duration("idle", 6*time.Minute, "how long to watch an idle agent")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := run(ctx, *only, *idle); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

func list() string {
	var names []string
	for _, p := range parts() {
		if p.figures != "" {
			names = append(names, fmt.Sprintf("%s (%s)", p.name, p.figures))
		}
	}
	return strings.Join(names, ", ")
}

// choose says which parts are wanted; all of them where nothing is said.
func choose(only string) (func(name string) bool, error) {
	if only == "" {
		return func(string) bool { return true }, nil
	}
	wanted := strings.Split(only, ",")
	for _, name := range wanted {
		if !slices.ContainsFunc(parts(), func(p part) bool { return p.name == name }) {
			return nil, fmt.Errorf("there is no part %q: take some of %s", name, list())
		}
	}
	return func(name string) bool { return slices.Contains(wanted, name) }, nil
}

// run takes the parts. One that fails does not keep the others from being taken.
func run(ctx context.Context, only string, idle time.Duration) error {
	wanted, err := choose(only)
	if err != nil {
		return err
	}
	b, err := newBench(ctx, idle)
	defer b.close()
	if err != nil {
		return err
	}
	var failures []error
	for _, p := range parts() {
		if !wanted(p.name) || ctx.Err() != nil {
			continue
		}
		if err := p.take(b, ctx); err != nil {
			failures = append(failures, fmt.Errorf("measuring %s: %w", p.name, err))
		}
	}
	return errors.Join(append(failures, ctx.Err())...)
}
