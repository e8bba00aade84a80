package cloudinit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"elemental/adapters/plugin/durable"
	"elemental/ports"
)

// The formats of bootstrap data, as Cluster API names them.
const (
	formatCloudConfig = "cloud-config"
	formatIgnition    = "ignition"
)

// folder holds what is remembered of bootstrapping.
const folder = "/var/lib/elemental/bootstrap"

// appliedFile says that bootstrap data was applied. It is written after all else.
const appliedFile = folder + "/applied.json"

// application is what is remembered of bootstrap data that was applied. The data themselves are not in it.
type application struct {
	Format   string `json:"format"`
	Instance string `json:"instance"` // what cloud-init knows this bootstrapping by
}

// applied says whether bootstrap data was applied, and all of them are still there. Who takes the seed away lets the
// host be bootstrapped anew.
func (p *Plugin) applied() (bool, error) {
	var a application
	found, err := durable.ReadJSON(p.path(appliedFile), &a)
	if errors.Is(err, durable.ErrDamaged) {
		return false, nil
	}
	if err != nil || !found || a.Format != formatCloudConfig {
		return found, err
	}
	return p.seeded(a.Instance)
}

// bootstrap applies bootstrap data. Whenever it is killed, nothing says that it was applied until it is asked for again.
func (p *Plugin) bootstrap(ctx context.Context, request ports.Request, then func() error) error {
	data := request.Bootstrap
	if data == nil {
		return failed("NoBootstrapData", "the request to bootstrap holds no bootstrap data")
	}
	if len(strings.TrimSpace(string(data.Data))) == 0 {
		return failed("NoBootstrapData", "the bootstrap data is empty: see what the bootstrap provider wrote into the Secret of the machine")
	}
	apply := p.seed
	switch data.Format {
	case formatCloudConfig:
	case formatIgnition:
		apply = p.ignite
	default:
		return failed("UnknownBootstrapFormat", "the format of the bootstrap data is %q, and may be %s or %s", data.Format, formatCloudConfig, formatIgnition)
	}
	if err := p.forget(); err != nil {
		return err
	}
	instance := instanceOf(request.Host, data.Data)
	if err := apply(ctx, request.Host, instance, data.Data); err != nil {
		return err
	}
	if err := then(); err != nil {
		return err
	}
	return durable.WriteJSON(p.path(appliedFile), application{Format: data.Format, Instance: instance})
}

// forget takes back that bootstrap data was applied.
func (p *Plugin) forget() error {
	if err := os.MkdirAll(p.path(folder), 0o700); err != nil {
		return fmt.Errorf("making %s: %w", folder, err)
	}
	err := os.Remove(p.path(appliedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = durable.SyncFolder(p.path(folder))
	}
	if err != nil {
		return fmt.Errorf("forgetting what was applied before: %w", err)
	}
	return nil
}

// instanceOf names a bootstrapping by its host and its data, so that asking twice is one.
func instanceOf(host string, data []byte) string {
	sum := sha256.New()
	fmt.Fprintf(sum, "%d %s ", len(host), host)
	_, _ = sum.Write(data) // It can't fail.
	return "elemental-" + hex.EncodeToString(sum.Sum(nil)[:16])
}

// makeFolders makes a folder of the system with those above it, readable by everyone where they are new.
func (p *Plugin) makeFolders(name string) error {
	above := filepath.Dir(name)
	if exists(p.path(name)) {
		return nil
	}
	if above != name {
		if err := p.makeFolders(above); err != nil {
			return err
		}
	}
	if err := os.Mkdir(p.path(name), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("making a folder: %w", err)
	}
	// The plugin may run with a mask that keeps others out of what it makes.
	if err := os.Chmod(p.path(name), 0o755); err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
