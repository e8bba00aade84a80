package packages

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"elemental/adapters/plugin/program"
	"elemental/core"
)

// apt is the package manager of Debian and its descendants: dpkg, and apt-get above it.
type apt struct {
	programs programs
	root     string   // where the system lies; "/" but in tests
	options  []string // for apt in another root; nil but in tests
	admin    []string // the same for dpkg-query
	dpkg     []string // and for dpkg
}

func newApt(run programs) manager { return &apt{programs: run, root: "/"} }

// environment lets no script ask anything, and nothing restart a service behind the back of whoever runs it.
var environment = []string{
	"DEBIAN_FRONTEND=noninteractive", "DEBIAN_PRIORITY=critical", "APT_LISTCHANGES_FRONTEND=none", "NEEDRESTART_MODE=l",
	"UCF_FORCE_CONFFOLD=1",
}

// Name is the tool's own.
func (a *apt) Name() string { return "apt" }

// Same compares whole versions: a pin of apt is exact.
func (a *apt) Same(installed, asked string) bool { return installed == asked }

func (a *apt) path(elements ...string) string {
	return filepath.Join(append([]string{a.root}, elements...)...)
}

// aptGet is a call of apt-get. What it says of its progress comes on descriptor 3. Without a terminal of apt's own,
// dpkg outlives an apt that is killed, and ends its package.
func (a *apt) aptGet(args ...string) program.Command {
	args = slices.Concat([]string{
		"apt-get", "--quiet", "--yes", "-o", "APT::Status-Fd=3", "-o", "Dpkg::Use-Pty=0", "-o", "DPkg::Lock::Timeout=60",
		"-o", "DPkg::Options::=--force-confdef", "-o", "DPkg::Options::=--force-confold",
		"-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=30", "-o", "Acquire::https::Timeout=30",
	}, a.options, args)
	return program.Command{Args: args, Env: environment, Dir: "/"}
}

// call runs apt-get or dpkg, reports its progress, and words its failure.
func (a *apt) call(ctx context.Context, c program.Command, step string, report report, refreshed bool) error {
	said := &aptOutput{step: step, report: report}
	c.Line, c.Status = said.line, said.status
	_, err := a.programs.run(ctx, c)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return said.failure(err, refreshed)
}

// Repair lets dpkg end what it had begun, and apt mend dependencies. Where nothing is half done, dpkg is only asked.
func (a *apt) Repair(ctx context.Context, report report) error {
	if err := a.await(ctx, report); err != nil {
		return err
	}
	audit, err := a.programs.ask(ctx, program.Command{Args: slices.Concat([]string{"dpkg"}, a.dpkg, []string{"--audit"})})
	interrupted, _ := filepath.Glob(a.path("var/lib/dpkg/updates/[0-9]*"))
	if err == nil && len(audit.Stdout) == 0 && len(interrupted) == 0 {
		return nil
	}
	report(progressOf(stepRepairing, -1, "ending what an earlier transaction left half done"))
	configure := program.Command{
		Args: slices.Concat([]string{"dpkg", "--force-confdef", "--force-confold"}, a.dpkg, []string{"--configure", "--pending"}),
		Env:  environment, Dir: "/",
	}
	err = a.call(ctx, configure, stepRepairing, report, false)
	if ctx.Err() != nil || retryable(err) {
		return err
	}
	have, unsure := a.Inventory(ctx, nil)
	if unsure != nil {
		return unsure
	}
	check := a.aptGet("check")
	check.Status = func(string) {}
	_, unmet := a.programs.ask(ctx, check)
	again := unpackedInPart(have)
	if unmet == nil && len(again) == 0 {
		return err
	}
	// What was killed while it was unpacked is fetched again, and so is what others want.
	return a.call(ctx, a.aptGet(append([]string{"--no-remove", "--fix-broken", "--reinstall", "install", "--"}, again...)...), stepRepairing, report, false)
}

// unpackedInPart are the packages that only another unpacking mends.
func unpackedInPart(have inventory) []string {
	var names []string
	for _, what := range have.Broken {
		if name, found := strings.CutSuffix(what, " is "+damaged); found {
			names = append(names, name)
		}
	}
	return names
}

