package agentfile

import (
	"fmt"
	"net/url"
	"strings"
)

// Proxy says through which proxies the host reaches its cluster, and its plugins reach their sources. With none of
// it said, the agent's environment says it.
type Proxy struct {
	HTTP  string `yaml:"http"`
	HTTPS string `yaml:"https"`
	No    string `yaml:"no"` // names, domains and networks that are reached without, separated by commas
}

func (p Proxy) check() error {
	for _, named := range []struct{ field, address string }{{"http", p.HTTP}, {"https", p.HTTPS}} {
		if err := checkProxy(named.address); err != nil {
			return fmt.Errorf("agent.proxy.%s %w", named.field, err)
		}
	}
	for name := range strings.SplitSeq(p.No, ",") {
		if name = strings.TrimSpace(name); p.No != "" && (name == "" || strings.ContainsAny(name, " \t\n/@") && !isNetwork(name)) {
			return fmt.Errorf("agent.proxy.no has %q: write names, domains and networks with commas between them, such as \"example.com,.example.org,10.0.0.0/8\"", name)
		}
	}
	return nil
}

// isNetwork says whether a text looks as 10.0.0.0/8 does. What it is exactly, whoever reads the variable looks at.
func isNetwork(text string) bool {
	return strings.Count(text, "/") == 1 && strings.Trim(text, "0123456789abcdefABCDEF.:/") == ""
}

// checkProxy says what is wrong with the address of a proxy, and never the address itself: it may hold a password.
func checkProxy(address string) error {
	if address == "" {
		return nil
	}
	// This comes first, since what can't be parsed may hold a password, too.
	if strings.Contains(address, "@") {
		return fmt.Errorf("holds a user name: programs get a proxy by their environment, which is no place for a password; " +
			"let a proxy on this host log in to that one, or let that one know this host by its address")
	}
	parsed, err := url.Parse(address)
	switch {
	case err != nil:
		return fmt.Errorf("is no address: write it as http://proxy.example.com:3128")
	case parsed.Scheme != "http" && parsed.Scheme != "https" || parsed.Hostname() == "":
		return fmt.Errorf("is %q: it must begin with http:// or https:// and name a host, such as http://proxy.example.com:3128", address)
	case strings.Trim(parsed.Path, "/") != "" || parsed.RawQuery != "" || parsed.Fragment != "":
		return fmt.Errorf("is %q: nothing may follow the host and the port", address)
	}
	return nil
}
