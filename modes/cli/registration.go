package cli

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"elemental/core"
	"elemental/modes/manual"
	"elemental/ports"
)

// registrationCommand groups what is done with registrations.
func registrationCommand(clusterFlags []cli.Flag, of func(*cli.Context) world) *cli.Command {
	return &cli.Command{
		Name: "registration", Aliases: []string{"registrations"}, Usage: "let hosts join by themselves",
		Description: "Hosts join through an ElementalRegistration, which docs/joining.md is about.",
		Subcommands: []*cli.Command{{
			Name: "config", ArgsUsage: "REGISTRATION", Usage: "print the agent's configuration with which hosts join",
			Description: manual.Page{
				Text: "Prints the configuration of the agent for all hosts that are to join through a registration: how they reach the cluster, " +
					"the token by which they ask, and what the registration says in spec.config.elemental.agent. On the host it is the file " +
					"/etc/elemental/agent.yaml, of root alone (mode 0600). One file does for any number of hosts: each makes a key of its own.\n\n" +
					"It holds a secret, and its first lines say until when that lives. It is read from the registration's bundle, a Secret, " +
					"which you must be allowed to get. It changes nothing.",
				Examples: []manual.Example{
					{Does: "Write the file that goes onto an install medium.", Line: "elemental registration config my-registration > agent.yaml"},
				},
				See: []string{"docs/joining.md", "elemental requests"},
			}.String(),
			Flags: append(slices.Clone(clusterFlags),
				&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: outputYAML, Usage: "print it as `yaml`, the one form that there is"},
			),
			Action:       func(c *cli.Context) error { return printConfig(c, of(c)) },
			OnUsageError: misused,
		}},
	}
}

func printConfig(c *cli.Context, w world) error {
	if form := c.String("output"); form != outputYAML {
		return usage(c, fmt.Errorf("--output is %q: it must be yaml", form))
	}
	gate, err := w.gate()
	if err != nil {
		return err
	}
	found, err := gate.Registrations(c.Context, c.Args().First())
	if err != nil {
		return err
	}
	registration := found[0]
	if err := usable(registration, w.now()); err != nil {
		return err
	}
	text, err := configOf(registration)
	if err != nil {
		return err
	}
	if w.terminal > 0 {
		fmt.Fprintln(w.errs, "This holds a secret, and your terminal may remember it; to keep it in a file: elemental registration config "+registration.Name+" > agent.yaml")
	}
	_, err = w.out.Write(text)
	return err
}

// usable says what is to be done where no host could join by what a registration has.
func usable(r ports.Registration, now time.Time) error {
	name := fmt.Sprintf("registration %s/%s", r.Namespace, r.Name)
	secret := fmt.Sprintf("Secret %s/elemental-reg-%s", r.Namespace, r.Name)
	switch {
	case r.Ready.Status == "":
		return fmt.Errorf("%s is not ready: the controller has not looked at it yet; check that it runs, and wait: kubectl wait -n %s --for=condition=ready elementalregistration %s", name, r.Namespace, r.Name)
	case r.Ready.Status != core.True:
		return fmt.Errorf("%s is not ready: %s", name, plain(r.Ready.Message))
	case r.Bundle == nil:
		return fmt.Errorf("%s has lost its bundle, the %s: the controller makes another within a minute; check that it runs, and try again", name, secret)
	case r.Bundle.Server == "" || r.Bundle.Namespace == "" || r.Bundle.Registration == "" || r.Bundle.Token == "":
		return fmt.Errorf("the bundle of %s, the %s, is incomplete: the controller completes it within a minute; check that it runs, and try again", name, secret)
	case !r.Lasting && !r.Expires.IsZero() && !r.Expires.After(now):
		return fmt.Errorf("the token of %s ended at %s, and the controller has not renewed it; check that it runs, and try again", name, r.Expires.UTC().Format(time.RFC3339))
	default:
		return nil
	}
}

// agentFile is the agent's configuration of a host that joins.
type agentFile struct {
	Registration struct {
		Server               string `yaml:"server"`
		CertificateAuthority string `yaml:"certificateAuthority,omitempty"`
		Namespace            string `yaml:"namespace"`
		Name                 string `yaml:"name"`
		Token                string `yaml:"token"`
	} `yaml:"registration"`
	Agent struct {
		WorkDir  string        `yaml:"workDir,omitempty"`
		OSPlugin string        `yaml:"osPlugin,omitempty"`
		Hostname agentHostname `yaml:"hostname,omitempty"`
		NoSMBIOS bool          `yaml:"noSmbios,omitempty"`
		Debug    bool          `yaml:"debug,omitempty"`

		PostInstall agentEnding `yaml:"postInstall,omitempty"`
		PostReset   agentEnding `yaml:"postReset,omitempty"`
	} `yaml:"agent,omitempty"`
}

type agentHostname struct {
	UseExisting bool   `yaml:"useExisting,omitempty"`
	Prefix      string `yaml:"prefix,omitempty"`
}

// agentEnding says how a boot ends that has done its work.
type agentEnding struct {
	PowerOff bool `yaml:"powerOff,omitempty"`
	Reboot   bool `yaml:"reboot,omitempty"`
}

func endingOf(e core.Ending) agentEnding {
	return agentEnding{PowerOff: e == core.EndingPowerOff, Reboot: e == core.EndingReboot}
}

// configOf writes the agent's configuration, below what its reader must know.
func configOf(r ports.Registration) ([]byte, error) {
	var file agentFile
	file.Registration.Server, file.Registration.CertificateAuthority = r.Bundle.Server, r.Bundle.CA
	file.Registration.Namespace, file.Registration.Name, file.Registration.Token = r.Bundle.Namespace, r.Bundle.Registration, r.Bundle.Token
	file.Agent.WorkDir, file.Agent.OSPlugin = r.Agent.WorkDir, r.Agent.OSPlugin
	file.Agent.NoSMBIOS, file.Agent.Debug = r.Agent.NoSMBIOS, r.Agent.Debug
	file.Agent.Hostname = agentHostname{UseExisting: r.Agent.Naming.UseExisting, Prefix: r.Agent.Naming.Prefix}
	file.Agent.PostInstall, file.Agent.PostReset = endingOf(r.Agent.PostInstall), endingOf(r.Agent.PostReset)
	var text bytes.Buffer
	fmt.Fprintf(&text, "# The agent's configuration for hosts that join through the registration %s/%s.\n", r.Namespace, r.Name)
	fmt.Fprintln(&text, "# On a host it is /etc/elemental/agent.yaml, of root, with mode 0600.")
	fmt.Fprintf(&text, "# It holds a secret: %s. %s\n", mayWhat(r.Approval), untilWhen(r))
	if err := writeYAML(&text, file); err != nil {
		return nil, fmt.Errorf("writing the configuration for registration %s/%s: %w", r.Namespace, r.Name, err)
	}
	return text.Bytes(), nil
}

// mayWhat says what the token is good for.
func mayWhat(approval core.Approval) string {
	if approval == core.ApprovalAuto || approval == "" {
		return "whoever has its token is let in as a host"
	}
	return "whoever has its token can ask to be let in as a host"
}

func untilWhen(r ports.Registration) string {
	switch {
	case r.Lasting:
		return fmt.Sprintf("The token lives until someone deletes the Secret elemental-reg-%s-token.", r.Name)
	case r.Expires.IsZero():
		return "It is not known until when the token lives."
	default:
		return fmt.Sprintf("The token lives until %s; hosts that come later need this anew.", r.Expires.UTC().Format(time.RFC3339))
	}
}
