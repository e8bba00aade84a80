package cloudinit

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"

	"golang.org/x/sys/unix"

	"elemental/adapters/plugin/durable"
	"elemental/ports"
)

const (
	hostnameFile = "/etc/hostname"
	// cloudConfigFile is the registration's word to cloud-init. It is secret.
	cloudConfigFile = configFolder + "/90-elemental.cfg"
)

// The longest names, in bytes.
const (
	longestName     = 253 // of DNS
	longestHostname = 64  // that Linux gives a host
)

// checkHostname refuses what Linux can't name a host, or should not.
func checkHostname(name string) error { return checkName(name, longestHostname) }

// checkName refuses what is no name of RFC 1123, which is one label or several with dots between them, and what is
// longer than a number of bytes.
func checkName(name string, longest int) error {
	const label = `[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?`
	if len(name) > longest || !regexp.MustCompile(`^`+label+`(\.`+label+`)*$`).MatchString(name) {
		return failed("InvalidHostname", "%q can't name a host: use at most %d of the characters a-z, 0-9, - and ., at most 63 between dots, with no - or . at either end of these", name, longest)
	}
	return nil
}

// Files are the files by which a system that never ran has its name and the cloud config of its registration from its
// first boot on, as a system that runs gets them. Either may be empty.
func Files(hostname string, cloudConfig []byte) ([]ports.File, error) {
	var files []ports.File
	if hostname != "" {
		if err := checkHostname(hostname); err != nil {
			return nil, err
		}
		files = append(files, hostnameFor(hostname))
	}
	if len(cloudConfig) > 0 {
		if err := checkCloudConfig(cloudConfig); err != nil {
			return nil, err
		}
		files = append(files, cloudConfigFor(cloudConfig))
	}
	return files, nil
}

// hostnameFor is read by everyone.
func hostnameFor(name string) ports.File {
	return ports.File{Path: hostnameFile, Mode: 0o644, Data: []byte(name + "\n")}
}

func cloudConfigFor(config []byte) ports.File {
	return ports.File{Path: cloudConfigFile, Mode: 0o600, Data: slices.Concat(config, []byte("\n"))}
}

// checkCloudConfig refuses what is no object.
func checkCloudConfig(config []byte) error {
	var object map[string]json.RawMessage
	if json.Unmarshal(config, &object) != nil || object == nil {
		return failed("InvalidCloudConfig", "the cloud config of the registration is no object")
	}
	return nil
}

// write puts a file in its place, whatever mask the plugin has.
func (p *Plugin) write(f ports.File) error {
	if err := durable.WriteFile(p.path(f.Path), f.Data, os.FileMode(f.Mode)); err != nil {
		return err
	}
	if err := os.Chmod(p.path(f.Path), os.FileMode(f.Mode)); err != nil {
		return fmt.Errorf("saying who may read %s: %w", f.Path, err)
	}
	return nil
}

// setHostname names the host for its next boots and, where it is the one that runs, for this one.
func (p *Plugin) setHostname(name string) error {
	if err := checkHostname(name); err != nil {
		return err
	}
	if err := p.makeFolders("/etc"); err != nil {
		return err
	}
	if err := p.write(hostnameFor(name)); err != nil {
		return err
	}
	if !p.real() {
		return nil
	}
	if err := unix.Sethostname([]byte(name)); err != nil {
		return fmt.Errorf("naming the host that runs %q: %w", name, err)
	}
	return nil
}

// installCloudConfig puts the registration's cloud config in place of the one before; nil takes that away.
func (p *Plugin) installCloudConfig(config []byte) error {
	if config == nil {
		err := os.Remove(p.path(cloudConfigFile))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("removing the cloud config: %w", err)
		}
		return durable.SyncFolder(p.path(configFolder))
	}
	if err := p.checkCloudInit(); err != nil {
		return err
	}
	if err := checkCloudConfig(config); err != nil {
		return err
	}
	if err := p.makeFolders(configFolder); err != nil {
		return err
	}
	return p.write(cloudConfigFor(config))
}

// installedCloudConfig is the registration's cloud config as it was installed last; nil when there is none.
func (p *Plugin) installedCloudConfig() (map[string]json.RawMessage, error) {
	var config map[string]json.RawMessage
	if _, err := durable.ReadJSON(p.path(cloudConfigFile), &config); err != nil {
		return nil, fmt.Errorf("reading the registration's cloud config: %w", err)
	}
	return config, nil
}
