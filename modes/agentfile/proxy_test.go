package agentfile

import (
	"strings"
	"testing"

	"github.com/matryer/is"
)

func TestProxiesThatCanNotBeMeantAreErrors(t *testing.T) {
	const canary = "canary-password"
	for proxy, says := range map[string]string{
		"{https: 'proxy.example.com:3128'}":                                    "agent.proxy.https is",
		"{https: 'proxy'}":                                                     "must begin with http:// or https://",
		"{http: 'socks5://proxy.example.com'}":                                 "must begin with http:// or https://",
		"{http: 'http://'}":                                                    "name a host",
		"{http: 'http://proxy.example.com/path'}":                              "nothing may follow",
		"{http: 'http://proxy.example.com?a=b'}":                               "nothing may follow",
		"{http: 'http://%zz'}":                                                 "agent.proxy.http is no address",
		"{https: 'http://user:" + canary + "@proxy.example.com'}":              "agent.proxy.https holds a user name",
		"{https: 'user:" + canary + "@proxy.example.com'}":                     "holds a user name",
		"{https: 'http://user:" + canary + "@%zz'}":                            "holds a user name",
		"{https: 'http://proxy.example.com', no: 'a b'}":                       "agent.proxy.no has",
		"{https: 'http://proxy.example.com', no: 'a,,b'}":                      "agent.proxy.no has",
		"{https: 'http://proxy.example.com', no: 'https://a'}":                 "agent.proxy.no has",
		"{https: 'http://proxy.example.com', ftp: 'http://proxy.example.com'}": "there is no field ftp",
		"http://proxy.example.com":                                             "there must be fields",
	} {
		_, err := parse([]byte("cluster: {kubeconfig: k, host: h}\nagent: {proxy: " + proxy + "}\n"))
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: %v", proxy, err)
		}
	}
	is := is.New(t)
	config, err := parse([]byte("cluster: {kubeconfig: k, host: h}\nagent: {proxy: {http: 'http://a:3128', https: 'https://b', no: 'c, .d.example, 10.0.0.0/8, fd00::/8, 10.1.2.3:6443'}}\n"))
	is.NoErr(err)
	is.Equal(config.Agent.Proxy, Proxy{"http://a:3128", "https://b", "c, .d.example, 10.0.0.0/8, fd00::/8, 10.1.2.3:6443"})
}
