package deploy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"elemental/core"
	"elemental/ports"
)

// state is what the disk and the boot loader say now.
type state struct {
	booted  string // the deployment that runs; empty when the host was not started from one
	entries []ports.BootEntry
	records map[string]Record
}

// look reads the state. It needs no lock: all that it reads is replaced whole.
func (e *Engine) look(ctx context.Context) (state, error) {
	var s state
	var err error
	if s.booted, err = e.Loader.Booted(ctx); err != nil {
		return s, fmt.Errorf("asking what was booted: %w", err)
	}
	// A confirmation renames the entry: a list that is read meanwhile may lack it, and the next one has it.
	for range 2 {
		if s.entries, err = e.Loader.Entries(ctx); err != nil {
			return s, fmt.Errorf("listing the boot entries: %w", err)
		}
		if _, ok := s.entry(s.booted); ok || s.booted == "" {
			break
		}
	}
	s.records, err = e.records()
	return s, err
}

// entry finds the boot entry of a deployment.
func (s state) entry(id string) (ports.BootEntry, bool) {
	i := slices.IndexFunc(s.entries, func(b ports.BootEntry) bool { return b.Deployment == id })
	if i < 0 {
		return ports.BootEntry{}, false
	}
	return s.entries[i], true
}

// onTrial says that this boot is one that was not confirmed yet.
func (s state) onTrial() bool {
	entry, ok := s.entry(s.booted)
	return ok && entry.Trial
}

// staged is the trial that waits for its first boot, or for another one.
func (s state) staged() (ports.BootEntry, bool) {
	for _, entry := range s.entries {
		if entry.Trial && entry.Tries > 0 && entry.Deployment != s.booted {
			return entry, true
		}
	}
	return ports.BootEntry{}, false
}

// previous is what the boot loader would fall back to.
func (s state) previous() (ports.BootEntry, bool) {
	for _, entry := range s.entries {
		if !entry.Trial && entry.Deployment != s.booted {
			return entry, true
		}
	}
	return ports.BootEntry{}, false
}

// confirmed is the one of the confirmed deployments that the boot loader chooses first.
func (s state) confirmed() (ports.BootEntry, bool) {
	i := slices.IndexFunc(s.entries, func(b ports.BootEntry) bool { return !b.Trial })
	if i < 0 {
		return ports.BootEntry{}, false
	}
	return s.entries[i], true
}

// nextOrder stands above all entries.
func (s state) nextOrder() uint64 {
	var highest uint64
	for _, entry := range s.entries {
		highest = max(highest, entry.Order)
	}
	return highest + 1
}

// wanted is the deployment that a request means, as far as is known without asking anyone: the one with its
// digest, else the one that its reference led to last.
func (s state) wanted(want wish) string {
	var found string
	var newest time.Time
	for id, r := range s.records {
		if want.Digest != "" {
			if want.Digest == r.Digest || want.Digest == r.Index {
				return id
			}
			continue
		}
		if at, ok := r.resolvedAt(want.ImageURI); ok && (found == "" || at.After(newest)) {
			found, newest = id, at
		}
	}
	return found
}

// newestOf is the time at which a reference is noted to have led somewhere: now, and, where a clock went back, after
// all times noted before, since the latest is believed.
func (s state) newestOf(reference string, now time.Time) time.Time {
	for _, r := range s.records {
		if at, ok := r.resolvedAt(reference); ok && !now.After(at) {
			now = at.Add(time.Nanosecond)
		}
	}
	return now
}

// Observe says how the host stands to what is asked for. It asks no network.
func (e *Engine) Observe(ctx context.Context, request ports.Request) (ports.Observation, error) {
	now, err := e.look(ctx)
	if err != nil {
		return ports.Observation{}, err
	}
	if now.booted == "" && request.Options != nil { // Whoever asks lets the system be installed.
		return e.observeTarget(ctx, request)
	}
	if err := e.checkBooted(now); err != nil {
		return ports.Observation{}, err
	}
	want, err := readWish(request.OSVersion)
	if err != nil {
		return ports.Observation{}, err
	}
	boot, err := e.bootOf(request)
	if err != nil {
		return ports.Observation{}, err
	}
	status, err := e.resetStatus(now, boot)
	if err != nil {
		return ports.Observation{}, err
	}
	seen := ports.Observation{View: e.view(now, want), Installed: true, Reset: status.Stage}
	if status.Stage == core.ResetUnderWay {
		seen.NeedsRestart = status.NeedsRestart
	}
	return seen, nil
}

