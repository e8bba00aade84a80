package hosts

import (
	"cmp"
	"fmt"

	"sigs.k8s.io/yaml"
)

// Config is what a host is told about its cluster and about images.
type Config struct {
	Host, Namespace string
	Kubeconfig      string // its content
	// Registration is what a host is told that joins by itself: the fields of the agent's configuration. It has no
	// Kubeconfig.
	Registration map[string]string
	// Hostname says how it wishes to be named, in the words of the agent's configuration.
	Hostname      map[string]any
	Plugin        string // image where it is empty
	Registry      string // host:port of a registry that is spoken to without TLS
	HealthTimeout string // how long a trial may take to be healthy; a minute where it is empty
	Debug         bool
	Mounts        map[string]string // folders of this machine that the host has as its own, by their path in it
	// Printed is the agent's configuration as the command line printed it, in place of all of the above.
	Printed string
}

// where the files of a host lie, below /etc.
const (
	agentFile      = "elemental/agent.yaml"
	imageFile      = "elemental/image.yaml"
	kubeconfigFile = "elemental/kubeconfig"
)

// Etc writes the files of a host's /etc.
func (c Config) Etc() (map[string]string, error) {
	agent, err := c.agent("/etc/"+kubeconfigFile, "/var/lib/elemental/agent", "logind")
	if err != nil {
		return nil, err
	}
	image, err := imageConfig(c.Registry, cmp.Or(c.HealthTimeout, "1m"))
	if err != nil {
		return nil, err
	}
	return map[string]string{agentFile: agent, imageFile: image, kubeconfigFile: c.Kubeconfig}, nil
}

// imageConfig writes the image plugin's own file.
func imageConfig(registry, healthTimeout string) (string, error) {
	text, err := yaml.Marshal(map[string]any{
		"root": "/elemental", "boot": "/boot", "kernel": "none", "tries": 3, "healthTimeout": healthTimeout,
		"plainHTTP": []string{registry},
	})
	if err != nil {
		return "", fmt.Errorf("writing %s: %w", imageFile, err)
	}
	return string(text), nil
}

// agent writes the agent's own file. A host restarts by logind or, where it is only a process, by exit.
func (c Config) agent(kubeconfig, workDir, restart string) (string, error) {
	if c.Printed != "" {
		return c.Printed, nil
	}
	plugin := c.Plugin
	if plugin == "" {
		plugin = "image"
	}
	settings := map[string]any{"workDir": workDir, "osPlugin": plugin, "maxAttempts": 3, "debug": c.Debug, "restart": restart}
	document := map[string]any{"agent": settings}
	if c.Registration == nil {
		document["cluster"] = map[string]any{"kubeconfig": kubeconfig, "namespace": c.Namespace, "host": c.Host}
	} else {
		document["registration"], settings["hostname"] = c.Registration, c.Hostname
	}
	text, err := yaml.Marshal(document)
	if err != nil {
		return "", fmt.Errorf("writing %s: %w", agentFile, err)
	}
	return string(text), nil
}
