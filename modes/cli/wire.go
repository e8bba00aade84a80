package cli

import (
	"maps"
	"slices"

	"github.com/spf13/pflag"
	"github.com/urfave/cli/v2"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"elemental/adapters/kubernetes/operator"
	"elemental/adapters/plugin/schema"
	"elemental/ports"
)

// cluster is the one that kubectl's usual flags lead to: they mean here what they mean there.
func cluster() (flags []cli.Flag, connect func() (ports.Operator, error), gate func() (ports.Gatekeeper, error), names func(flag string) []string) {
	config := genericclioptions.NewConfigFlags(true).WithDiscoveryBurst(-1)
	known := pflag.NewFlagSet("kubectl", pflag.ContinueOnError)
	config.AddFlags(known)
	known.VisitAll(func(f *pflag.Flag) { flags = append(flags, kubectlFlag(f)) })
	connect = func() (ports.Operator, error) { return operator.New(config) }
	gate = func() (ports.Gatekeeper, error) { return operator.New(config) }
	return flags, connect, gate, func(flag string) []string { return namesIn(config, flag) }
}

// namesIn are what the kubeconfig offers for a flag.
func namesIn(config *genericclioptions.ConfigFlags, flag string) []string {
	raw, err := config.ToRawKubeConfigLoader().RawConfig()
	if err != nil {
		return nil
	}
	switch flag {
	case "context":
		return slices.Collect(maps.Keys(raw.Contexts))
	case "cluster":
		return slices.Collect(maps.Keys(raw.Clusters))
	case "user":
		return slices.Collect(maps.Keys(raw.AuthInfos))
	case "namespace":
		var names []string
		for _, c := range raw.Contexts {
			if c.Namespace != "" {
				names = append(names, c.Namespace)
			}
		}
		return names
	default:
		return nil
	}
}

// often are the flags that the help shows; the others are kubectl's too, and seldom needed.
var often = map[string]string{
	"namespace":  "the `NAMESPACE`; by default the kubeconfig's",
	"kubeconfig": "the `FILE` that says how to reach the cluster; by default $KUBECONFIG, then ~/.kube/config",
	"context":    "the `CONTEXT` of the kubeconfig to use",
}

// placeholders say what the values of the others are.
var placeholders = map[string]string{
	"as": "USER", "as-group": "GROUP", "as-uid": "UID", "as-user-extra": "KEY=VALUE", "cache-dir": "FOLDER",
	"certificate-authority": "FILE", "client-certificate": "FILE", "client-key": "FILE", "cluster": "CLUSTER",
	"request-timeout": "DURATION", "server": "URL", "tls-server-name": "HOST", "token": "TOKEN", "user": "USER",
}

func kubectlFlag(f *pflag.Flag) cli.Flag {
	flag := &cli.GenericFlag{Name: f.Name, Usage: often[f.Name], Hidden: often[f.Name] == "", Value: value{f.Value}}
	if flag.Hidden {
		flag.Usage = f.Usage
		if name := placeholders[f.Name]; name != "" {
			flag.Usage = "`" + name + "`: " + f.Usage
		}
	}
	if f.Shorthand != "" {
		flag.Aliases = []string{f.Shorthand}
	}
	return flag
}

// value is the value of a flag of one library as the other wants it.
type value struct{ pflag.Value }

// IsBoolFlag says that the flag may stand without a value.
func (v value) IsBoolFlag() bool { return v.Type() == "bool" }

// fits holds a document against the JSON Schema that a plugin has published.
func fits(text, document []byte) error {
	compiled, err := schema.Compile(text)
	if err != nil {
		return err
	}
	return compiled.Check(document)
}
