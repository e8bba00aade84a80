package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"elemental/core"
	"elemental/modes/manual"
	"elemental/ports"
)

// revocationTime is how long the end of a host's tokens is waited for.
const revocationTime = 15 * time.Second

func revokeCommand(clusterFlags []cli.Flag, of func(*cli.Context) world) *cli.Command {
	return &cli.Command{
		Name: "revoke", ArgsUsage: "NAME...", Usage: "end the identity of hosts in the cluster",
		Description: manual.Page{
			Text: "Ends the identity by which a host speaks to the cluster, such as that of one that was stolen: its tokens die and its rights go. " +
				"The ElementalHost stays, and whatever runs on the host goes on there. The mark on the host bears your name and your reason. It waits for 15 seconds for the " +
				"tokens to be dead, if you are allowed to see the Secret that they are bound to.\n\n" +
				"The host then asks to join again, as whom it was, and waits, whatever its registration says: it is let in once you approve that request.",
			Examples: []manual.Example{
				{Does: "Shut out a host that was stolen.", Line: "elemental hosts revoke my-lost-host --reason 'stolen on Monday'"},
			},
			Statuses: []manual.Status{
				{Code: 0, Means: "the tokens are dead, or you may not see whether they are"},
				{Code: 1, Means: "at least one host could not be revoked, and the error says why"},
				{Code: exitTimedOut, Means: "they were asked to be ended, and were not in time"},
			},
			See: []string{"elemental approve", "docs/joining.md"},
		}.String(),
		Flags: append(slices.Clone(clusterFlags),
			&cli.StringFlag{Name: "reason", Usage: "why, as `TEXT` that is kept with the host"},
		),
		Action:       func(c *cli.Context) error { return revokeHosts(c, of(c)) },
		OnUsageError: misused,
	}
}

func revokeHosts(c *cli.Context, w world) error {
	why := plain(c.String("reason"))
	if len(why) > mostOfReason {
		return usage(c, fmt.Errorf("--reason has %d bytes: it may have %d", len(why), mostOfReason))
	}
	gate, err := w.gate()
	if err != nil {
		return err
	}
	requests, err := gate.Requests(c.Context, ports.RequestSelection{})
	if err != nil && !errors.Is(err, ports.ErrDenied) {
		return err
	}
	var failed []error
	revoked, late := 0, false
	for _, name := range c.Args().Slice() {
		err := withdraw(c.Context, gate, requests, name)
		var end ports.Revocation
		if err == nil {
			end, err = gate.Revoke(c.Context, name, why, revocationTime)
		}
		if err != nil {
			failed = append(failed, err)
			continue
		}
		revoked++
		switch end {
		case ports.RevocationDone:
			fmt.Fprintf(w.out, "host %s is revoked: its tokens are dead, and it has no rights\n", name)
		case ports.RevocationUnseen:
			fmt.Fprintf(w.out, "host %s is to be revoked: its tokens die within seconds, which you may not see\n", name)
		case ports.RevocationAsked:
			late = true
			fmt.Fprintf(w.errs, "host %s is to be revoked, and after %s its tokens still live: check that the controller runs, and may delete Secrets there (packaging/rbac/hosts)\n", name, revocationTime)
		}
	}
	if revoked > 0 {
		fmt.Fprintln(w.out, "To let it in again, approve the request that it then makes: elemental requests, elemental approve REQUEST")
	}
	switch {
	case len(failed) > 0:
		return errors.Join(failed...)
	case late:
		return cli.Exit("", exitTimedOut)
	default:
		return nil
	}
}

// withdraw takes back the approval by which a host came in a moment ago, where its request still stands: by that the
// host would be let in again at once.
func withdraw(ctx context.Context, gate ports.Gatekeeper, requests []ports.JoinRequest, host string) error {
	for _, r := range requests {
		if r.Host != host || r.Ruling != core.RulingApproved {
			continue
		}
		err := gate.Rule(ctx, r, ports.Verdict{Ruling: core.RulingDenied, Why: "its host was revoked"})
		if err != nil && !errors.Is(err, ports.ErrNotFound) {
			return fmt.Errorf("host %s was not revoked, because it would be let in again by the approval that it has: %w", host, err)
		}
	}
	return nil
}
