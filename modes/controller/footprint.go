package controller

import (
	"context"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"time"
)

const (
	// garbage is how much of it there may be, in percent of what is in use. With 1,000 hosts 13 MiB are in use: Go's
	// own 100 lets them become 27 before it collects, and this 20. That is paid for with time, of which a controller
	// that waits for changes has enough: some 200 collections while 1,000 hosts appear and report.
	garbage = 50
	// startsFor is how long after its start a controller still does what it does only once.
	startsFor = 20 * time.Second
)

// staySmall keeps the controller's memory at what it needs, until the context ends.
func staySmall(ctx context.Context, log *slog.Logger) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbage)
	}
	runtime.MemProfileRate = 0 // No one can read that profile, whose table takes 1.5 MiB.
	go func() {
		select {
		case <-ctx.Done():
		case <-time.After(startsFor):
			if err := releaseCode(); err != nil {
				log.Debug("the memory of what only the start needed was not released", "error", err)
			}
		}
	}()
}
