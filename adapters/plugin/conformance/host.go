package conformance

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"elemental/core"
	"elemental/ports"
)

// without says why a verb that changes the machine is not asked for.
func (r *run) without(verb core.Verb, allowed bool, flag string) func() string {
	return func() string {
		switch {
		case !slices.Contains(r.description.Verbs, verb):
			return fmt.Sprintf("it does not have the verb %s", verb)
		case !allowed:
			return flag + " was not given"
		default:
			return r.elsewhere()
		}
	}
}

// names lets the plugin name this machine as it is named, twice.
func (r *run) names(ctx context.Context) error {
	name, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("asking this machine for its name: %w", err)
	}
	if strings.Contains(name, ".") || strings.ToLower(name) != name {
		return notHere{fmt.Sprintf("this machine is called %q, which no host may be", name)}
	}
	for range 2 {
		if _, err := r.call(ctx, core.VerbSetHostname, ports.Request{Host: "test", Hostname: name}); err != nil {
			return err
		}
	}
	now, err := os.Hostname()
	if err == nil && now != name {
		return fmt.Errorf("it was told the name %q, and this machine is called %q", name, now)
	}
	return err
}

// configures lets the plugin install a cloud config that changes nothing, twice, and take it away, twice. It may show
// none of it.
func (r *run) configures(ctx context.Context) error {
	secret := rand.Text()
	for _, config := range [][]byte{[]byte(`{"elemental_test":"` + secret + `"}`), nil} {
		for range 2 {
			request, err := r.Plugin.Request(core.VerbInstallCloudConfig, ports.Request{Host: "test", CloudConfig: config})
			if err != nil {
				return err
			}
			x, _, err := r.send(ctx, string(core.VerbInstallCloudConfig), request, nil)
			if strings.Contains(x.Log+strings.Join(x.Lines, "\n"), secret) {
				return errors.New("it showed the cloud config, which is secret")
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// resets goes through a reset. One that needs a restart in between is ended by the next run.
func (r *run) resets(ctx context.Context) error {
	now, err := r.observe(ctx, nil)
	if err != nil {
		return err
	}
	if now.Reset != core.ResetUnderWay {
		if now, err = r.resetStage(ctx, core.VerbTriggerReset, core.ResetUnderWay); err != nil {
			return err
		}
		if now.NeedsRestart {
			return notHere{"it has begun the reset, which needs a restart: restart this machine, and test once more"}
		}
	}
	if now, err = r.resetStage(ctx, core.VerbReset, core.ResetDone); err != nil {
		return err
	}
	if now.Primed {
		return errors.New("it has reset this machine, and says that bootstrap data is applied")
	}
	return nil
}

// resetStage asks for a verb twice, and wants to see where the reset stands then.
func (r *run) resetStage(ctx context.Context, verb core.Verb, want core.ResetStage) (o ports.Observation, err error) {
	for range 2 {
		if _, err = r.call(ctx, verb, ports.Request{Host: "test"}); err != nil {
			return o, err
		}
		if o, err = r.observe(ctx, nil); err != nil {
			return o, fmt.Errorf("after %s, observe answers: %w", verb, err)
		}
		if o.Reset != want {
			return o, fmt.Errorf("after %s, its reset is %q, and must be %q", verb, o.Reset, want)
		}
	}
	return o, nil
}