// checkBooted refuses to speak of a host that was started from something else.
func (e *Engine) checkBooted(now state) error {
	if now.booted == "" {
		return core.Failure{
			Class: core.FailureFailed, Reason: ReasonNotBooted,
			Message: "this host was not started from a deployment: its boot entry has no " + deploymentOption +
				"<id>; if it runs from an install medium, elemental agent install installs it, else choose another plugin in agent.osPlugin",
		}
	}
	if _, err := os.Stat(e.deployment(now.booted)); errors.Is(err, os.ErrNotExist) {
		return core.Failure{
			Class: core.FailureFailed, Reason: ReasonNotBooted,
			Message: fmt.Sprintf("this host was started from deployment %s, which is not in %s; check root in the image plugin's configuration", now.booted, e.path("deployments")),
		}
	}
	return e.checkEntry(now)
}

// ReasonNoBootEntry is why nothing is said of a system whose boot entry is not seen.
const ReasonNoBootEntry = "NoBootEntry"

// checkEntry refuses to speak of a system whose boot entry is not seen: whether it is on trial can't be told then.
func (e *Engine) checkEntry(now state) error {
	if _, ok := now.entry(now.booted); ok || now.booted == "" {
		return nil
	}
	return core.Failure{
		Class: core.FailureFailed, Reason: ReasonNoBootEntry,
		Message: fmt.Sprintf("deployment %s runs, and its boot entry is not in %s: mount the boot partition, or correct boot in the image plugin's configuration",
			now.booted, filepath.Join(e.Boot, "loader", "entries")),
	}
}

// view compares what is with what is asked for.
func (e *Engine) view(now state, want *wish) core.View {
	v := core.View{Restarts: true, Current: now.records[now.booted].version()}
	staged, isStaged := now.staged()
	if isStaged {
		v.Staged = now.describe(staged.Deployment)
	}
	if previous, ok := now.previous(); ok {
		v.Previous = now.describe(previous.Deployment)
	}
	id := ""
	if want != nil {
		id = now.wanted(*want)
	}
	entry, _ := now.entry(id)
	switch {
	case now.onTrial():
		v.Verdict = core.VerdictUnconfirmed
	case want == nil, id == now.booted:
		v.Verdict = core.VerdictSatisfied
	case isStaged && staged.Deployment == id && now.entries[0].Deployment == id:
		v.Verdict, v.NeedsRestart = core.VerdictStaged, true
	case id != "" && entry.Trial && entry.Tries == 0:
		v.Verdict, v.Fallen, v.Detail = core.VerdictRolledBack, now.describe(id), e.failureOf(id, entry.Tried)
	default:
		v.Verdict = core.VerdictOutdated
	}
	return v
}

// describe names a deployment; one whose record is damaged still has its ID.
func (s state) describe(id string) core.Version {
	if r, ok := s.records[id]; ok {
		return r.version()
	}
	return core.Version{Version: "deployment " + id}
}

// Status is what is on the disk, for people.
type Status struct {
	Booted      string             `json:"booted"`
	OnTrial     bool               `json:"onTrial"`
	Reset       ResetStatus        `json:"reset,omitzero"`
	Deployments []DeploymentStatus `json:"deployments"`
}

// DeploymentStatus is one deployment and its chances of being booted.
type DeploymentStatus struct {
	Record
	Entry  bool   `json:"entry"` // the boot loader knows it
	Trial  bool   `json:"trial"`
	Tries  int    `json:"tries"` // boots left, of a trial
	Tried  int    `json:"tried"`
	Next   bool   `json:"next"` // the boot loader would choose it
	Failed string `json:"failed,omitempty"`
}

// Status lists all deployments: those that can be booted first, in the boot loader's order. With an error it still
// says what was booted, where that is known.
func (e *Engine) Status(ctx context.Context) (Status, error) {
	now, err := e.look(ctx)
	if err == nil {
		err = e.checkEntry(now)
	}
	if err != nil {
		return Status{Booted: now.booted}, err
	}
	status := Status{Booted: now.booted, OnTrial: now.onTrial()}
	if status.Reset, err = e.resetHere(now); err != nil {
		return status, err
	}
	for i, entry := range now.entries {
		d := DeploymentStatus{
			Record: now.records[entry.Deployment], Entry: true, Trial: entry.Trial, Tries: entry.Tries, Tried: entry.Tried, Next: i == 0,
		}
		d.ID = entry.Deployment
		if entry.Trial && entry.Tries == 0 && entry.Deployment != now.booted {
			d.Failed = e.failureOf(entry.Deployment, entry.Tried)
		}
		status.Deployments = append(status.Deployments, d)
		delete(now.records, entry.Deployment)
	}
	rest := make([]Record, 0, len(now.records))
	for _, r := range now.records {
		rest = append(rest, r)
	}
	slices.SortFunc(rest, func(a, b Record) int { return b.Created.Compare(a.Created) })
	for _, r := range rest {
		status.Deployments = append(status.Deployments, DeploymentStatus{Record: r})
	}
	return status, nil
}
