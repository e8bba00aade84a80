package hostos

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/urfave/cli/v2"

	"elemental/core"
	"elemental/modes/agentfile"
	"elemental/modes/manual"
)

// Reset is how far the reset of this host is.
type Reset struct {
	Stage        core.ResetStage `json:"stage"`
	NeedsRestart bool            `json:"needsRestart,omitempty"`
	Failure      string          `json:"failure,omitempty"` // why the last restart did not carry it out
}

// String says what is next.
func (r Reset) String() string {
	switch {
	case r.Stage != core.ResetUnderWay:
		return ""
	case r.NeedsRestart:
		return "A reset is under way: the next restart gives this host a fresh /var and /etc."
	case r.Failure != "":
		return "A reset is under way, and the last restart did not carry it out: " + r.Failure + ". Mend that and restart the host."
	default:
		return "A reset is under way: /var and /etc are fresh, and what was before is still to be removed, which the agent or elemental os reset does."
	}
}

// resetCommand is `elemental os reset`.
func resetCommand(config cli.Flag) *cli.Command {
	return &cli.Command{
		Name: "reset", Usage: "make this host a fresh deployment of the system that it runs, at the next restart",
		Description: manual.Page{
			Text: "Throws away, by the next restart, all that is in /var, /home, /root and /etc, but for what makes this host itself:\n" +
				"/etc/elemental, the agent's identity, and what resetKeeps in the configuration names. Until the restart nothing is\n" +
				"changed but what boots next: a system that is staged is taken out. After the restart, the agent removes what was\n" +
				"before, with all other systems but the recovery system; on a host without an agent, run it once more for that.\n" +
				"It needs root, and is refused while the running system is on trial. An agent restarts the host by itself.",
			Examples: []manual.Example{{Does: "Reset this host; its next restart carries it out.", Line: "elemental os reset --yes"}},
			Statuses: []manual.Status{{Code: 1, Means: "the reset was not begun or not ended, and the host is as it was"}},
			See:      []string{"docs/plugins.md"},
		}.String(),
		Flags: []cli.Flag{
			config,
			&cli.BoolFlag{Name: "yes", Usage: "do it: what is thrown away can't be had again"},
			&cli.StringSliceFlag{Name: "keep", Usage: "keep `PATH` too, below /etc, /var, /home or /root; may be given more than once"},
		},
		Action: func(c *cli.Context) error {
			if !c.Bool("yes") {
				return cli.Exit("this throws away all that is in /var, /home, /root and /etc of this host; add --yes if that is meant", 2)
			}
			return byHand(c, func(d deployments) error { return d.resetByHand(c) })
		},
	}
}

// resetByHand does what is next: it triggers a reset, or ends the one that a restart has carried out.
func (d deployments) resetByHand(c *cli.Context) error {
	status, err := d.status(c.Context)
	if err != nil {
		return err
	}
	if r := status.Reset; r.Stage == core.ResetUnderWay && !r.NeedsRestart && r.Failure == "" {
		if err := d.endReset(c.Context, printProgress(c.App.ErrWriter)); err != nil {
			return err
		}
		_, err := fmt.Fprintln(c.App.Writer, "this host was reset")
		return err
	}
	keep, err := belongings(agentfile.Path)
	if err != nil {
		return err
	}
	if err := d.triggerReset(c.Context, keep, c.StringSlice("keep"), printProgress(c.App.ErrWriter)); err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.App.Writer, "a reset is under way: the next restart of this host carries it out")
	return err
}

// belongings are what makes this host the one that its cluster knows. A configuration that can't be read is an error: a
// host whose identity was thrown away would have to be let in again.
func belongings(file string) ([]string, error) {
	config, err := agentfile.Read(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("finding out what a reset must keep: %w", err)
	}
	return config.Belongings(), nil
}
