// Package dummy is the plugin of a host that something else updates: it writes what is asked of it into
// its work dir, and calls a request satisfied once it stands there.
package dummy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"elemental/core"
	"elemental/ports"
)

// Requested is the file in the work dir that holds the request, in its canonical form.
const Requested = "os-version.json"

// bootstrapFile, with the format after it, holds the bootstrap data.
const bootstrapFile = "bootstrap."

// formats are those of bootstrap data.
var formats = []string{"cloud-config", "ignition"}

// Plugin keeps its files in one folder.
type Plugin struct{ folder string }

// New returns the plugin that keeps its files in a folder.
func New(folder string) *Plugin { return &Plugin{folder: folder} }

// Describe says that any JSON object is understood.
func (p *Plugin) Describe(context.Context) (ports.Description, error) {
	return ports.Description{
		Name: "dummy",
		Verbs: []core.Verb{
			core.VerbDescribe, core.VerbObserve, core.VerbStage, core.VerbUnstage, core.VerbConfirm, core.VerbBootstrap,
			core.VerbTriggerReset, core.VerbReset, core.VerbInstallCloudConfig,
		},
		Schema: []byte(`{"type":"object"}`),
	}, nil
}

// Observe compares the file with the request.
func (p *Plugin) Observe(_ context.Context, request ports.Request) (ports.Observation, error) {
	want, err := canonical(request)
	if err != nil {
		return ports.Observation{}, err
	}
	have, err := os.ReadFile(filepath.Join(p.folder, Requested))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return ports.Observation{}, fmt.Errorf("reading what was written last: %w", err)
	}
	stage, err := p.resetStage()
	if err != nil {
		return ports.Observation{}, err
	}
	o := ports.Observation{Installed: true, Reset: stage, View: core.View{
		Verdict: core.VerdictOutdated, Current: version(have), Primed: p.primed() && stage == core.ResetNone,
	}}
	if request.Hash == "" || bytes.Equal(have, want) {
		o.Verdict = core.VerdictSatisfied
	}
	return o, nil
}

// Do writes down what is asked. There is never anything to unstage or to confirm.
func (p *Plugin) Do(ctx context.Context, verb core.Verb, request ports.Request, progress func(ports.Progress)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	switch verb {
	case core.VerbStage:
		text, err := canonical(request)
		if err != nil {
			return err
		}
		progress(ports.Progress{Step: "Writing", Percent: 0, Message: "writing " + Requested})
		return p.write(Requested, text, 0o644)
	case core.VerbUnstage, core.VerbConfirm:
		return nil
	case core.VerbBootstrap:
		return p.bootstrap(request.Bootstrap)
	case core.VerbTriggerReset:
		return p.triggerReset(request)
	case core.VerbReset:
		return p.reset()
	case core.VerbInstallCloudConfig:
		return p.installCloudConfig(request.CloudConfig)
	default:
		return core.Failure{Class: core.FailureFailed, Reason: "VerbNotSupported", Message: fmt.Sprintf("the plugin dummy has no verb %s", verb)}
	}
}

// primed says whether bootstrap data was laid down.
func (p *Plugin) primed() bool {
	return slices.ContainsFunc(formats, func(format string) bool {
		_, err := os.Stat(filepath.Join(p.folder, bootstrapFile+format))
		return err == nil
	})
}

func (p *Plugin) bootstrap(data *ports.BootstrapData) error {
	if data == nil {
		return core.Failure{Class: core.FailureFailed, Reason: "NoBootstrapData", Message: "the request to bootstrap holds no bootstrap data"}
	}
	if !slices.Contains(formats, data.Format) {
		return core.Failure{
			Class: core.FailureFailed, Reason: "UnknownBootstrapFormat",
			Message: fmt.Sprintf("the format of the bootstrap data is %q, and may be %s", data.Format, strings.Join(formats, " or ")),
		}
	}
	if err := p.write(bootstrapFile+data.Format, data.Data, 0o600); err != nil {
		return err
	}
	return p.remove(resetFile) // A host that is bootstrapped was not just reset.
}

// canonical returns the request's one form, if it is an object or nothing.
func canonical(request ports.Request) ([]byte, error) {
	text, err := core.CanonicalJSON(request.OSVersion)
	if err != nil {
		return nil, core.Failure{Class: core.FailureInvalid, Message: err.Error(), Path: "osVersionManagement"}
	}
	if request.Hash != "" && text[0] != '{' {
		return nil, core.Failure{Class: core.FailureInvalid, Message: "it must be an object", Path: "osVersionManagement"}
	}
	return text, nil
}

// version names a request by the beginning of its hash.
func version(text []byte) core.Version {
	hash, err := core.HashRequest(text)
	if err != nil || hash == "" {
		return core.Version{}
	}
	return core.Version{Version: hash[:12]}
}
