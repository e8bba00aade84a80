package packages

import (
	"bufio"
	"context"
	_ "embed" // for the command that dnf is given
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"elemental/adapters/plugin/program"
	"elemental/core"
)

// dnf is the package manager of Red Hat Enterprise Linux, Fedora and their descendants. Configuration files that were
// changed on the host are kept: rpm lays the package's own beside them, with .rpmnew after the name.
type dnf struct {
	rpm
	options []string // for dnf in another root; nil but in tests
	program string   // dnf itself
	locks   versionLock
}

// dnfLocked is the status of a dnf that found another one at work.
const dnfLocked = 200

//go:embed dnfchange.py
var dnfChange string

func newDNF(run programs) manager {
	return &dnf{rpm: rpm{programs: run, root: "/"}, program: dnfProgram("/usr/bin"), locks: versionLock{conf: "/etc/dnf/plugins/versionlock.conf"}}
}

// dnfProgram is the program of dnf 4 in a folder. Where dnf 5 is there too, the name dnf is that one's.
func dnfProgram(folder string) string {
	four := filepath.Join(folder, "dnf-3") // After the Python that it is written in.
	if _, err := os.Stat(four); err == nil {
		return four
	}
	return filepath.Join(folder, "dnf")
}

// Name is the tool's own.
func (d *dnf) Name() string { return "dnf" }

// Same leaves out an epoch and a release that nobody asked for.
func (d *dnf) Same(installed, asked string) bool { return sameRPM(installed, asked) }

// Inventory asks rpm alone, since dnf takes its time.
func (d *dnf) Inventory(ctx context.Context, names []string) (inventory, error) {
	have, err := d.inventory(ctx, names)
	if err != nil {
		return have, err
	}
	have.Held, err = d.locks.held()
	return have, err
}

// RestartReasons are the packages of needs-restarting's own list: that program is not on every host.
func (d *dnf) RestartReasons(ctx context.Context) ([]string, error) {
	booted, err := bootTime()
	if err != nil {
		return nil, err
	}
	return d.restartReasons(ctx, booted)
}

func (d *dnf) await(ctx context.Context, report report) error {
	return d.rpm.await(ctx, report, "var/cache/dnf/metadata_lock.pid", "var/cache/dnf/download_lock.pid", "var/lib/dnf/rpmdb_lock.pid")
}

// Repair needs no dnf: its transactions leave nothing half done but what rpm does.
func (d *dnf) Repair(ctx context.Context, report report) error {
	if err := d.await(ctx, report); err != nil {
		return err
	}
	return d.repair(ctx, report)
}

// settings make dnf ask nothing, wait for nobody without saying so, and give up on a server that is silent.
func (d *dnf) settings() []string {
	return append([]string{"--assumeyes", "--setopt=exit_on_lock=1", "--setopt=retries=2", "--setopt=timeout=30"}, d.options...)
}

// call runs a dnf when nobody else's is at work.
func (d *dnf) call(ctx context.Context, c program.Command, step string, refreshed bool, report report) error {
	for end := time.Now().Add(lockPatience); ; {
		if err := d.await(ctx, report); err != nil {
			return err
		}
		said := &dnfOutput{step: step, report: report, refreshed: refreshed}
		c.Line, c.Status, c.Dir = said.line, said.status, "/"
		result, err := d.programs.run(ctx, c)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case result.Exit == dnfLocked && time.Now().Before(end):
			// Someone was faster: that one is waited for.
		case result.Exit == dnfLocked:
			return locked("another dnf")
		default:
			return said.failure(err)
		}
	}
}

// Refresh asks all repositories, also those that dnf would do without.
func (d *dnf) Refresh(ctx context.Context, report report) error {
	report(progressOf(stepRefreshing, -1, "asking the repositories what they have"))
	args := slices.Concat([]string{d.program}, d.settings(), []string{"--setopt=*.skip_if_unavailable=0", "--refresh", "makecache"})
	return d.call(ctx, program.Command{Args: args}, stepRefreshing, true, report)
}

// Apply holds what is to be held first, since a transaction that was killed must not leave it free.
func (d *dnf) Apply(ctx context.Context, p plan, report report) error {
	if err := d.await(ctx, report); err != nil {
		return err
	}
	if err := d.locks.hold(p.Hold); err != nil {
		return err
	}
	if len(p.Install)+len(p.Versions)+len(p.Remove)+len(p.Upgrade) == 0 && !p.UpgradeAll {
		return nil
	}
	python, err := interpreter(d.program)
	if err != nil {
		return err
	}
	script, err := changeScript(p)
	if err != nil {
		return err
	}
	// What others need no more is left alone, since nobody named it.
	args := slices.Concat([]string{python, "-I", "-"}, d.settings(),
		[]string{"--setopt=strict=1", "--setopt=clean_requirements_on_remove=0", "elemental-change"})
	report(progressOf(stepInstalling, -1, "one transaction of dnf"))
	return d.call(ctx, program.Command{Args: args, Stdin: script}, stepInstalling, p.Refreshed, report)
}

// changeScript is dnf's command line with the command that makes a plan true.
func changeScript(p plan) (string, error) {
	text, err := json.Marshal(map[string]any{
		"install": p.Install, "versions": p.Versions, "remove": p.Remove, "upgrade": p.Upgrade, "upgradeAll": p.UpgradeAll, "hold": p.Hold,
	})
	if err != nil {
		return "", fmt.Errorf("writing the plan for dnf: %w", err)
	}
	// A text of Go that holds nothing but ASCII is one of Python, too.
	return "import json\nPLAN = json.loads(" + strconv.QuoteToASCII(string(text)) + ")\n" + dnfChange, nil
}

// interpreter is the Python that dnf itself is run by, as the first line of its program says. From version 5 on dnf is
// no program of Python.
func interpreter(dnf string) (string, error) {
	file, err := os.Open(dnf)
	if errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("looking for %s: %w", dnf, program.ErrMissing)
	}
	if err != nil {
		return "", err
	}
	defer file.Close()
	first, err := bufio.NewReaderSize(file, 256).ReadSlice('\n')
	words := strings.Fields(strings.TrimPrefix(string(first), "#!"))
	if err != nil || !strings.HasPrefix(string(first), "#!") || len(words) == 0 {
		return "", core.Failure{
			Class: core.FailureFailed, Reason: "DNFNotSupported",
			Message: fmt.Sprintf("%s is not dnf 4: install the package dnf4 or python3-dnf beside it, which brings /usr/bin/dnf-3", dnf),
		}
	}
	return words[0], nil
}