// Refresh asks all repositories what they have.
func (a *apt) Refresh(ctx context.Context, report report) error {
	if err := a.await(ctx, report); err != nil {
		return err
	}
	report(progressOf(stepRefreshing, -1, "asking the repositories what they have"))
	said := &aptOutput{step: stepRefreshing, report: report}
	c := a.aptGet("-o", "APT::Update::Error-Mode=any", "update")
	c.Line, c.Status = said.line, said.status
	_, err := a.programs.run(ctx, c)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil || said.fetchFailed():
		return said.failure(err, true)
	default:
		return nil
	}
}

// Apply looks what apt would do, and lets it do that.
func (a *apt) Apply(ctx context.Context, p plan, report report) error {
	if err := a.await(ctx, report); err != nil {
		return err
	}
	if err := a.check(ctx, p); err != nil {
		return err
	}
	if err := a.hold(p.Hold); err != nil {
		return err
	}
	args := transaction(p)
	if args == nil {
		return nil
	}
	if err := a.simulate(ctx, p, args); err != nil {
		return err
	}
	// Someone may have begun meanwhile.
	if err := a.await(ctx, report); err != nil {
		return err
	}
	if len(p.Remove) == 0 {
		args = slices.Insert(args, 0, "--no-remove")
	}
	report(progressOf(stepInstalling, -1, "one transaction of apt"))
	return a.call(ctx, a.aptGet(args...), stepInstalling, report, p.Refreshed)
}

// transaction is one call of apt-get that makes a plan true; nil where nothing is to change but what is held.
func transaction(p plan) []string {
	var wanted []string
	wanted = append(wanted, p.Install...)
	wanted = append(wanted, p.Upgrade...)
	for _, name := range sorted(p.Versions) {
		wanted = append(wanted, name+"="+p.Versions[name])
	}
	for _, name := range p.Remove {
		wanted = append(wanted, name+"-")
	}
	if len(wanted) == 0 && !p.UpgradeAll {
		return nil
	}
	verb := "install"
	if p.UpgradeAll {
		verb = "upgrade"
	}
	// A version that is pinned may be older, and what an administrator holds by hand is not what the cluster asks for.
	return append([]string{"-o", "APT::Get::Upgrade-Allow-New=true", "--fix-broken", "--allow-downgrades", "--allow-change-held-packages", verb, "--"}, wanted...)
}

// simulate refuses a transaction that would remove what the plan does not name.
func (a *apt) simulate(ctx context.Context, p plan, args []string) error {
	said := &aptOutput{report: silent}
	c := a.aptGet(append([]string{"--simulate"}, args...)...)
	c.Line, c.Status = said.line, func(string) {}
	result, err := a.programs.ask(ctx, c)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return said.failure(err, p.Refreshed)
	}
	var more []string
	for line := range strings.Lines(string(result.Stdout)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "Remv" && !names(p.Remove, fields[1]) {
			more = append(more, fields[1])
		}
	}
	if len(more) == 0 {
		return nil
	}
	return core.Failure{
		Class: core.FailureFailed, Reason: reasonWouldRemove, Path: "packages.remove",
		Message: fmt.Sprintf("what is asked for needs the removal of %s: name them there too if that is right", strings.Join(more, ", ")),
	}
}

// names says whether a list names a package, with its architecture or without.
func names(list []string, name string) bool {
	bare, _, _ := strings.Cut(name, ":")
	return slices.ContainsFunc(list, func(listed string) bool {
		listedBare, _, _ := strings.Cut(listed, ":")
		return listed == name || listed == bare || listedBare == name
	})
}

// RestartReasons reads what packages leave in /run.
func (a *apt) RestartReasons(context.Context) ([]string, error) {
	if _, err := os.Stat(a.path("run/reboot-required")); os.IsNotExist(err) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(a.path("run/reboot-required.pkgs"))
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	reasons := strings.Fields(string(text))
	slices.Sort(reasons)
	if reasons = slices.Compact(reasons); len(reasons) == 0 {
		return []string{"/run/reboot-required"}, nil
	}
	return reasons, nil
}
