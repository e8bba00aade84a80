package hostos

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"elemental/ports"
)

// upgradeCommand is `elemental os upgrade`.
func upgradeCommand(config cli.Flag) *cli.Command {
	return &cli.Command{
		Name: "upgrade", Usage: "stage another system, which runs from the next restart on", ArgsUsage: "IMAGE",
		Description: "For a host without a cluster, or while its agent is stopped: an agent takes out again what its cluster did\n" +
			"not ask for. The running system is not touched.\n\n" +
			"   elemental os upgrade oci://my-registry/my-image:v2 && systemctl reboot",
		Flags: []cli.Flag{config},
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return cli.Exit("name the image, such as oci://my-registry/my-image:v2", 2)
			}
			return byHand(c, func(d deployments) error {
				request, err := requestFor(c.Args().First())
				if err != nil {
					return err
				}
				if err := d.stage(c.Context, request, printProgress(c.App.ErrWriter)); err != nil {
					return err
				}
				_, err = fmt.Fprintf(c.App.Writer, "%s is staged: it runs from the next restart on\n", c.Args().First())
				return err
			})
		},
	}
}

// rollbackCommand is `elemental os rollback`.
func rollbackCommand(config cli.Flag) *cli.Command {
	return &cli.Command{
		Name: "rollback", Usage: "go back to the system before this one, at the next restart",
		Description: "   elemental os rollback && systemctl reboot",
		Flags:       []cli.Flag{config},
		Action: func(c *cli.Context) error {
			return byHand(c, func(d deployments) error {
				if err := d.engine.Rollback(c.Context); err != nil {
					return err
				}
				_, err := fmt.Fprintln(c.App.Writer, "the system before this one runs from the next restart on")
				return err
			})
		},
	}
}

// carryEtcCommand is run by elemental-etc.service when the host goes down.
func carryEtcCommand(config cli.Flag) *cli.Command {
	return &cli.Command{
		Name: "carry-etc", Hidden: true, Usage: "carry to the staged system what was changed in /etc since it was staged",
		Flags: []cli.Flag{config},
		Action: func(c *cli.Context) error {
			return byHand(c, func(d deployments) error {
				conflicts, err := d.engine.CarryEtc(c.Context)
				for _, path := range conflicts {
					fmt.Fprintf(c.App.ErrWriter, "%s was changed here and in the staged system: the file of this host is kept\n", path)
				}
				return err
			})
		},
	}
}

func byHand(c *cli.Context, do func(deployments) error) error {
	config, err := ReadConfig(c.String("config"))
	if err != nil {
		return err
	}
	d, err := wire(config)
	if err != nil {
		return err
	}
	return do(d)
}

// requestFor asks for an image, and for nothing else.
func requestFor(image string) (ports.Request, error) {
	document, err := json.Marshal(map[string]any{"osVersion": map[string]string{"imageUri": image}})
	return ports.Request{OSVersion: document}, err
}

// printProgress writes a line when a step begins, and at each tenth of a long one.
func printProgress(to io.Writer) func(ports.Progress) {
	var said string
	return func(p ports.Progress) {
		line := p.Step
		if p.Percent > 0 {
			line = fmt.Sprintf("%s %d%%", p.Step, p.Percent/10*10)
		}
		if line == said {
			return
		}
		said = line
		fmt.Fprintln(to, strings.TrimSpace(line+" "+p.Message))
	}
}
