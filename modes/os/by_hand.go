package hostos

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"elemental/modes/manual"
	"elemental/ports"
)

// upgradeCommand is `elemental os upgrade`.
func upgradeCommand(config cli.Flag) *cli.Command {
	return &cli.Command{
		Name: "upgrade", Usage: "stage another system, which runs from the next restart on", ArgsUsage: "IMAGE",
		Description: manual.Page{
			Text: "Fetches an image, writes it beside the running system, which is not touched, and makes the boot loader try it at the\n" +
				"next restart. It is for a host without a cluster, or while its agent is stopped: an agent takes out again what\n" +
				"its cluster did not ask for. It needs root, and reads the host's own configuration.",
			Examples: []manual.Example{
				{Does: "Stage a system; a restart boots it, on trial.", Line: "elemental os upgrade oci://my-registry/my-image:v2"},
			},
			Statuses: []manual.Status{{Code: 1, Means: "it could not be staged, and what boots next is what it was before"}},
		}.String(),
		Flags: []cli.Flag{config},
		Action: func(c *cli.Context) error {
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
		Description: manual.Page{
			Text: "Makes the boot loader choose the system that ran before this one. It changes the boot entries alone, needs root,\n" +
				"and does not restart the host.",
			Examples: []manual.Example{{Does: "Go back at the next restart.", Line: "elemental os rollback"}},
			Statuses: []manual.Status{{Code: 1, Means: "there is no good system before this one, or the boot entries can't be written"}},
		}.String(),
		Flags: []cli.Flag{config},
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
