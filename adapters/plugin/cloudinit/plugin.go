// Package cloudinit lets any OS plugin name its host, keep the cloud config of its registration, and hand bootstrap data
// over, by what every host with systemd and cloud-init has, or with Ignition.
package cloudinit

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"elemental/core"
	"elemental/ports"
)

// Plugin is another plugin that can bootstrap its host, too.
type Plugin struct {
	inner ports.Plugin
	root  string
}

// With adds to a plugin the verbs bootstrap, setHostname and installCloudConfig, for the system whose files are below
// root. The last two stay the plugin's own where it has them. If it has bootstrap itself, it is asked for it too, after
// the data lies where the host's next boot finds them.
func With(inner ports.Plugin, root string) ports.Plugin {
	return &Plugin{inner: inner, root: filepath.Clean(root)}
}

// added are the verbs that every plugin gets.
var added = [...]core.Verb{core.VerbBootstrap, core.VerbSetHostname, core.VerbInstallCloudConfig}

// Describe says what the plugin can by itself, and what it is given.
func (p *Plugin) Describe(ctx context.Context) (ports.Description, error) {
	d, err := p.inner.Describe(ctx)
	if err != nil {
		return d, err
	}
	d.Verbs = slices.Clone(d.Verbs)
	for _, verb := range added {
		if !slices.Contains(d.Verbs, verb) {
			d.Verbs = append(d.Verbs, verb)
		}
	}
	return d, nil
}

// Observe adds whether bootstrap data was applied. What was applied before a reset does not count.
func (p *Plugin) Observe(ctx context.Context, request ports.Request) (ports.Observation, error) {
	o, err := p.inner.Observe(ctx, request)
	if err != nil {
		return o, err
	}
	applied, err := p.applied()
	if err != nil {
		return ports.Observation{}, err
	}
	o.Primed = (o.Primed || applied) && o.Reset == core.ResetNone
	return o, nil
}

// Do carries out the verbs that were added, and leaves the others to the plugin.
func (p *Plugin) Do(ctx context.Context, verb core.Verb, request ports.Request, progress func(ports.Progress)) error {
	if !slices.Contains(added[:], verb) {
		return p.inner.Do(ctx, verb, request, progress)
	}
	d, err := p.inner.Describe(ctx)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	own := slices.Contains(d.Verbs, verb)
	switch {
	case verb == core.VerbBootstrap:
		return p.bootstrap(ctx, request, func() error {
			if !own {
				return nil
			}
			return p.inner.Do(ctx, verb, request, progress)
		})
	case own:
		return p.inner.Do(ctx, verb, request, progress)
	case verb == core.VerbSetHostname:
		return p.setHostname(request.Hostname)
	default:
		return p.installCloudConfig(request.CloudConfig)
	}
}

// path is where a file of the system lies.
func (p *Plugin) path(name string) string { return filepath.Join(p.root, name) }

// real says whether this is the system that runs, and not a folder that looks like one.
func (p *Plugin) real() bool { return p.root == "/" }

// find returns the first of some files of the system that is there, as it is named in the system.
func (p *Plugin) find(names ...string) (string, bool) {
	i := slices.IndexFunc(names, func(name string) bool { return exists(p.path(name)) })
	if i < 0 {
		return "", false
	}
	return names[i], true
}

// failed is a failure that a person must look at.
func failed(reason, format string, args ...any) core.Failure {
	return core.Failure{Class: core.FailureFailed, Reason: reason, Message: strings.TrimSpace(fmt.Sprintf(format, args...))}
}
