package commands

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"elemental/adapters/plugin/program"
	"elemental/core"
	"elemental/ports"
)

const (
	maxTail = 1 << 10 // bytes of a command's output that reach the cluster
	// heartbeat is how often a command that says nothing is said to run still: a plugin that is silent for too
	// long is ended, and a command has a time of its own.
	heartbeat = 5 * time.Minute
)

// step is one command of a request that is looked at or carried out.
type step struct {
	plugin   *Plugin
	index    int
	all      int
	command  command
	host     string
	progress func(ports.Progress)
}

// isSo says whether nothing is left to do. What needs a check is not so where none may be run.
func (s step) isSo(ctx context.Context, known memory, denied bool, limit time.Duration) (bool, error) {
	switch {
	case known.begun(s.index), s.command.Restart == always && !known.done(s.index):
		return false, nil
	case s.command.Check == nil:
		return known.done(s.index), nil
	case denied:
		return false, nil
	default:
		return s.holds(ctx, limit)
	}
}

// carryOut makes it so, if it is not, and returns what is then known.
func (s step) carryOut(ctx context.Context, known memory, boot string) (memory, error) {
	holds := known.done(s.index)
	if s.command.Check != nil {
		var err error
		if holds, err = s.holds(ctx, s.plugin.config.Checks); err != nil {
			return known, err
		}
	}
	if holds {
		return known.passed(s.index, s.command, false, boot), nil
	}
	if s.command.Restart == ifChanged {
		known = known.beginning(s.index, boot)
	}
	// Where nothing can be written, as on a full disk, what is run now could not be known to be done, and would be run
	// again and again.
	if err := s.plugin.remember(known); err != nil {
		return known, err
	}
	tail, err := s.run(ctx)
	if err != nil {
		return known, err
	}
	if s.command.Check != nil {
		holds, err := s.holds(ctx, s.plugin.config.Checks)
		if err != nil {
			return known, err
		}
		if !holds {
			return known, s.failure("CheckFailed", "check", "ended well, and its check still does not hold", tail)
		}
	}
	return known.passed(s.index, s.command, true, boot), nil
}

// holds runs the check. That it does not end within its time is nobody's answer.
func (s step) holds(ctx context.Context, limit time.Duration) (bool, error) {
	err := program.ErrTimedOut
	var result program.Result
	if limit > 0 {
		result, err = program.Run(ctx, s.program(s.command.Check, limit))
	}
	var exited *program.ExitError
	switch {
	case err == nil:
		return true, nil
	case ctx.Err() != nil:
		return false, err
	case errors.As(err, &exited), errors.Is(err, program.ErrMissing):
		return false, nil
	case errors.Is(err, program.ErrTimedOut):
		failure := s.failure("CheckTimedOut", "check", fmt.Sprintf("has a check that had not ended when the %s were over that all checks have together; make the checks quicker",
			s.plugin.config.Checks), result.Tail)
		failure.Class = core.FailureRetryable
		return false, failure
	default:
		return false, s.failure("CheckFailed", "check", "has a check that can't be run: "+err.Error(), result.Tail)
	}
}

// run runs the command to its end and returns the end of its output.
func (s step) run(ctx context.Context) (tail string, err error) {
	s.say(fmt.Sprintf("%s runs", s.name()))
	fmt.Fprintf(s.plugin.config.Log, "commands[%d]: %s runs\n", s.index, s.name())
	var beating sync.WaitGroup
	ended := make(chan struct{})
	beating.Go(func() { s.beat(ended) })
	result, err := program.Run(ctx, s.program(s.command.Run, s.command.limit))
	close(ended)
	beating.Wait() // Nothing may be said after the answer.
	var exited *program.ExitError
	switch {
	case err == nil || ctx.Err() != nil:
		return result.Tail, err
	case errors.Is(err, program.ErrTimedOut):
		return "", s.failure("CommandTimedOut", "run", fmt.Sprintf("was not done after %s and was ended", s.command.limit), result.Tail)
	case errors.Is(err, program.ErrMissing):
		return "", s.failure("CommandFailed", "run", fmt.Sprintf("can't be run: there is no program %q on this host", s.command.Run[0]), "")
	case errors.As(err, &exited) && exited.Status < 0:
		return "", s.failure("CommandFailed", "run", fmt.Sprintf("was ended by signal %d (%s)", exited.Signal, exited.Signal), result.Tail)
	case errors.As(err, &exited):
		return "", s.failure("CommandFailed", "run", fmt.Sprintf("exited with status %d", exited.Status), result.Tail)
	default:
		return "", s.failure("CommandFailed", "run", "can't be run: "+err.Error(), result.Tail)
	}
}

// program is what to run, in an environment that holds no more than the documentation says.
func (s step) program(what line, limit time.Duration) program.Command {
	return program.Command{
		Args: what, Dir: "/", Timeout: limit, Env: []string{"HOME=/root", "ELEMENTAL_HOST=" + s.host},
		Line: func(text string) { fmt.Fprintf(s.plugin.config.Log, "commands[%d]: %s\n", s.index, text) },
	}
}

// beat tells now and then that the command still runs.
func (s step) beat(ended <-chan struct{}) {
	began := time.Now()
	ticker := time.NewTicker(heartbeat)
	defer ticker.Stop()
	for {
		select {
		case <-ended:
			return
		case <-ticker.C:
			s.say(fmt.Sprintf("%s still runs after %s", s.name(), time.Since(began).Round(time.Minute)))
		}
	}
}

func (s step) say(message string) {
	s.progress(ports.Progress{Step: "Running", Percent: 100 * s.index / s.all, Message: message})
}

// name is the command as people know it.
func (s step) name() string {
	name := fmt.Sprintf("command %d of %d", s.index+1, s.all)
	if s.command.Name != "" {
		name += fmt.Sprintf(" (%s)", s.command.Name)
	}
	return name
}

// failure says which command failed, how, and with what last words.
func (s step) failure(reason, field, how, tail string) core.Failure {
	message := s.name() + " " + how
	if words := program.Words(tail, maxTail); words != "" {
		message += "; its output ends with: " + words
	}
	return core.Failure{Class: core.FailureFailed, Reason: reason, Path: fmt.Sprintf("commands[%d].%s", s.index, field), Message: message}
}
