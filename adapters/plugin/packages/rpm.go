package packages

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"elemental/adapters/plugin/program"
	"elemental/core"
)

// rpm is what dnf and zypper have in common: the database of what is installed, which is asked without either.
type rpm struct {
	programs programs
	root     string // where the system lies; "/" but in tests
}

// installedRPM is one package of the database.
type installedRPM struct {
	Name, Version, Arch string // the version with its release, and with its epoch where it has one
	At                  int64  // when it was installed, in seconds since 1970
}

func (p installedRPM) String() string { return p.Name + "-" + p.Version + "." + p.Arch }

// rowOf makes rpm tell of a package what installedRPM holds.
const rowOf = `%{NAME}\t%|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE}\t%{ARCH}\t%{INSTALLTIME}\n`

func (r rpm) path(name string) string { return filepath.Join(r.root, name) }

func (r rpm) command(args ...string) program.Command {
	return program.Command{Args: append([]string{"rpm", "--root", r.root}, args...), Dir: "/"}
}

// all lists the database.
func (r rpm) all(ctx context.Context) ([]installedRPM, error) {
	result, err := r.programs.ask(ctx, r.command("-qa", "--queryformat", rowOf))
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, core.Failure{
			Class: core.FailureFailed, Reason: reasonBroken,
			Message: fmt.Sprintf("the database of installed packages can't be read: %v; run rpm --rebuilddb on the host", err),
		}
	}
	return rows(string(result.Stdout)), nil
}

func rows(text string) []installedRPM {
	var all []installedRPM
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) < 4 || f[0] == "gpg-pubkey" { // Keys stand among the packages.
			continue
		}
		at, err := strconv.ParseInt(f[3], 10, 64)
		if err != nil {
			continue
		}
		all = append(all, installedRPM{Name: f[0], Version: f[1], Arch: f[2], At: at})
	}
	return all
}

// inventory says how packages stand. A name may bear an architecture, as in glibc.i686, or be one that packages provide.
func (r rpm) inventory(ctx context.Context, names []string) (inventory, error) {
	all, err := r.all(ctx)
	if err != nil {
		return inventory{}, err
	}
	have := inventory{Installed: map[string][]string{}}
	versions := map[string][]string{}
	for _, p := range all {
		versions[p.Name] = append(versions[p.Name], p.Version)
		versions[p.Name+"."+p.Arch] = append(versions[p.Name+"."+p.Arch], p.Version)
	}
	var missing []string
	for _, name := range names {
		if found := versions[name]; len(found) > 0 {
			have.Installed[name] = distinct(found)
		} else {
			missing = append(missing, name)
		}
	}
	if err := r.provided(ctx, missing, have.Installed); err != nil {
		return inventory{}, err
	}
	left, err := r.leftovers(ctx, all)
	if err != nil {
		return inventory{}, err
	}
	for _, p := range left {
		have.Broken = append(have.Broken, p.String()+" should have gone when another version of it came")
	}
	return have, nil
}

// provided adds the names that only other packages provide, with the versions of those.
func (r rpm) provided(ctx context.Context, names []string, installed map[string][]string) error {
	if len(names) == 0 {
		return nil
	}
	query := []string{"-q", "--queryformat", `%|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE}[\t%{PROVIDENAME}]\n`, "--whatprovides"}
	result, err := r.programs.ask(ctx, r.command(append(query, names...)...))
	var exited *program.ExitError
	if err != nil && !errors.As(err, &exited) { // Its status counts the names that nothing provides.
		return err
	}
	for line := range strings.Lines(string(result.Stdout)) {
		fields := strings.Split(strings.TrimSpace(line), "\t")
		for _, name := range names {
			if slices.Contains(fields[1:], name) {
				installed[name] = distinct(append(installed[name], fields[0]))
			}
		}
	}
	return nil
}

func distinct(versions []string) []string {
	versions = slices.Sorted(slices.Values(versions))
	return slices.Compact(versions)
}

