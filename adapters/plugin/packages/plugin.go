// Package packages is the plugin of a host that no image manages: it makes true which packages the host has, by the
// host's own package manager.
//
// What can be seen on the host is never remembered. What can't, that refresh and upgrade were carried out and that
// the host must restart for it, is kept in a file of the work dir, and a note made before each transaction lets one
// that was killed be ended by the next.
package packages

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"elemental/core"
	"elemental/ports"
)

// Plugin keeps its memory in one folder.
type Plugin struct {
	folder string
	run    programs
	detect func(programs) (manager, error)
	boot   func() (string, error) // the ID of the running boot
	system func() string          // what the host's system calls itself; empty where it can't be told
}

// New returns the plugin that keeps its memory in a folder and logs what the host's programs say. Boot names the running
// boot.
func New(folder string, boot func() (string, error), log io.Writer) *Plugin {
	return &Plugin{folder: folder, run: programs{log: log, outside: outsideAgent()}, detect: detect, boot: boot, system: systemName}
}

// Describe says what a request may hold. Most packages come true without a restart, so the phase of one is only shown
// once one turns out to be needed.
func (p *Plugin) Describe(context.Context) (ports.Description, error) {
	return ports.Description{
		Name:   "packages",
		Verbs:  []core.Verb{core.VerbDescribe, core.VerbObserve, core.VerbStage, core.VerbUnstage, core.VerbConfirm},
		Schema: requestSchema,
	}, nil
}

// Observe compares the request with what is installed and what is remembered.
func (p *Plugin) Observe(ctx context.Context, in ports.Request) (ports.Observation, error) {
	o := ports.Observation{Installed: true}
	want, err := readRequest(in.OSVersion)
	if err != nil {
		return o, err
	}
	if in.Hash == "" {
		o.View = core.View{Verdict: core.VerdictSatisfied, Current: core.Version{Version: p.system()}}
		return o, nil
	}
	tools, err := p.detect(p.run)
	if err != nil {
		return o, err
	}
	have, err := tools.Inventory(ctx, want.names())
	if err != nil {
		return o, fmt.Errorf("looking at the packages of this host: %w", err)
	}
	remembered, err := readState(p.folder)
	if err != nil {
		return o, err
	}
	boot, err := p.boot()
	if err != nil {
		return o, err
	}
	o.View = judge(want, in.Hash, have, tools.Same, remembered, boot)
	if o.Current.Version == "" {
		o.Current.Version = p.system()
	}
	if o.Verdict == core.VerdictStaged {
		o.Staged = o.Current
	}
	if remembered.Changed == boot {
		o.Detail = joined(o.Detail, outdatedPrograms(ctx, "/proc"))
	}
	return o, nil
}

// judge is the verdict on a request, with what a person should know of it.
func judge(want request, hash string, have inventory, same func(installed, asked string) bool, s state, boot string) core.View {
	view := core.View{Verdict: core.VerdictSatisfied, Current: core.Version{Version: summary(want, have)}}
	missing := differences(want, have, same)
	if s.Open != nil {
		missing = append(missing, "the last transaction was interrupted")
	}
	if want.once() && s.Carried != hash {
		missing = append(missing, "this request was not carried out yet")
	}
	because := s.Restart.at(boot)
	switch {
	case len(missing) > 0:
		view.Verdict, view.Detail = core.VerdictOutdated, strings.Join(missing, "; ")
	case len(because) > 0:
		view.Verdict, view.NeedsRestart = core.VerdictStaged, true
		view.Detail = "the host must restart for " + strings.Join(because, ", ")
	default: // Nothing is left to do.
	}
	if foreign := s.Foreign.at(boot); len(foreign) > 0 {
		view.Detail = joined(view.Detail, "the host was to be restarted even before, for "+strings.Join(foreign, ", "))
	}
	view.Detail = joined(view.Detail, strings.Join(have.Broken, "; "))
	return view
}

// Do makes a request true. Packages are never staged beside the running ones, so there is nothing to unstage, and they
// run as soon as they are installed, so there is nothing to confirm.
func (p *Plugin) Do(ctx context.Context, verb core.Verb, in ports.Request, progress func(ports.Progress)) error {
	switch verb {
	case core.VerbStage:
		return p.stage(ctx, in, progress)
	case core.VerbUnstage, core.VerbConfirm:
		return ctx.Err()
	default:
		return core.Failure{
			Class: core.FailureFailed, Reason: "VerbNotSupported", Message: fmt.Sprintf("the plugin packages has no verb %s", verb),
		}
	}
}

// systemName is the PRETTY_NAME of /etc/os-release.
func systemName() string {
	file, err := os.Open("/etc/os-release")
	if err != nil {
		return ""
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if name, found := strings.CutPrefix(lines.Text(), "PRETTY_NAME="); found {
			return strings.Trim(name, `"'`)
		}
	}
	return ""
}

func joined(texts ...string) string {
	return strings.Join(slices.DeleteFunc(texts, func(text string) bool { return text == "" }), "; ")
}

// detect finds the package manager of this host.
func detect(run programs) (manager, error) {
	for _, known := range []struct {
		programs []string
		open     func(programs) manager
	}{
		{[]string{"apt-get", "dpkg"}, newApt},
		{[]string{"dnf", "rpm"}, newDNF},
		{[]string{"zypper", "rpm"}, newZypper},
	} {
		if !slices.ContainsFunc(known.programs, func(name string) bool { return !installed(name) }) {
			return known.open(run), nil
		}
	}
	return nil, core.Failure{
		Class: core.FailureFailed, Reason: "NoPackageManager",
		Message: "this host has neither apt nor dnf nor zypper: set agent.osPlugin in its /etc/elemental/agent.yaml to a plugin that fits it",
	}
}

func installed(program string) bool {
	_, err := os.Stat(filepath.Join("/usr/bin", program))
	return !errors.Is(err, os.ErrNotExist)
}
