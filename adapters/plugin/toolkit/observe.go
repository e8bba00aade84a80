package toolkit

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"elemental/core"
	"elemental/ports"
)

// mode is which of its systems the toolkit's boot loader has started.
type mode string

const (
	modeActive   mode = "active"
	modePassive  mode = "passive"
	modeRecovery mode = "recovery"
)

// sight is all that is known of the host.
type sight struct {
	mode      mode
	boot      string
	memory    memory
	snapshots map[int]*snapshot
	active    *snapshot // what the boot loader starts next; nil: the toolkit names none
	running   *snapshot // nil: none of them, or not known
	pending   bool      // the active snapshot was made in this boot, and has not been started
	unsure    bool      // nobody knows whether it was
}

func (p *Plugin) look(ctx context.Context) (sight, error) {
	var now sight
	var err error
	if now.mode, err = p.mode(); err != nil {
		return now, err
	}
	if now.snapshots, err = p.snapshots(ctx); err != nil {
		return now, err
	}
	if now.boot, err = p.config.Boot(); err != nil {
		return now, err
	}
	if now.memory, err = p.recall(); err != nil {
		return now, err
	}
	now.active = newest(now.snapshots, func(s *snapshot) bool { return s.Active })
	if now.running, err = p.running(now); err != nil {
		return now, err
	}
	now.pending, now.unsure, err = p.pending(now)
	return now, err
}

// mode reads what the toolkit's initrd has noted. Only this tells what runs: after a fallback the toolkit's state
// still calls the newest snapshot the active one.
func (p *Plugin) mode() (mode, error) {
	for _, m := range []mode{modeRecovery, modePassive, modeActive} {
		_, err := os.Stat(filepath.Join(p.config.RunPath, string(m)+"_mode"))
		if err == nil {
			return m, nil
		}
		if !os.IsNotExist(err) {
			return "", fmt.Errorf("reading which system was started: %w", err)
		}
	}
	return "", core.Failure{
		Class: core.FailureFailed, Reason: ReasonNotBooted,
		Message: fmt.Sprintf("this host was not started by the elemental-toolkit's boot loader: %s has no active_mode, passive_mode or recovery_mode; choose another plugin in agent.osPlugin", p.config.RunPath),
	}
}

// passiveImage is how the kernel's command line of a passive snapshot names it.
var passiveImage = regexp.MustCompile(`\belemental\.image=\S*\.snapshots/(\d+)/snapshot`)

// running finds the snapshot that was started.
func (p *Plugin) running(now sight) (*snapshot, error) {
	switch {
	case now.mode == modeRecovery:
		return nil, nil
	case now.memory.Boot == now.boot: // The active one may have changed since.
		return now.snapshots[now.memory.Running], nil
	case now.mode == modeActive:
		return now.active, nil
	}
	cmdline, err := os.ReadFile(p.config.Cmdline)
	if err != nil {
		return nil, fmt.Errorf("reading the kernel's command line: %w", err)
	}
	if found := passiveImage.FindSubmatch(cmdline); found != nil {
		if number, err := strconv.Atoi(string(found[1])); err == nil {
			return now.snapshots[number], nil
		}
	}
	// The boot loader tries the passive ones from the newest.
	return newest(now.snapshots, func(s *snapshot) bool { return !s.Active }), nil
}

// pending says whether the active snapshot was made since the host was started. Of one that this plugin knows nothing
// of, its date tells. One that is no date, or lies in the future, tells nothing: a host that restarted for it would be
// as wise as before, and restart again.
func (p *Plugin) pending(now sight) (pending, unsure bool, err error) {
	switch {
	case now.active == nil:
		return false, false, nil
	case now.memory.Boot == now.boot:
		return now.active.number != now.memory.Before, false, nil
	case now.memory.After == now.active.number:
		return false, false, nil
	case now.memory.Boot != "" && now.memory.Request == now.active.Labels[correlation] && now.memory.Before != now.active.number:
		return false, false, nil // It was whole when the upgrade was cut off, in an earlier boot.
	}
	began, err := p.config.Began()
	if err != nil {
		return false, false, err
	}
	made, err := time.Parse(time.RFC3339, now.active.Date)
	if err != nil || made.After(time.Now()) {
		return false, true, nil
	}
	return made.After(began), false, nil
}

func newest(all map[int]*snapshot, which func(*snapshot) bool) *snapshot {
	var found *snapshot
	for _, s := range all {
		if which(s) && (found == nil || s.number > found.number) {
			found = s
		}
	}
	return found
}

// Observe says how the host stands to what is asked for.
func (p *Plugin) Observe(ctx context.Context, request ports.Request) (ports.Observation, error) {
	want, err := readWish(request.OSVersion)
	if err != nil {
		return ports.Observation{}, err
	}
	now, err := p.look(ctx)
	if err != nil {
		return ports.Observation{}, err
	}
	hash := request.Hash
	if want == nil {
		hash = ""
	}
	return ports.Observation{Installed: true, View: now.view(hash)}, nil
}

// view compares what is with what a request asks for.
func (now sight) view(hash string) core.View {
	v := core.View{
		Restarts: true, Current: now.current(), Verdict: core.VerdictOutdated,
		Previous: newest(now.snapshots, func(s *snapshot) bool { return !s.Active && s != now.running }).version(),
	}
	made := now.active != nil && hash != "" && now.active.Labels[correlation] == hash
	switch {
	case hash == "":
		v.Verdict, v.Detail = core.VerdictSatisfied, now.aside()
	case !made:
		v.Detail = now.aside()
	case now.interrupted():
		v.Detail = "the last upgrade did not come to its end, and nobody knows what the next restart would start"
	case now.unsure && now.mode == modeActive:
		v.Detail = fmt.Sprintf("nobody knows whether %s was started: what was staged is forgotten, and its date %q tells nothing by this host's clock",
			now.active.version(), now.active.Date)
	case now.pending:
		v.Verdict, v.NeedsRestart, v.Staged = core.VerdictStaged, true, now.active.version()
	case now.mode == modeActive:
		v.Verdict = core.VerdictSatisfied
	case now.memory.Forgotten == now.active.number:
		v.Detail = now.aside()
	default:
		v.Verdict, v.Fallen, v.Detail = core.VerdictRolledBack, now.active.version(), now.aside()
	}
	return v
}

// interrupted says that the last upgrade was begun and made no snapshot that the toolkit knows of.
func (now sight) interrupted() bool {
	m := now.memory
	return m.Boot != "" && m.After == 0 && m.Before == now.active.number
}

func (now sight) current() core.Version {
	if now.mode == modeRecovery {
		return core.Version{Version: "the recovery system"}
	}
	return now.running.version()
}

// aside is what a person should know of a host that does not run its active snapshot.
func (now sight) aside() string {
	switch {
	case now.active == nil:
		return "the elemental-toolkit names no active snapshot"
	case now.pending:
		return fmt.Sprintf("the next restart starts %s, which the elemental-toolkit can't take back", now.active.version())
	case now.mode == modePassive:
		return "the boot loader started a passive snapshot: the active one did not come up, or a person chose so; see the console and the journal of that boot"
	case now.mode == modeRecovery:
		return "the boot loader started the recovery system: no snapshot came up, or a person chose so; see the console of the boots before"
	default:
		return ""
	}
}
