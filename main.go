// Elemental keeps the operating systems of bare-metal and edge hosts at the version that a Kubernetes
// management cluster declares.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"

	"elemental/modes"
)

var version = "dev" // set by the linker

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	app := &cli.App{
		Name: "elemental", Version: version, HideVersion: true, Commands: modes.Commands(version), Action: modes.Unknown,
		Usage:          "keep hosts at the OS version that their management cluster declares",
		ExitErrHandler: func(*cli.Context, error) {}, // The exit is made below.
	}
	if err := app.RunContext(ctx, os.Args); err != nil {
		os.Exit(modes.ExitCode(os.Stderr, err))
	}
}
