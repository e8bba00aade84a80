package hostos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"elemental/modes/agentfile"
	"elemental/modes/manual"
)

// Command is `elemental os`.
func Command() *cli.Command {
	config := &cli.StringFlag{Name: "config", Value: ConfigPath, Usage: "read the configuration from `FILE`"}
	return &cli.Command{
		Name: "os", Usage: "show and change the operating systems of this host",
		Description: "Looks at the deployments on this host's disk: the image that runs, the one that a restart would bring, and those to\n" +
			"fall back to. It asks no cluster.",
		Subcommands: []*cli.Command{
			installCommand(), upgradeCommand(config), rollbackCommand(config), carryEtcCommand(config),
			{
				Name: "status", Usage: "show what runs, what waits, and what can be gone back to",
				Description: manual.Page{
					Text: "Lists the deployments on this host's disk in the boot loader's order, each with its role: booted, staged, next,\n" +
						"previous, fallen, kept or unused. It changes nothing.",
					Examples: []manual.Example{
						{Does: "Show them.", Line: "elemental os status"},
						{Does: "Show them to a script.", Line: "elemental os status -o json"},
					},
				}.String(),
				Flags: []cli.Flag{config, &cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "text", Usage: "print as `text|json`"}},
				Action: func(c *cli.Context) error {
					return showStatus(c, c.String("config"), c.String("output"))
				},
			},
			resetCommand(config),
			{
				Name: "confirm", Hidden: true,
				Usage: "wait until this boot is healthy, and confirm it if it is on trial",
				Description: "Is run by elemental-health.service at every boot of a trial. It ends with 0 at once when nothing is on trial,\n" +
					"with 0 when the trial was confirmed, and with 1 when it was not, so that the host restarts, or when it can't\n" +
					"be told in time, as when the boot partition is not mounted.",
				Flags: []cli.Flag{config, &cli.DurationFlag{Name: "timeout", Usage: "wait for a `DURATION` such as 90s; by default the configuration's healthTimeout"}},
				Action: func(c *cli.Context) error {
					return confirmBoot(c.Context, c.String("config"), c.Duration("timeout"), c.App.ErrWriter)
				},
			},
		},
	}
}

func showStatus(c *cli.Context, path, form string) error {
	if form != "text" && form != "json" {
		return cli.Exit(fmt.Sprintf("--output is %q: it must be text or json", form), 2)
	}
	config, err := ReadConfig(path)
	if err != nil {
		return err
	}
	deployments, err := wire(config)
	if err != nil {
		return err
	}
	status, err := deployments.status(c.Context)
	if err != nil {
		return err
	}
	if form == "json" {
		return status.writeJSON(c.App.Writer)
	}
	return status.writeText(c.App.Writer)
}

// confirmBoot must end well on a host that is not on trial, whatever else is wrong there: its failure restarts the
// host. Without a configuration that can be read nothing is confirmed, and a trial is looked for where it is by default.
func confirmBoot(ctx context.Context, path string, timeout time.Duration, log io.Writer) error {
	config, broken := ReadConfig(path)
	if broken != nil {
		config = DefaultConfig()
	}
	if timeout <= 0 {
		timeout = config.HealthTimeout
	}
	deployments, err := wire(config)
	if err != nil {
		return err
	}
	c := confirmation{
		host: deployments, timeout: timeout, log: log,
		ready: func() error {
			if broken != nil {
				return broken
			}
			return connected(agentfile.Path, agentfile.Connected)
		},
	}
	return c.run(ctx)
}

// connected says whether the agent of this host, if it has one, has reached its cluster in this boot. A
// system that cuts its host off must not be kept.
func connected(agent, mark string) error {
	if _, err := os.Stat(agent); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if _, err := os.Stat(mark); err != nil {
		return errors.New("the agent has not reached its cluster: see journalctl -u elemental-agent")
	}
	return nil
}
