package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

// sum says how a rollout has ended; cause is why it ended early, if it did.
func (r *running) sum(ctx context.Context, cause error) error {
	if ended := ctx.Err(); ended != nil {
		cause = ended // However the cluster's client may put it.
	}
	status := r.status(cause)
	if len(r.members) == 1 {
		return r.sumOne(r.members[0], status, cause)
	}
	if status == 0 {
		if r.wait {
			fmt.Fprintf(r.out, "%d of %d %ss run it\n", len(r.members), len(r.members), r.kind)
		}
		return nil
	}
	text := r.account()
	switch {
	case errors.Is(cause, context.Canceled):
		text = "interrupted: " + text
	case errors.Is(cause, context.DeadlineExceeded):
		text = fmt.Sprintf("not done after %s: %s", r.timeout, text)
	case cause != nil:
		text = fmt.Sprintf("%v: %s", cause, text)
	}
	return cli.Exit(text, status)
}

// status is the exit status: of several that fit, the one that says most of what is to be done now.
func (r *running) status(cause error) int {
	failed := func(m *member) bool { return m.stage == stageFailed && m.err == nil }
	switch {
	case errors.Is(cause, context.Canceled):
		return exitInterrupted
	case r.any(failed):
		return exitFailed
	case errors.Is(cause, context.DeadlineExceeded):
		return exitTimedOut
	case cause != nil, r.count[stageFailed] > 0:
		return exitUnasked
	default:
		return 0
	}
}

func (r *running) any(so func(*member) bool) bool {
	for _, m := range r.members {
		if so(m) {
			return true
		}
	}
	return false
}

// sumOne is the last word on the only one that was asked.
func (r *running) sumOne(m *member, status int, cause error) error {
	name := nameOf(m.before)
	switch {
	case status == 0 && r.wait:
		fmt.Fprintf(r.out, "%s is ready: %s\n", name, plain(m.says.Message))
		return nil
	case status == 0:
		return nil
	case m.err != nil:
		return cli.Exit(m.err.Error(), status)
	case m.stage == stageFailed:
		return cli.Exit(fmt.Sprintf("%s: %s", name, said(m.says)), status)
	case m.stage == stageUnsure:
		return cli.Exit(fmt.Sprintf("asking %s was cut off: it may have been asked, or not", name), status)
	case status == exitInterrupted:
		return cli.Exit(fmt.Sprintf("no longer waiting for %s, which goes on by itself", name), status)
	case status == exitTimedOut:
		return cli.Exit(fmt.Sprintf("%s is not done after %s: %s", name, r.timeout, said(m.says)), status)
	default:
		return cli.Exit(fmt.Sprintf("%v; %s goes on by itself", cause, name), status)
	}
}

// account says how all of them stand, with the names of those that do not run what was asked for. Why one has
// failed stands beside its name, and where several have, below.
func (r *running) account() string {
	var names [len(tally{})][]string
	var why []string
	for _, m := range r.members {
		names[m.stage] = append(names[m.stage], m.before.Name)
		if m.stage == stageFailed {
			why = append(why, m.before.Name+": "+m.failure())
		}
	}
	done := "run it"
	if !r.wait {
		done = "were asked"
	}
	parts := []string{fmt.Sprintf("%d %s", len(names[stageDone]), done)}
	for _, part := range []struct {
		of    stage
		words string
	}{
		{stageFailed, "failed"}, {stageWorking, r.stillWords()}, {stageUnsure, "may have been asked"}, {stageIdle, "not asked"},
	} {
		list := strings.Join(names[part.of], ", ")
		if part.of == stageFailed && len(why) == 1 {
			list = why[0]
		}
		if n := len(names[part.of]); n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s: %s", n, part.words, list))
		}
	}
	text := strings.Join(parts, ", ")
	if len(why) > 1 {
		text += "\n  " + strings.Join(why, "\n  ")
	}
	return text
}

// stillWords says what those do that no one waits for any more.
func (r *running) stillWords() string {
	if r.count[stageWorking] == 1 {
		return "goes on by itself"
	}
	return "go on by themselves"
}
