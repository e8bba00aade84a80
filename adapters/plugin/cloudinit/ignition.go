package cloudinit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"elemental/adapters/plugin/durable"
	"elemental/adapters/plugin/program"
)

const (
	// ignitionFile holds the config while it is applied. It is secret, and goes when it was.
	ignitionFile = folder + "/config.ign"
	// begunFile says which config may be applied in part.
	begunFile = folder + "/begun.json"
	// ignitionLog is what Ignition said last. Where a config is wrong, a piece of it may stand there.
	ignitionLog = folder + "/ignition.log"
	// presetLog is what systemctl said last when it enabled the units of a config.
	presetLog = folder + "/systemctl.log"
	// applyLink is Ignition's one program under the name by which it applies a config to a system that runs.
	applyLink = folder + "/ignition-apply"
)

// ignitionTime is how long Ignition may take, which fetches what its config refers to.
const ignitionTime = 8 * time.Minute

// step is a program's part in applying a config.
type step struct {
	log    string // the file on the host with all that the program says
	reason string // of its failure
	does   string // what it does, as the end of a sentence
}

// ignite applies an Ignition config to the system that runs, so that its files and units are there at the next boot.
func (p *Plugin) ignite(ctx context.Context, _, instance string, data []byte) error {
	config, err := parseIgnition(data)
	if err != nil {
		return err
	}
	apply, err := p.ignitionApply()
	if err != nil {
		return err
	}
	begun, err := p.begun(instance)
	if err != nil {
		return err
	}
	if !begun {
		if err := p.vacant(config.files()); err != nil {
			return err
		}
	}
	// From here on a file that is in the way is one that an attempt before has written.
	text, err := config.overwriting()
	if err != nil {
		return err
	}
	if err := durable.WriteFile(p.path(ignitionFile), text, 0o600); err != nil {
		return err
	}
	if err := durable.WriteJSON(p.path(begunFile), application{Format: formatIgnition, Instance: instance}); err != nil {
		return err
	}
	applying := step{log: ignitionLog, reason: "IgnitionFailed", does: "applied the bootstrap data"}
	if err := p.run(ctx, applying, []string{apply, "--root", p.root, p.path(ignitionFile)}, "container=elemental"); err != nil {
		return err
	}
	if err := p.preset(ctx, config.units()); err != nil {
		return err
	}
	if err := os.Remove(p.path(ignitionFile)); err != nil {
		return fmt.Errorf("removing the config that was applied: %w", err)
	}
	unix.Sync() // Ignition makes nothing durable.
	return nil
}

// begun says whether this very config may be applied in part.
func (p *Plugin) begun(instance string) (bool, error) {
	var a application
	found, err := durable.ReadJSON(p.path(begunFile), &a)
	if err != nil && !errors.Is(err, durable.ErrDamaged) {
		return false, err
	}
	return found && a.Instance == instance, nil
}

// vacant refuses files in the way of the config, as Ignition does.
func (p *Plugin) vacant(files []node) error {
	for i, file := range files {
		if file.Overwrite || file.Contents.Source == nil || !exists(p.path(file.Path)) {
			continue
		}
		return failed("IgnitionInvalid", "the Ignition config can't be applied: %s is on the host already, and storage.files[%d] does not say overwrite", file.Path, i)
	}
	return nil
}

// ignitionApply finds Ignition's program for a system that runs.
func (p *Plugin) ignitionApply() (string, error) {
	if found, ok := p.find("/usr/libexec/ignition-apply", "/usr/bin/ignition-apply", "/usr/sbin/ignition-apply", "/usr/local/bin/ignition-apply"); ok {
		return p.path(found), nil
	}
	// What a distribution packs for the initial RAM disk is the same program under another name.
	found, ok := p.find("/usr/lib/dracut/modules.d/30ignition/ignition", "/usr/bin/ignition")
	if !ok {
		return "", failed("IgnitionMissing", "there is no Ignition on this host, which must apply the bootstrap data: add the package ignition, version 2.14 or newer, to the host's image, or let the machine's bootstrap data have the format %s", formatCloudConfig)
	}
	link := p.path(applyLink)
	if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("naming Ignition's program: %w", err)
	}
	if err := os.Symlink(p.path(found), link); err != nil {
		return "", fmt.Errorf("naming Ignition's program: %w", err)
	}
	return link, nil
}

// preset carries out what Ignition has only noted, since systemd looks at presets at the very first boot alone.
func (p *Plugin) preset(ctx context.Context, units []string) error {
	if len(units) == 0 {
		return nil
	}
	systemctl, found := p.find("/usr/bin/systemctl", "/bin/systemctl")
	if !found {
		return failed("SystemdMissing", "there is no systemctl on this host, which must enable the units of the Ignition config")
	}
	// With a root it works on files alone, and asks no manager.
	enabling := step{log: presetLog, reason: "PresetFailed", does: "enabled the units of the Ignition config"}
	return p.run(ctx, enabling, append([]string{p.path(systemctl), "--root=" + p.root, "preset", "--"}, units...))
}

// run runs a program, and keeps what it says on the host alone: a piece of the config may be in it.
func (p *Plugin) run(ctx context.Context, s step, args []string, env ...string) error {
	var said bytes.Buffer
	_, err := program.Run(ctx, program.Command{
		Args: args, Env: env, Dir: "/", Timeout: ignitionTime,
		Line: func(line string) {
			if said.Len() < 1<<20 {
				said.WriteString(line + "\n")
			}
		},
	})
	if kept := durable.WriteFile(p.path(s.log), said.Bytes(), 0o600); kept != nil {
		return errors.Join(err, kept)
	}
	name := args[0][strings.LastIndexByte(args[0], '/')+1:]
	var exit *program.ExitError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &exit):
		exit.Tail = ""
		return failed(s.reason, "%v when it %s%s: see %s on the host", exit, s.does, wrongAt(said.String()), s.log)
	default:
		return failed(s.reason, "running %s: %v", name, err)
	}
}

// wrongAt names the first field of a config with which Ignition finds fault, and nothing else that Ignition says.
func wrongAt(said string) string {
	found := regexp.MustCompile(`error at (\$(?:\.[A-Za-z0-9]{1,32}){1,10}),`).FindStringSubmatch(said)
	if found == nil {
		return ""
	}
	return " and found " + found[1] + " wrong"
}