// leftovers are the packages of which rpm was killed between bringing another version and taking this one away. What
// came last is what was asked for, be it older or newer.
func (r rpm) leftovers(ctx context.Context, all []installedRPM) ([]installedRPM, error) {
	same := map[string][]installedRPM{}
	for _, p := range all {
		same[p.Name+"."+p.Arch] = append(same[p.Name+"."+p.Arch], p)
	}
	var left []installedRPM
	for _, name := range slices.Sorted(maps.Keys(same)) {
		group := same[name]
		if len(group) < 2 {
			continue
		}
		beside, err := r.besideEachOther(ctx, group[0])
		if err != nil {
			return nil, err
		}
		slices.SortFunc(group, func(a, b installedRPM) int { return cmp.Compare(b.At, a.At) })
		if !beside && group[0].At > group[1].At {
			left = append(left, group[1:]...)
		}
	}
	return left, nil
}

// besideEachOther says whether a host keeps several versions of a package on purpose, as it does of kernels.
func (r rpm) besideEachOther(ctx context.Context, p installedRPM) (bool, error) {
	if strings.HasPrefix(p.Name, "kernel") {
		return true, nil
	}
	result, err := r.programs.ask(ctx, r.command("-q", "--provides", p.String()))
	if err != nil {
		return false, fmt.Errorf("asking what %s provides: %w", p, err)
	}
	provides := string(result.Stdout)
	return strings.Contains(provides, "installonlypkg(") || strings.Contains(provides, "multiversion("), nil
}

// repair ends what an rpm that was killed had begun.
func (r rpm) repair(ctx context.Context, report report) error {
	all, err := r.all(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		report(progressOf(stepRepairing, -1, "building the database of packages anew"))
		if _, err := r.programs.run(ctx, r.command("--rebuilddb")); err != nil {
			return r.unmended(ctx, err)
		}
		if all, err = r.all(ctx); err != nil {
			return err
		}
	}
	left, err := r.leftovers(ctx, all)
	if err != nil || len(left) == 0 {
		return err
	}
	erase := r.command("--erase")
	for _, p := range left {
		erase.Args = append(erase.Args, p.String())
	}
	report(progressOf(stepRepairing, -1, "taking away what an interrupted transaction left: "+strings.Join(erase.Args[4:], ", ")))
	if _, err := r.programs.run(ctx, erase); err != nil {
		return r.unmended(ctx, err)
	}
	return nil
}

func (r rpm) unmended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return core.Failure{
		Class: core.FailureFailed, Reason: reasonBroken,
		Message: fmt.Sprintf("what an interrupted transaction left can't be repaired: %v; repair the database of packages on the host by hand", err),
	}
}

// restarting are the packages whose new version only a restart brings to run. Red Hat's needs-restarting has the same list.
var restarting = []string{
	"dbus", "dbus-broker", "dbus-daemon", "glibc", "kernel", "kernel-core", "kernel-default", "kernel-rt", "kernel-rt-core",
	"kernel-firmware", "linux-firmware", "microcode_ctl", "systemd", "ucode-amd", "ucode-intel",
}

// restartReasons are the packages of that list that came after the host was started.
func (r rpm) restartReasons(ctx context.Context, booted int64) ([]string, error) {
	result, err := r.programs.ask(ctx, r.command(append([]string{"-q", "--queryformat", rowOf}, restarting...)...))
	var exited *program.ExitError
	if err != nil && !errors.As(err, &exited) { // Its status counts those that are not installed.
		return nil, err
	}
	var reasons []string
	for _, p := range rows(string(result.Stdout)) {
		if p.At > booted {
			reasons = append(reasons, fmt.Sprintf("%s is now %s", p.Name, p.Version))
		}
	}
	return distinct(reasons), nil
}

// bootTime is when this host was started, in seconds since 1970.
func bootTime() (int64, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("reading when the host was started: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if value, found := strings.CutPrefix(line, "btime "); found {
			return strconv.ParseInt(strings.TrimSpace(value), 10, 64)
		}
	}
	return 0, errors.New("reading when the host was started: /proc/stat has no line btime")
}

// sameRPM compares an installed version with one that may lack an epoch and a release.
func sameRPM(installed, asked string) bool {
	haveEpoch, haveVersion, haveRelease := versionParts(installed)
	epoch, version, release := versionParts(asked)
	return version == haveVersion && (epoch == "" || epoch == haveEpoch || epoch == "0" && haveEpoch == "") &&
		(release == "" || release == haveRelease)
}

// versionParts takes apart [EPOCH:]VERSION[-RELEASE].
func versionParts(text string) (epoch, version, release string) {
	if before, after, found := strings.Cut(text, ":"); found {
		epoch, text = before, after
	}
	version, release, _ = strings.Cut(text, "-")
	return epoch, version, release
}
