package cloudinit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"elemental/adapters/plugin/durable"
)

// Where cloud-init looks for what it is told.
const (
	seedFolder   = "/var/lib/cloud/seed/nocloud"
	configFolder = "/etc/cloud/cloud.cfg.d"
)

// Files of the host by which its administrator, or the maker of its image, says something of cloud-init.
const disabledFile = "/etc/cloud/cloud-init.disabled"

// sourceFile tells cloud-init to look nowhere but into the seed. Its name comes after those of other files, so that it
// wins over them. The list stands on one line, or the program that enables cloud-init at boot can't read it.
const (
	sourceFile = configFolder + "/zz-elemental-bootstrap.cfg"
	source     = `# Written by Elemental when this host was bootstrapped: cloud-init is to take its data from ` + seedFolder + `.
datasource_list: [ NoCloud, None ]
datasource: {NoCloud: {fs_label: null}}
manual_cache_clean: false
`
)

// sourceFor is what cloud-init is told of where to look, on a host of this name. By itself it would name a system after the
// first label alone, and the system's name is that of the Node which Cluster API looks for.
func sourceFor(host string) string {
	if strings.Contains(host, ".") && len(host) <= longestHostname {
		return source + "prefer_fqdn_over_hostname: true\n"
	}
	return source
}

// keepNetwork tells cloud-init to leave the network as it is: the data came by it. Cloud configs that say how
// the network is to be come first.
const keepNetwork = "config: disabled\n"

// metadata is what cloud-init is told of its instance.
type metadata struct {
	Instance string `json:"instance-id"`
	Hostname string `json:"local-hostname"`
}

// seed lays bootstrap data down, so that cloud-init takes the host for a new instance at its next boot.
func (p *Plugin) seed(_ context.Context, host, instance string, data []byte) error {
	if err := p.checkCloudInit(); err != nil {
		return err
	}
	if err := checkName(host, longestName); err != nil {
		return err
	}
	config, err := p.installedCloudConfig()
	if err != nil {
		return err
	}
	user, err := userData(data, config, instance)
	if err != nil {
		return err
	}
	about, err := json.Marshal(metadata{Instance: instance, Hostname: host})
	if err != nil {
		return fmt.Errorf("writing the instance's metadata: %w", err)
	}
	for _, name := range []string{filepath.Dir(seedFolder), configFolder} {
		if err := p.makeFolders(name); err != nil {
			return err
		}
	}
	if err := p.replaceSeed(map[string][]byte{"meta-data": append(about, '\n'), "user-data": user, "network-config": []byte(keepNetwork)}); err != nil {
		return err
	}
	// It comes after the seed: cloud-init would else look for its data where there are none, and take the host for a new
	// instance that is told nothing.
	return durable.WriteFile(p.path(sourceFile), []byte(sourceFor(host)), 0o600)
}

// checkCloudInit says why this host could not be bootstrapped by cloud-init.
func (p *Plugin) checkCloudInit() error {
	if _, found := p.find("/usr/bin/cloud-init", "/usr/local/bin/cloud-init", "/usr/sbin/cloud-init", "/bin/cloud-init"); !found {
		return failed("CloudInitMissing", "there is no cloud-init on this host, which must apply the bootstrap data: add the package cloud-init to the host's image, or install it")
	}
	if exists(p.path(disabledFile)) {
		return failed("CloudInitDisabled", "cloud-init is disabled on this host by the file %s: remove it, so that cloud-init can apply the bootstrap data", disabledFile)
	}
	return nil
}

// replaceSeed puts a new seed in place of one that is there. Between the two there may be none, and never a part of one.
func (p *Plugin) replaceSeed(files map[string][]byte) error {
	// Nothing else looks at this name.
	half := p.path(filepath.Join(filepath.Dir(seedFolder), ".elemental-nocloud"))
	if err := os.RemoveAll(half); err != nil {
		return fmt.Errorf("removing what an earlier attempt left: %w", err)
	}
	if err := os.Mkdir(half, 0o700); err != nil {
		return fmt.Errorf("making the seed: %w", err)
	}
	for name, text := range files {
		if err := durable.WriteFile(filepath.Join(half, name), text, 0o600); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(p.path(seedFolder)); err != nil {
		return fmt.Errorf("removing the seed before: %w", err)
	}
	if err := os.Rename(half, p.path(seedFolder)); err != nil {
		return fmt.Errorf("putting the seed in place: %w", err)
	}
	return durable.SyncFolder(filepath.Dir(p.path(seedFolder)))
}

// seeded says whether the seed of an instance is there, and cloud-init told to look for it.
func (p *Plugin) seeded(instance string) (bool, error) {
	text, err := os.ReadFile(p.path(seedFolder + "/meta-data"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading the seed: %w", err)
	}
	var about metadata
	if json.Unmarshal(text, &about) != nil {
		return false, nil // Somebody else's, which may be any YAML.
	}
	return about.Instance == instance && exists(p.path(sourceFile)), nil
}
