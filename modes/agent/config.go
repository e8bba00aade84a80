package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"elemental/core"
	"elemental/modes/settings"
)

// Config is the host's own word on its agent. Nothing remote changes it.
type Config struct {
	Cluster      clusterConfig      `yaml:"cluster"`
	Registration registrationConfig `yaml:"registration"`
	Agent        agentConfig        `yaml:"agent"`

	file string // that it was read from
}

// registrationConfig is what a registration hands to hosts that join by themselves. The token is secret.
type registrationConfig struct {
	Server               string `yaml:"server"`
	CertificateAuthority string `yaml:"certificateAuthority"` // PEM
	Namespace            string `yaml:"namespace"`
	Name                 string `yaml:"name"`
	Token                string `yaml:"token"`
}

// clusterConfig says where the host's object is, and as whom to ask for it.
type clusterConfig struct {
	Kubeconfig string `yaml:"kubeconfig"`
	Namespace  string `yaml:"namespace"`
	Host       string `yaml:"host"`
}

// agentConfig says how the agent works.
type agentConfig struct {
	WorkDir     string `yaml:"workDir"`
	OSPlugin    string `yaml:"osPlugin"`
	MaxAttempts int    `yaml:"maxAttempts"`
	Debug       bool   `yaml:"debug"`
	// Restart is how the host restarts: logind on a machine, exit where the host is a plain process whose
	// parent starts it again.
	Restart string `yaml:"restart"`

	Hostname hostnameConfig `yaml:"hostname"`
	Proxy    proxyConfig    `yaml:"proxy"`
	// What follows an installation and a reset.
	PostInstall powerConfig `yaml:"postInstall"`
	PostReset   powerConfig `yaml:"postReset"`
	// BootstrapTimeout is how long bootstrapping may take before the host says that it has failed.
	BootstrapTimeout time.Duration `yaml:"bootstrapTimeout"`
	// NoSMBIOS keeps the serial number of the hardware from the cluster.
	NoSMBIOS bool `yaml:"noSmbios"`
}

// hostnameConfig says how a host that joins wishes to be named.
type hostnameConfig struct {
	UseExisting bool   `yaml:"useExisting"`
	Prefix      string `yaml:"prefix"`
}

// powerConfig says how a boot ends that has done its work.
type powerConfig struct {
	PowerOff bool `yaml:"powerOff"`
	Reboot   bool `yaml:"reboot"`
}

// ending is what both say together: a host that is off can't restart.
func (p powerConfig) ending() core.Ending {
	switch {
	case p.PowerOff:
		return core.EndingPowerOff
	case p.Reboot:
		return core.EndingReboot
	default:
		return core.EndingNone
	}
}

// belongings are what makes this host itself, and must outlive its reset.
func (c Config) belongings() []string {
	kept := []string{filepath.Dir(c.file), filepath.Join(c.Agent.WorkDir, "identity"), filepath.Join(c.Agent.WorkDir, "journal.json")}
	if c.Cluster.Kubeconfig != "" {
		kept = append(kept, c.Cluster.Kubeconfig)
	}
	return kept
}

// The ways to restart.
const (
	restartLogind = "logind"
	restartExit   = "exit"
)

// joins says whether the host joins its cluster by itself.
func (c Config) joins() bool { return c.Registration != registrationConfig{} }

// registration is what the configuration says now: an operator may hand the host another one while the agent runs.
func (c Config) registration() (registrationConfig, error) {
	now, err := ReadConfig(c.file)
	if err == nil && !now.joins() {
		err = fmt.Errorf("reading the agent's configuration %s: registration is not there any more; put it back, or restart the agent", c.file)
	}
	return now.Registration, err
}

func (r registrationConfig) complete() bool {
	return r.Server != "" && r.Namespace != "" && r.Name != "" && r.Token != ""
}

// ReadConfig reads a configuration file. An unknown field is an error: a mistyped one must not be a default.
func ReadConfig(path string) (Config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("reading the agent's configuration: %w", err)
	}
	config, err := parseConfig(text)
	if err != nil {
		return Config{}, fmt.Errorf("reading the agent's configuration %s: %w", path, err)
	}
	// What makes this host itself lies beside it, and is named to the plugin as a whole path.
	if config.file, err = filepath.Abs(path); err != nil {
		return Config{}, fmt.Errorf("reading the agent's configuration %s: %w", path, err)
	}
	return config, nil
}

func parseConfig(text []byte) (Config, error) {
	config := Config{
		Cluster: clusterConfig{Namespace: "default"},
		Agent: agentConfig{
			WorkDir: "/var/lib/elemental/agent", OSPlugin: "image",
			MaxAttempts: core.DefaultLimits().Attempts, Restart: restartLogind, BootstrapTimeout: core.DefaultLimits().BootstrapSucceeds,
		},
	}
	if err := settings.Decode(text, &config); err != nil {
		return Config{}, err
	}
	switch {
	case config.joins() && config.Cluster.Kubeconfig != "":
		return Config{}, errors.New("both cluster.kubeconfig and registration are there: a host has its identity by hand, or joins by itself")
	case config.joins() && !config.Registration.complete():
		return Config{}, errors.New("registration is incomplete: it needs server, namespace, name and token; elemental registration config NAME prints it whole")
	case config.joins() && !strings.HasPrefix(config.Registration.Server, "https://"):
		return Config{}, fmt.Errorf("registration.server is %q: it must begin with https://", config.Registration.Server)
	case !config.joins() && config.Cluster.Kubeconfig == "":
		return Config{}, errors.New("cluster.kubeconfig is missing: name the file with this host's identity, or let the host join by a registration")
	case !config.joins() && config.Cluster.Host == "":
		return Config{}, errors.New("cluster.host is missing: name this host's ElementalHost")
	case config.Agent.Proxy.check() != nil:
		return Config{}, config.Agent.Proxy.check()
	case config.Agent.MaxAttempts < 1:
		return Config{}, fmt.Errorf("agent.maxAttempts is %d: it must be at least 1", config.Agent.MaxAttempts)
	case config.Agent.BootstrapTimeout < time.Second:
		return Config{}, fmt.Errorf("agent.bootstrapTimeout is %s: it must be at least 1s, such as 30m", config.Agent.BootstrapTimeout)
	case config.Agent.Restart != restartLogind && config.Agent.Restart != restartExit:
		return Config{}, fmt.Errorf("agent.restart is %q: it must be %s or %s", config.Agent.Restart, restartLogind, restartExit)
	}
	return config, nil
}
