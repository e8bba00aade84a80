package hostos

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"time"

	"elemental/adapters/deploy"
	"elemental/adapters/oci"
	"elemental/adapters/plugin"
	hostboot "elemental/adapters/plugin/boot"
	"elemental/adapters/plugin/cloudinit"
	"elemental/core"
	"elemental/modes/policy"
	"elemental/ports"
)

// OpenPlugin returns the image plugin of a host that is configured by a file.
func OpenPlugin(path string) (ports.Plugin, error) {
	config, err := ReadConfig(path)
	if err != nil {
		return nil, err
	}
	return newEngine(config)
}

func newEngine(config Config) (*deploy.Engine, error) {
	// Whoever started this process adds the time.
	timeless := func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}
	return deploy.New(deploy.Config{
		Root: config.Root, Boot: config.Boot, Kernel: deploy.KernelPolicy(config.Kernel), Tries: config.Tries,
		HealthTimeout: config.HealthTimeout, Architecture: runtime.GOARCH, ResetKeeps: config.ResetKeeps, BootID: hostboot.ID,
		Loader: deploy.SystemdBoot{Boot: config.Boot},
		Images: oci.New(oci.Config{PlainHTTP: config.PlainHTTP, Credentials: config.Credentials, Allow: func(place string) error {
			return allowPlace(config, policy.Now, place)
		}}),
		Downgrade: func(why string) error {
			rules, err := policy.Now()
			if err != nil {
				return err
			}
			return rules.AllowDowngrade(why)
		},
		Own:   config.own,
		Named: cloudinit.Files,
		Log:   slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{ReplaceAttr: timeless})),
	})
}

// allowPlace says whether images may come from a place: the host's policy must allow it, and so must the list that the
// configuration of images may have besides.
func allowPlace(config Config, read policy.Reader, place string) error {
	rules, err := read()
	if err != nil {
		return err
	}
	if err := rules.AllowImagesFrom(place); err != nil {
		return err
	}
	if policy.Among(place, config.AllowedRegistries) {
		return nil
	}
	return core.Failure{
		Class: core.FailureInvalid, Reason: core.ReasonPolicyDenied, Path: "osVersion.imageUri",
		Message: fmt.Sprintf("the rule allowedRegistries in %s of this host does not name %s; name it there, or, better, in images.registries in %s",
			ConfigPath, place, policy.Path),
	}
}

// deployments is the image engine as this mode sees it.
type deployments struct{ engine *deploy.Engine }

func wire(config Config) (deployments, error) {
	engine, err := newEngine(config)
	return deployments{engine}, err
}

func (d deployments) status(ctx context.Context) (Status, error) {
	found, err := d.engine.Status(ctx)
	if err != nil {
		return Status{Booted: found.Booted}, err
	}
	status := Status{Booted: found.Booted, OnTrial: found.OnTrial, Reset: Reset(found.Reset), Deployments: []Deployment{}}
	for _, f := range found.Deployments {
		deployment := Deployment{
			ID: f.ID, Digest: f.Digest, Version: f.Version, Created: f.Created, Entry: f.Entry, First: f.Next,
			Trial: f.Trial, TriesLeft: f.Tries, TriesUsed: f.Tried, Failure: f.Failed,
		}
		if n := len(f.References); n > 0 {
			deployment.Reference = f.References[n-1].Reference
		}
		status.Deployments = append(status.Deployments, deployment)
	}
	status.assign()
	return status, nil
}

func (d deployments) stage(ctx context.Context, request ports.Request, progress func(ports.Progress)) error {
	return plugin.Checked(d.engine).Do(ctx, core.VerbStage, request, progress)
}

func (d deployments) install(ctx context.Context, request ports.Request, progress func(ports.Progress)) error {
	return d.engine.Do(ctx, core.VerbInstall, request, progress)
}

func (d deployments) confirm(ctx context.Context, patience time.Duration) error {
	engine := *d.engine
	engine.HealthTimeout = patience
	return engine.Confirm(ctx, ports.Request{})
}

// triggerReset is for root, to whom the rule on what a cluster may do does not apply.
func (d deployments) triggerReset(ctx context.Context, keep, more []string, progress func(ports.Progress)) error {
	options, err := json.Marshal(map[string][]string{"keep": more})
	if err != nil {
		return err
	}
	return d.engine.TriggerReset(ctx, ports.Request{Keep: keep, Options: options}, progress)
}

func (d deployments) endReset(ctx context.Context, progress func(ports.Progress)) error {
	return d.engine.Reset(ctx, ports.Request{}, progress)
}

func (d deployments) blame(deployment, reason string) error {
	return d.engine.Blame(deployment, reason)
}
