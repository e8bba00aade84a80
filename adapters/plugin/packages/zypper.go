package packages

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"elemental/adapters/plugin/program"
	"elemental/core"
)

// zypper is the package manager of SUSE's systems. Configuration files that were changed on the host are kept: rpm lays
// the package's own beside them, with .rpmnew after the name.
type zypper struct {
	rpm
	options []string // for zypper in another root; nil but in tests
}

func newZypper(run programs) manager { return &zypper{rpm: rpm{programs: run, root: "/"}} }

// The statuses of zypper that are no plain failure, by the names of its manual.
const (
	zypperNoRepositories = 6
	zypperLocked         = 7
	zypperRestart        = 102 // it succeeded, and the host must restart
	zypperAgain          = 103 // it succeeded, and zypper itself is a new one
	zypperNotFound       = 104
	zypperSkipped        = 106 // it succeeded, and some repositories were left out
	zypperScript         = 107 // it succeeded, but for a script
)

// Name is the tool's own.
func (z *zypper) Name() string { return "zypper" }

// Same leaves out a release that nobody asked for. To zypper, a version without an epoch has none.
func (z *zypper) Same(installed, asked string) bool {
	if !strings.Contains(asked, ":") {
		asked = "0:" + asked
	}
	return sameRPM(installed, asked)
}

// Inventory asks rpm alone, since zypper takes its time and keeps others away.
func (z *zypper) Inventory(ctx context.Context, names []string) (inventory, error) {
	have, err := z.inventory(ctx, names)
	if err != nil {
		return have, err
	}
	have.Held, err = z.held()
	return have, err
}

// RestartReasons are the packages that are known to need a restart, or else what zypper itself says in /run.
func (z *zypper) RestartReasons(ctx context.Context) ([]string, error) {
	booted, err := bootTime()
	if err != nil {
		return nil, err
	}
	reasons, err := z.restartReasons(ctx, booted)
	if err != nil || len(reasons) > 0 {
		return reasons, err
	}
	if _, err := os.Stat(z.path("run/reboot-needed")); err == nil {
		return []string{"/run/reboot-needed"}, nil
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return nil, nil
}

func (z *zypper) await(ctx context.Context, report report) error {
	return z.rpm.await(ctx, report, "run/zypp.pid")
}

// Repair needs no zypper: its transactions leave nothing half done but what rpm does.
func (z *zypper) Repair(ctx context.Context, report report) error {
	if err := z.await(ctx, report); err != nil {
		return err
	}
	return z.repair(ctx, report)
}

// call runs a zypper when nobody else's is at work, and returns what it said if that was no failure.
func (z *zypper) call(ctx context.Context, step string, refreshed bool, report report, args ...string) (*zypperOutput, error) {
	args = slices.Concat([]string{"zypper", "--non-interactive", "--xmlout"}, z.options, args)
	for end := time.Now().Add(lockPatience); ; {
		if err := z.await(ctx, report); err != nil {
			return nil, err
		}
		said := &zypperOutput{step: step, report: report, refreshed: refreshed}
		result, err := z.programs.run(ctx, program.Command{Args: args, Line: said.line, Dir: "/"})
		said.read([]byte(withoutCredentials(string(result.Stdout))))
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case result.Exit == zypperLocked && time.Now().Before(end):
			// Someone was faster: that one is waited for.
		case result.Exit == zypperLocked:
			return nil, locked("another zypper")
		default:
			return said, said.failure(result.Exit, err)
		}
	}
}

// Refresh asks all repositories. Keys that the host does not know are not taken on trust.
func (z *zypper) Refresh(ctx context.Context, report report) error {
	report(progressOf(stepRefreshing, -1, "asking the repositories what they have"))
	_, err := z.call(ctx, stepRefreshing, true, report, "refresh")
	return err
}

// Apply looks what zypper would do, and lets it do that. What is already as it is to be held is held first, so that zypper
// keeps to it; the rest afterwards, since a lock against all versions but one also keeps the installed one where it is.
func (z *zypper) Apply(ctx context.Context, p plan, report report) error {
	if err := z.await(ctx, report); err != nil {
		return err
	}
	if err := z.check(ctx, p); err != nil {
		return err
	}
	settled := maps.Clone(p.Hold)
	maps.DeleteFunc(settled, func(name, _ string) bool { _, changes := p.Versions[name]; return changes })
	if err := z.hold(settled); err != nil {
		return err
	}
	if err := z.transact(ctx, p, report); err != nil {
		return err
	}
	return z.hold(p.Hold)
}

// transact does all of a plan but the holding in one transaction, unless that would remove more.
func (z *zypper) transact(ctx context.Context, p plan, report report) error {
	wanted, err := z.wanted(ctx, p)
	if err != nil || len(wanted) == 0 {
		return err
	}
	// All is downloaded before anything changes. With two minus signs before them, names may begin with one: to remove.
	install := func(more ...string) []string {
		return slices.Concat([]string{"--no-refresh", "install", "--auto-agree-with-licenses", "--oldpackage", "--no-force-resolution", "--download-in-advance"},
			more, []string{"--"}, wanted)
	}
	would, err := z.call(ctx, stepInstalling, p.Refreshed, silent, install("--dry-run")...)
	if err != nil {
		return err
	}
	if more := would.removals(p.Remove); len(more) > 0 {
		return wouldRemove(more)
	}
	report(progressOf(stepInstalling, -1, "one transaction of zypper"))
	_, err = z.call(ctx, stepInstalling, p.Refreshed, report, install()...)
	return err
}

// wanted is what one call of zypper is to install and remove.
func (z *zypper) wanted(ctx context.Context, p plan) ([]string, error) {
	wanted := slices.Concat(p.Install, p.Upgrade)
	for _, name := range sorted(p.Versions) {
		wanted = append(wanted, name+"="+p.Versions[name])
	}
	if p.UpgradeAll {
		// Its commands that upgrade all do nothing else: so each is named.
		said, err := z.call(ctx, stepInstalling, p.Refreshed, silent, "--no-refresh", "list-updates", "--type", "package")
		if err != nil {
			return nil, err
		}
		for _, name := range said.Updates {
			if _, held := p.Hold[name]; !held && !slices.Contains(p.Remove, name) && !slices.Contains(wanted, name) {
				wanted = append(wanted, name)
			}
		}
	}
	for _, name := range p.Remove {
		wanted = append(wanted, "-"+name)
	}
	return wanted, nil
}

// check refuses versions that no repository has: zypper would only say that there is no such package.
func (z *zypper) check(ctx context.Context, p plan) error {
	if len(p.Versions) == 0 {
		return nil
	}
	search := slices.Concat([]string{"--no-refresh", "search", "--details", "--match-exact", "--type", "package", "--"}, sorted(p.Versions))
	said, err := z.call(ctx, stepInstalling, p.Refreshed, silent, search...)
	var failure core.Failure
	if err != nil && (!errors.As(err, &failure) || failure.Reason != reasonNoPackage) {
		return fmt.Errorf("asking zypper what its repositories have: %w", err)
	}
	var all []missing
	for _, name := range sorted(p.Versions) {
		there := said.Editions[name]
		if !slices.ContainsFunc(there, func(edition string) bool { return z.Same(edition, p.Versions[name]) }) {
			all = append(all, missing{Name: name, Version: p.Versions[name], There: there})
		}
	}
	if len(all) == 0 {
		return nil
	}
	return notFound(all, p.Refreshed)
}
