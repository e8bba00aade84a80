package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"elemental/core"
	"elemental/ports"
)

// Error is a call that failed. It wraps the core.Failure that says what that means.
type Error struct {
	core.Failure
	Log string // the end of what the plugin wrote to its standard error
}

// Unwrap returns the core.Failure.
func (e *Error) Unwrap() error { return e.Failure }

// call is one run of a plugin.
type call struct {
	name     string
	verb     core.Verb
	deadline Deadline
	patience time.Duration // between the answer and the exit
	progress func(ports.Progress)

	process *process
	lines   chan line
	alive   chan struct{}
	log     *logTail

	last *answer // the line that ends the answer
}

// run starts the plugin, gives it the request, and returns the result that it answers with.
func (r *Runner) run(ctx context.Context, e *executable, verb core.Verb, in ports.Request, progress func(ports.Progress)) (json.RawMessage, error) {
	text, err := r.request(verb, in)
	if err != nil {
		return nil, err
	}
	process, err := r.start(ctx, e, string(verb))
	if err != nil {
		return nil, err
	}
	defer process.close()
	go func() {
		// A plugin need not read its request, so that neither error means anything.
		_, _ = process.stdin.Write(text)
		_ = process.stdin.Close()
	}()
	done := make(chan struct{})
	defer close(done)
	c := &call{
		name: r.config.Name, verb: verb, deadline: r.deadlines[verb], patience: r.config.Patience, progress: progress, process: process,
		lines: make(chan line), alive: make(chan struct{}, 1),
		log: &logTail{log: r.log.With(slog.String("verb", string(verb))), done: make(chan struct{})},
	}
	go readLines(process.stdout, c.lines, done, c.alive)
	go c.log.read(process.stderr, c.alive)
	return c.await(ctx)
}

// await listens to the plugin until it has answered or must be ended, and makes one answer of it all.
func (c *call) await(ctx context.Context) (json.RawMessage, error) {
	stopped, err := c.listen(ctx)
	if stopped {
		drained := make(chan struct{})
		go func() {
			for range c.lines {
			}
			close(drained)
		}()
		c.process.Stop()
		defer func() { <-drained }()
	}
	// Something that left the group may hold the pipes open for ever.
	end := time.Now().Add(leftover)
	if err := errors.Join(c.process.stdout.SetReadDeadline(end), c.process.stderr.SetReadDeadline(end)); err != nil {
		return nil, fmt.Errorf("reading the end of the plugin %q's answer: %w", c.name, err)
	}
	if !stopped {
		err = c.finish()
	}
	<-c.log.done
	if b := (breach{}); err == nil || stopped && errors.As(err, &b) && c.process.Exit().Lost != "" {
		// Of what it did wrong matters most that nobody knows whether it still does it.
		err = c.judge(stopped)
	}
	if err != nil {
		return nil, c.explain(err)
	}
	return c.last.Result, nil
}

// secret says whether a plugin is told secrets for a verb: tokens, keys and passwords. What it then says against the
// protocol may be a part of them, and is never quoted.
func secret(verb core.Verb) bool {
	return verb == core.VerbBootstrap || verb == core.VerbInstall || verb == core.VerbInstallCloudConfig
}

// explain adds the plugin's log to a failure, and its last line to the message where the plugin itself
// gave none.
func (c *call) explain(err error) error {
	var failure core.Failure
	if b := (breach{}); errors.As(err, &b) {
		failure = core.Failure(b)
		if words := c.log.lastWords(); words != "" && !secret(c.verb) {
			failure.Message += fmt.Sprintf("; its log ends with %q", words)
		}
	} else if !errors.As(err, &failure) {
		return err
	}
	return &Error{Failure: failure, Log: c.log.end()}
}

// listen takes the plugin's lines until it exits. It returns early when the plugin has to be stopped,
// with the reason if that is a failure.
func (c *call) listen(ctx context.Context) (stopped bool, err error) {
	whole := time.After(c.deadline.Whole)
	silent := time.NewTimer(c.deadline.Silent)
	defer silent.Stop()
	if c.deadline.Silent == 0 {
		silent.Stop()
	}
	lines := c.lines
	var answered <-chan time.Time
	for {
		select {
		case l, open := <-lines:
			if !open {
				lines = nil
				continue
			}
			if err := c.take(l); err != nil {
				return true, err
			}
			if c.last != nil && answered == nil {
				answered = time.After(c.patience)
			}
		case <-c.alive:
			if c.deadline.Silent > 0 {
				silent.Reset(c.deadline.Silent)
			}
		case <-c.process.Exited():
			return false, nil
		case <-answered:
			return true, nil // The answer stands; what does not end by itself is ended.
		case <-silent.C:
			return true, c.failure("PluginTimedOut", "wrote nothing for %s and was ended", c.deadline.Silent)
		case <-whole:
			return true, c.failure("PluginTimedOut", "was not done after %s and was ended", c.deadline.Whole)
		case <-ctx.Done():
			return true, fmt.Errorf("running the plugin %q for %s: %w", c.name, c.verb, context.Cause(ctx))
		}
	}
}

// finish takes the lines that an exited plugin left behind.
func (c *call) finish() error {
	for l := range c.lines {
		if err := c.take(l); err != nil {
			return err
		}
	}
	return nil
}

// take reads one line of the answer.
func (c *call) take(l line) error {
	if l.long {
		return c.failure("PluginProtocolError", "wrote a line longer than %d bytes%s", maxLine, c.shown(l.text))
	}
	a, err := parseAnswer(l.text)
	switch {
	case err != nil && l.cut:
		return c.failure("PluginProtocolError", "stopped in the middle of a line%s", c.shown(l.text))
	case err != nil && secret(c.verb):
		return c.failure("PluginProtocolError", "does not speak %s%s", Protocol, c.shown(l.text))
	case err != nil:
		return c.failure("PluginProtocolError", "does not speak %s: %v", Protocol, err)
	case c.last != nil:
		return c.failure("PluginProtocolError", "went on after the line that ends its answer%s", c.shown(l.text))
	case a.final():
		c.last = &a
	case c.progress != nil:
		c.progress(a.Progress.port())
	}
	return nil
}

// shown quotes what a plugin wrote, where that can be no secret.
func (c *call) shown(text []byte) string {
	if secret(c.verb) {
		return " (its words are not shown: they may hold a secret)"
	}
	return ": " + quote(text)
}

// judge says what an ended plugin's answer is worth. An exit status says nothing when it was we who ended it.
func (c *call) judge(stopped bool) error {
	reason, words := c.process.exit()
	switch {
	case reason == pluginLost:
		// Nobody knows what it did since its last word, so that it is asked again.
		lost := broken(reason, "the plugin %q, asked to %s, %s", c.name, c.verb, words)
		lost.Class = core.FailureRetryable
		return lost
	case c.last != nil && c.last.Error != nil:
		return c.last.Error.core()
	case c.last == nil && words == "":
		return c.failure("PluginProtocolError", "exited without an answer")
	case c.last == nil:
		return c.failure(reason, "%s before it had answered", words)
	case words != "" && !stopped:
		return c.failure(reason, "answered with a result and then %s", words)
	default:
		return nil
	}
}

// breach is what a plugin did that no plugin may.
type breach core.Failure

func (b breach) Error() string { return b.Message }

func (c *call) failure(reason, format string, args ...any) error {
	return breach(broken(reason, "the plugin %q, asked to %s, %s", c.name, c.verb, fmt.Sprintf(format, args...)))
}
