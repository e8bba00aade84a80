// Package agentfile reads the file by which a host configures its agent.
package agentfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"elemental/core"
	"elemental/modes/settings"
)

// Config is the host's own word on its agent. Nothing remote changes it.
type Config struct {
	Cluster      Cluster      `yaml:"cluster"`
	Registration Registration `yaml:"registration"`
	Agent        Agent        `yaml:"agent"`

	// File is the whole path that it was read from.
	File string `yaml:"-"`
}

// Registration is what a registration hands to hosts that join by themselves. The token is secret.
type Registration struct {
	Server               string `yaml:"server"`
	CertificateAuthority string `yaml:"certificateAuthority"` // PEM
	Namespace            string `yaml:"namespace"`
	Name                 string `yaml:"name"`
	Token                string `yaml:"token"`
}

// Cluster says where the host's object is, and as whom to ask for it.
type Cluster struct {
	Kubeconfig string `yaml:"kubeconfig"`
	Namespace  string `yaml:"namespace"`
	Host       string `yaml:"host"`
}

// Agent says how the agent works.
type Agent struct {
	WorkDir     string `yaml:"workDir"`
	OSPlugin    string `yaml:"osPlugin"`
	MaxAttempts int    `yaml:"maxAttempts"`
	Debug       bool   `yaml:"debug"`
	// Restart is how the host restarts: logind on a machine, exit where the host is a plain process whose
	// parent starts it again.
	Restart string `yaml:"restart"`

	Hostname Hostname `yaml:"hostname"`
	Proxy    Proxy    `yaml:"proxy"`
	// What follows an installation and a reset.
	PostInstall Power `yaml:"postInstall"`
	PostReset   Power `yaml:"postReset"`
	// BootstrapTimeout is how long bootstrapping may take before the host says that it has failed.
	BootstrapTimeout time.Duration `yaml:"bootstrapTimeout"`
	// NoSMBIOS keeps the serial number of the hardware from the cluster.
	NoSMBIOS bool `yaml:"noSmbios"`
}

// Hostname says how a host that joins wishes to be named.
type Hostname struct {
	UseExisting bool   `yaml:"useExisting"`
	Prefix      string `yaml:"prefix"`
}

// Power says how a boot ends that has done its work.
type Power struct {
	PowerOff bool `yaml:"powerOff"`
	Reboot   bool `yaml:"reboot"`
}

// Ending is what both say together: a host that is off can't restart.
func (p Power) Ending() core.Ending {
	switch {
	case p.PowerOff:
		return core.EndingPowerOff
	case p.Reboot:
		return core.EndingReboot
	default:
		return core.EndingNone
	}
}

// Belongings are the paths of what makes this host itself, and must outlive its reset.
func (c Config) Belongings() []string {
	kept := []string{filepath.Dir(c.File), c.Agent.IdentityFolder(), c.Agent.JournalFile()}
	if c.Cluster.Kubeconfig != "" {
		kept = append(kept, c.Cluster.Kubeconfig)
	}
	return kept
}

// IdentityFolder holds the host's key, and who it is in the cluster that it has joined by itself.
func (a Agent) IdentityFolder() string { return filepath.Join(a.WorkDir, "identity") }

// JournalFile is the agent's memory.
func (a Agent) JournalFile() string { return filepath.Join(a.WorkDir, "journal.json") }

// Path is where the units of packaging/systemd look for the file.
const Path = "/etc/elemental/agent.yaml"

// Connected is the file that is there when the agent has reached its cluster in this boot, for the health check.
const Connected = "/run/elemental/connected"

// workDir is where the agent works unless the file says otherwise.
const workDir = "/var/lib/elemental/agent"

// The ways to restart.
const (
	RestartLogind = "logind"
	RestartExit   = "exit"
)

// Joins says whether the host joins its cluster by itself.
func (c Config) Joins() bool { return c.Registration != Registration{} }

// RegistrationNow is what the file says now: an operator may hand the host another registration while the agent runs.
func (c Config) RegistrationNow() (Registration, error) {
	now, err := Read(c.File)
	if err == nil && !now.Joins() {
		err = fmt.Errorf("reading the agent's configuration %s: registration is not there any more; put it back, or restart the agent", c.File)
	}
	return now.Registration, err
}

func (r Registration) complete() bool {
	return r.Server != "" && r.Namespace != "" && r.Name != "" && r.Token != ""
}

// Read reads the file. One that is missing is an fs.ErrNotExist. An unknown field is an error: a mistyped one must not
// be a default.
func Read(path string) (Config, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Config{}, fmt.Errorf("reading the agent's configuration: %w; where the cluster is at hand, elemental registration config NAME prints what a host that joins by itself needs there", err)
	}
	if err != nil {
		return Config{}, fmt.Errorf("reading the agent's configuration: %w", err)
	}
	config, err := parse(text)
	if err != nil {
		return Config{}, fmt.Errorf("reading the agent's configuration %s: %w", path, err)
	}
	// What makes this host itself lies beside it, and is named to the plugin as a whole path.
	if config.File, err = filepath.Abs(path); err != nil {
		return Config{}, fmt.Errorf("reading the agent's configuration %s: %w", path, err)
	}
	return config, nil
}

func parse(text []byte) (Config, error) {
	config := Config{
		Cluster: Cluster{Namespace: "default"},
		Agent: Agent{
			WorkDir: workDir, OSPlugin: "image",
			MaxAttempts: core.DefaultLimits().Attempts, Restart: RestartLogind, BootstrapTimeout: core.DefaultLimits().BootstrapSucceeds,
		},
	}
	if err := settings.Decode(text, &config); err != nil {
		return Config{}, err
	}
	switch {
	case config.Joins() && config.Cluster.Kubeconfig != "":
		return Config{}, errors.New("both cluster.kubeconfig and registration are there: a host has its identity by hand, or joins by itself")
	case config.Joins() && !config.Registration.complete():
		return Config{}, errors.New("registration is incomplete: it needs server, namespace, name and token; elemental registration config NAME prints it whole")
	case config.Joins() && !strings.HasPrefix(config.Registration.Server, "https://"):
		return Config{}, fmt.Errorf("registration.server is %q: it must begin with https://", config.Registration.Server)
	case !config.Joins() && config.Cluster.Kubeconfig == "":
		return Config{}, errors.New("cluster.kubeconfig is missing: name the file with this host's identity, or let the host join by a registration")
	case !config.Joins() && config.Cluster.Host == "":
		return Config{}, errors.New("cluster.host is missing: name this host's ElementalHost")
	case config.Agent.Proxy.check() != nil:
		return Config{}, config.Agent.Proxy.check()
	case config.Agent.MaxAttempts < 1:
		return Config{}, fmt.Errorf("agent.maxAttempts is %d: it must be at least 1", config.Agent.MaxAttempts)
	case config.Agent.BootstrapTimeout < time.Second:
		return Config{}, fmt.Errorf("agent.bootstrapTimeout is %s: it must be at least 1s, such as 30m", config.Agent.BootstrapTimeout)
	case config.Agent.Restart != RestartLogind && config.Agent.Restart != RestartExit:
		return Config{}, fmt.Errorf("agent.restart is %q: it must be %s or %s", config.Agent.Restart, RestartLogind, RestartExit)
	}
	return config, nil
}
