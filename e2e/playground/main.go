// Playground shows Elemental at work on one machine: a real control plane, the controller, a registry with two
// versions of a system, and two hosts of which one is upgraded, by the commands that a user would type. Then it
// is the reader's turn, until Ctrl-C.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	once := flag.Bool("once", os.Getenv("ONCE") != "", "end after the upgrade; the exit code tells how it went")
	process := flag.Bool("process", false, "take hosts that are nothing but the agent, even where containers could be had")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	os.Exit(play(ctx, newPrinter(os.Stdout), *once, *process))
}

// play returns the exit code.
func play(ctx context.Context, out *printer, once, process bool) int {
	s := &scene{out: out}
	defer s.strike()
	err := s.set(ctx, process)
	if err == nil {
		err = s.upgrade(ctx)
	}
	switch {
	case ctx.Err() != nil:
		out.line("\nInterrupted.")
		return 130
	case err != nil:
		out.line("\n%s %v", out.red("✗"), err)
		// The first context may be what ended it, and there is still something to be told.
		telling, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
		defer cancel()
		s.explain(telling)
		return 1
	case once:
		return 0
	}
	s.suggest()
	if err := s.last(ctx); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
