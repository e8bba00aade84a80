package dummy

import (
	"encoding/json"
	"errors"
	"path/filepath"

	"elemental/adapters/plugin/durable"
	"elemental/core"
	"elemental/ports"
)

// Files in the work dir that hold what the plugin was asked besides.
const (
	cloudConfigFile = "cloud-config.json"
	resetFile       = "reset.json"
)

// resetting is how far a reset has come, and what it was asked with.
type resetting struct {
	Stage   core.ResetStage `json:"stage"`
	Options json.RawMessage `json:"options,omitempty"`
	Keep    []string        `json:"keep,omitempty"`
}

// resetStage is how far the last reset has come.
func (p *Plugin) resetStage() (core.ResetStage, error) {
	var r resetting
	_, err := durable.ReadJSON(filepath.Join(p.folder, resetFile), &r)
	if errors.Is(err, durable.ErrDamaged) {
		return core.ResetNone, nil
	}
	return r.Stage, err
}

func (p *Plugin) triggerReset(request ports.Request) error {
	return durable.WriteJSON(filepath.Join(p.folder, resetFile), resetting{
		Stage: core.ResetUnderWay, Options: request.Options, Keep: request.Keep,
	})
}

// reset forgets all that the plugin was asked.
func (p *Plugin) reset() error {
	names := []string{Requested, cloudConfigFile}
	for _, format := range formats {
		names = append(names, bootstrapFile+format)
	}
	if err := p.remove(names...); err != nil {
		return err
	}
	return durable.WriteJSON(filepath.Join(p.folder, resetFile), resetting{Stage: core.ResetDone})
}

// installCloudConfig writes a cloud config down, which is secret; nil takes the one before away.
func (p *Plugin) installCloudConfig(config []byte) error {
	if config == nil {
		return p.remove(cloudConfigFile)
	}
	return p.write(cloudConfigFile, config, 0o600)
}
