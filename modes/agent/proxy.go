package agent

import (
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"

	"elemental/modes/agentfile"
)

// How programs are told of proxies.
const (
	variableHTTP  = "HTTP_PROXY"
	variableHTTPS = "HTTPS_PROXY"
	variableNo    = "NO_PROXY"
)

// publish makes the configured proxies those of this process and of all that it starts. It is to be called before
// anything is connected to, since the environment is looked at once. What is configured takes the place of all that the
// environment says, so that nobody has to know how the two would mix.
func publish(p agentfile.Proxy) error {
	if p == (agentfile.Proxy{}) {
		return nil
	}
	for _, variable := range []struct{ name, value string }{{variableHTTP, p.HTTP}, {variableHTTPS, p.HTTPS}, {variableNo, p.No}} {
		for _, spelling := range []string{variable.name, strings.ToLower(variable.name)} {
			if err := os.Unsetenv(spelling); err != nil {
				return fmt.Errorf("removing %s from the environment: %w", spelling, err)
			}
		}
		if variable.value == "" {
			continue
		}
		if err := os.Setenv(variable.name, variable.value); err != nil {
			return fmt.Errorf("handing on agent.proxy by %s: %w", variable.name, err)
		}
	}
	return nil
}

// warnOfProxies says which proxy of the environment is the agent's alone: one with a user name and a password is not
// handed on.
func warnOfProxies(log *slog.Logger) {
	names := slices.DeleteFunc([]string{variableHTTP, variableHTTPS}, func(name string) bool { return !strings.Contains(os.Getenv(name), "@") })
	if len(names) > 0 {
		log.Warn("a proxy of the agent's environment holds a user name, and is not handed to plugins", "variables", strings.Join(names, ","))
	}
}
