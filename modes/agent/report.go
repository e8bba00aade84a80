package agent

import (
	"context"
	"sync"
	"time"

	"elemental/core"
	"elemental/ports"
)

// report puts together what the host says of itself.
func (a *Agent) report(wish ports.Wish, seen sight, d core.Decision) ports.Report {
	plugin, memory := seen.Plugin, seen.Journal
	status := ports.OSVersionStatus{
		Requested: wish.Version, Outcome: d.Outcome,
		Booted: plugin.Current, Staged: plugin.Staged, Previous: plugin.Previous,
		Attempts: memory.Attempts, Armed: memory.Armed && wish.Armed, Retry: memory.Retry, Last: memory.LastAttempt,
	}
	if plugin.Verdict == core.VerdictSatisfied && plugin.Invalid.Class == "" {
		status.Applied = wish.Version
	}
	if d.Outcome == core.OutcomeFailed {
		status.Failure = reasonOf(seen)
		if d.Again > 0 {
			status.Next = seen.Now.Add(d.Again).Round(time.Second)
		}
	}
	return ports.Report{
		Identity: wish.Identity, Phase: d.Phase, Generation: wish.Generation, Conditions: d.Conditions,
		OSVersion: status, System: seen.facts, Request: a.Request, Plugin: a.PluginName, Schema: a.schema,
	}
}

// reasonOf is the failure that a failed outcome speaks of.
func reasonOf(seen sight) core.Failure {
	switch {
	case seen.Plugin.Silent.Class != "":
		return seen.Plugin.Silent
	case seen.Plugin.Invalid.Class != "":
		return seen.Plugin.Invalid
	default:
		return seen.Journal.Trouble.Failure
	}
}

// progressEvery is how often progress is reported at most.
const progressEvery = 2 * time.Second

// follower reports the progress of a call, without ever making the plugin wait for the cluster.
type follower struct {
	mu     sync.Mutex
	newest ports.Progress
	end    context.CancelFunc
	ended  chan struct{}
}

func (a *Agent) follower(ctx context.Context, wish ports.Wish, seen sight, d core.Decision) *follower {
	ctx, cancel := context.WithCancel(ctx)
	f := &follower{end: cancel, ended: make(chan struct{})}
	go func() {
		defer close(f.ended)
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				f.mu.Lock()
				newest := f.newest
				f.mu.Unlock()
				if newest.Step == "" {
					continue
				}
				report := a.report(wish, seen, d)
				report.OSVersion.Progress = newest
				if err := a.Cluster.Report(ctx, report); err != nil && ctx.Err() == nil {
					a.Log.Debug("progress was not reported", "error", err)
				}
			}
		}
	}()
	return f
}

func (f *follower) say(p ports.Progress) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.newest = p
}

// stop ends the reports, and returns when the last is over: none may come after what follows.
func (f *follower) stop() {
	f.end()
	<-f.ended
}
