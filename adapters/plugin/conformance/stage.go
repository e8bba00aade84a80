package conformance

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"strings"
	"time"

	"elemental/core"
	"elemental/ports"
)

// kills is how often staging is killed at a moment that nobody chose.
const kills = 3

// latest is the latest of these moments.
const latest = time.Minute

// recovers kills the plugin in the middle of staging, and then wants it to be as if that had never been.
func (r *run) recovers(ctx context.Context) error {
	in, err := requestOf(r.Document)
	if err != nil {
		return err
	}
	begin := time.Now()
	// The first line is the first sign that it has begun. One that says nothing is killed below.
	if err := r.killed(ctx, in, 0, func(string) bool { return true }); err != nil {
		return err
	}
	window := max(time.Since(begin), 20*time.Millisecond)
	for range kills {
		// One that is faster is just done; one that is slower is given more time, from kill to kill.
		after := time.Duration(mathrand.Int64N(int64(window))) + 1
		window = min(4*window, latest)
		if err := r.killed(ctx, in, after, nil); err != nil {
			return fmt.Errorf("killed after %s: %w", after.Round(time.Millisecond), err)
		}
	}
	return r.staged(ctx, in)
}

// killed stages, ends that with signal 9, and wants an answer to observe.
func (r *run) killed(ctx context.Context, in ports.Request, after time.Duration, kill func(string) bool) error {
	request, err := r.Plugin.Request(core.VerbStage, in)
	if err != nil {
		return err
	}
	if after == 0 {
		after = limit
	}
	within, cancel := context.WithTimeout(ctx, after)
	defer cancel()
	x, err := r.Plugin.Exchange(within, string(core.VerbStage), request, kill)
	r.log += x.Log
	if err != nil {
		return err
	}
	if _, err := r.observe(ctx, r.Document); err != nil {
		return fmt.Errorf("staging was killed, and observe answers: %w", err)
	}
	return nil
}

// staged stages and wants to see it.
func (r *run) staged(ctx context.Context, in ports.Request) error {
	if _, err := r.call(ctx, core.VerbStage, in); err != nil {
		return err
	}
	o, err := r.observe(ctx, r.Document)
	if err != nil {
		return err
	}
	if o.Verdict != core.VerdictSatisfied && (o.Verdict != core.VerdictStaged || !o.NeedsRestart) {
		return fmt.Errorf("its verdict is %s, and must be satisfied, or staged with needsRestart", o.Verdict)
	}
	return nil
}

func (r *run) stages(ctx context.Context) error {
	in, err := requestOf(r.Document)
	if err != nil {
		return err
	}
	for range 2 {
		if err := r.staged(ctx, in); err != nil {
			return err
		}
	}
	return nil
}

// unstages asks for it twice, so that nothing is staged the second time.
func (r *run) unstages(ctx context.Context) error {
	for range 2 {
		if _, err := r.call(ctx, core.VerbUnstage, ports.Request{Host: "test"}); err != nil {
			return err
		}
	}
	return nil
}

// keepsSecrets gives it bootstrap data of a form that there is not. It may refuse or take them; it must not show them.
func (r *run) keepsSecrets(ctx context.Context) error {
	secret := rand.Text()
	request, err := r.Plugin.Request(core.VerbBootstrap, ports.Request{
		Host: "test", Bootstrap: &ports.BootstrapData{Format: "conformance-test", Data: []byte(secret)},
	})
	if err != nil {
		return err
	}
	x, _, err := r.send(ctx, string(core.VerbBootstrap), request, nil)
	var failure core.Failure
	if err != nil && !errors.As(err, &failure) {
		return err
	}
	for _, form := range []string{secret, base64.StdEncoding.EncodeToString([]byte(secret))} {
		switch {
		case strings.Contains(x.Log, form):
			return errors.New("it wrote them to its log")
		case strings.Contains(strings.Join(x.Lines, "\n"), form):
			return errors.New("it wrote them into its answer")
		}
	}
	return nil
}
