package cli

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/urfave/cli/v2"

	"elemental/core"
	"elemental/ports"
)

// dryRun is the value of --dry-run, which kubectl's users give with or without one.
type dryRun struct{ server bool }

// Set understands kubectl's values, and none.
func (d *dryRun) Set(value string) error {
	switch value {
	case "server", "true":
		d.server = true
	case "none", "false":
		d.server = false
	case "client":
		return errors.New("the cluster must speak, and what its hosts have published is needed: say --dry-run=server")
	default:
		return errors.New(`it must be "server" or "none"`)
	}
	return nil
}

func (d *dryRun) String() string {
	if d.server {
		return "server"
	}
	return "none"
}

// IsBoolFlag says that the flag may stand without a value.
func (d *dryRun) IsBoolFlag() bool { return true }

// rehearsal is what would become of asking one host or machine.
type rehearsal struct {
	subject
	after ports.Target // as the cluster says that it would be
	err   error        // why it would not be asked
}

// rehearse asks the cluster what would come of asking, and holds that against what the hosts' plugins understand.
func (u *upgrade) rehearse(ctx context.Context, subjects []subject) error {
	all := make([]rehearsal, len(subjects))
	change := u.request.change()
	change.DryRun = true
	free := make(chan struct{}, mostRequests)
	var tasks sync.WaitGroup
	for i, s := range subjects {
		free <- struct{}{}
		tasks.Go(func() {
			defer func() { <-free }()
			after, err := u.operator.Ask(ctx, s.Target, change)
			all[i] = rehearsal{s, after, err}
		})
	}
	tasks.Wait()
	if err := ctx.Err(); err != nil {
		return u.cutOff(err, "the dry run")
	}
	changed, same, invalid, refused := 0, 0, 0, 0
	for _, r := range all {
		var wrong core.Failure
		known, verdict := u.verdict(r.subject, r.after.Asked)
		switch name := nameOf(r.Target); {
		case r.err != nil:
			refused++
			fmt.Fprintf(u.out, "%s: refused: %s\n", name, plain(r.err.Error()))
			continue
		case errors.As(verdict, &wrong):
			invalid++
			fmt.Fprintf(u.out, "%s: invalid: %s\n", name, plain(wrong.Error()))
		case r.after.Generation == r.Generation:
			same++
			fmt.Fprintf(u.out, "%s: no change, it is already asked for %s\n", name, wordsOf(r.Asked))
		default:
			changed++
			fmt.Fprintf(u.out, "%s would be asked for %s (now %s)", name, wordsOf(r.after.Asked), wordsOf(r.Asked))
			if what := differences(r.Asked, r.after.Asked); what != imageField {
				fmt.Fprintf(u.out, ", which changes %s", what)
			}
			fmt.Fprintln(u.out)
		}
		for _, note := range u.notes(r, verdict, known) {
			fmt.Fprintf(u.out, "  %s\n", note)
		}
	}
	if len(all) > 1 {
		fmt.Fprintf(u.out, "%d would be asked, %d would not change, %d invalid, %d refused; nothing was changed\n", changed, same, invalid, refused)
	}
	switch {
	case invalid > 0:
		return cli.Exit("", exitFailed)
	case refused > 0:
		return cli.Exit("", exitUnasked)
	}
	return nil
}

// notes are what else someone should know before asking.
func (u *upgrade) notes(r rehearsal, verdict error, known bool) (notes []string) {
	var wrong core.Failure
	switch {
	case !known:
		notes = append(notes, "not checked: "+r.unchecked())
	case verdict != nil && !errors.As(verdict, &wrong):
		notes = append(notes, "not checked: "+plain(verdict.Error()))
	}
	if r.host == nil {
		return notes
	}
	if c, spoken := core.Find(r.host.Conditions, core.AgentConnected); !spoken {
		notes = append(notes, "its agent has not been seen yet")
	} else if c.Status != core.True {
		notes = append(notes, "its agent is not connected: "+plain(c.Message))
	}
	if unarmed(*r.host) && r.after.Requested != "" && !r.settled(r.after.Asked) {
		notes = append(notes, fmt.Sprintf("host %s is a node of a cluster: it would have to be drained and armed: %s",
			r.host.Name, armCommand(r.host.Namespace, r.host.Name)))
	}
	return notes
}
