// Elemental keeps the operating systems of bare-metal and edge hosts at the version that a Kubernetes
// management cluster declares.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"elemental/modes"
)

var version = "dev" // set by the linker

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := modes.Run(ctx, version, os.Args)
	stop()
	os.Exit(status)
}
