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
	about   string   // what it measures, for the reader of -h
	figures []string // by the names under which they are printed
	take    func(*bench, context.Context) error
}

// parts are taken in this order. What waits for minutes begins first and is read last, before the outage; the
// controller of one host comes before there are more.
func parts() []part {
	idle := []string{"agent_cpu_s_per_hour", "idle_requests_per_minute"}
	joining := []string{"join_ready_p50_s", "join_requests", "join_200_s", "joined_requests_per_hour"}
	return []part{
		{"binary", "size of the program", []string{"binary_mib"}, (*bench).takeBinary},
		{"idle", "what an idle agent costs", idle, (*bench).beginIdle},
		{"memory", "memory of an idle agent", []string{"agent_rss_mib", "agent_anon_mib"}, (*bench).takeMemory},
		{"one-host", "a controller of one host", []string{"controller_rss_mib_1_host"}, (*bench).takeOneHost},
		{"joining", "hosts that join by themselves", joining, (*bench).takeJoining},
		{"patch", "from a patch to the plugin", []string{
			"patch_to_plugin_p50_ms", "patch_to_plugin_p99_ms", "patch_to_observe_p50_ms", "patch_to_ready_no_restart_p50_ms",
			"patch_answer_p50_ms", "agent_after_patches_rss_mib",
		}, (*bench).takePatches},
		{"upgrade", "an upgrade of a host that restarts", []string{"patch_to_ready_s", "staged_s", "restart_s", "confirm_s"}, (*bench).takeUpgrades},
		{"controller", "a controller of 1,000 hosts", []string{
			"lease_1000_s", "ready_1000_s", "controller_rss_mib_1000_hosts", "controller_anon_mib", "forward_1000_s",
		}, (*bench).takeController},
		{"deploy", "the image plugin beside umoci and skopeo", []string{"deploy_cold_s", "deploy_one_layer_s"}, (*bench).takeDeployments},
		{"idle", "", idle, (*bench).endIdle},
		{"joining", "", joining, (*bench).endJoining},
		{"outage", "the controller after an outage of the API server", []string{"outage_recovery_s"}, (*bench).takeOutages},
	}
}

// selection is what is wanted of all that can be measured.
type selection []string

// choose reads a list of names; all is wanted where nothing is said.
func choose(only string) (selection, error) {
	if only == "" {
		return nil, nil
	}
	wanted := selection(strings.Split(only, ","))
	for _, name := range wanted {
		if !slices.ContainsFunc(parts(), func(p part) bool { return p.name == name || slices.Contains(p.figures, name) }) {
			return nil, fmt.Errorf("there is no part or figure %q: take some of %s", name, list())
		}
	}
	return wanted, nil
}

// part says whether a part is to be taken: it is named, or a figure of it is.
func (s selection) part(p part) bool {
	return s == nil || slices.ContainsFunc(s, func(name string) bool { return p.name == name || slices.Contains(p.figures, name) })
}

// figure says whether a figure is to be printed: it is named, or a part that takes it is. A part may take figures
// on its way that belong to another.
func (s selection) figure(name string) bool {
	return s == nil || slices.Contains(s, name) || slices.ContainsFunc(parts(), func(p part) bool {
		return slices.Contains(s, p.name) && slices.Contains(p.figures, name)
	})
}

func main() {
	only := flag.String("only", "", "take only these `PARTS` or figures, separated by commas: "+list())
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
		if p.about != "" {
			names = append(names, fmt.Sprintf("%s (%s: %s)", p.name, p.about, strings.Join(p.figures, " ")))
		}
	}
	return strings.Join(names, ", ")
}

// run takes the parts. One that fails does not keep the others from being taken.
func run(ctx context.Context, only string, idle time.Duration) error {
	wanted, err := choose(only)
	if err != nil {
		return err
	}
	b, err := newBench(ctx, wanted, idle)
	defer b.close()
	if err != nil {
		return err
	}
	var failures []error
	for _, p := range parts() {
		if !wanted.part(p) || ctx.Err() != nil {
			continue
		}
		if err := p.take(b, ctx); err != nil {
			failures = append(failures, fmt.Errorf("measuring %s: %w", p.name, err))
		}
	}
	return errors.Join(append(failures, ctx.Err())...)
}
