package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// figures prints what was measured, and now and then what is being measured.
type figures struct {
	out, progress io.Writer
	wanted        selection

	mu    sync.Mutex
	doing string
	since time.Time
	stop  chan struct{}
	over  sync.WaitGroup
}

// progressEvery is how often a reader is told that all is well.
const progressEvery = 5 * time.Second

func newFigures(out, progress io.Writer, wanted selection) *figures {
	f := &figures{out: out, progress: progress, wanted: wanted, since: time.Now(), doing: "starts", stop: make(chan struct{})}
	f.over.Go(func() {
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		for {
			select {
			case <-f.stop:
				return
			case <-tick.C:
				f.mu.Lock()
				fmt.Fprintf(f.progress, "  %s, for %s\n", f.doing, time.Since(f.since).Round(time.Second))
				f.mu.Unlock()
			}
		}
	})
	return f
}

func (f *figures) close() {
	close(f.stop)
	f.over.Wait()
}

// now says what is done from now on.
func (f *figures) now(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.doing, f.since = fmt.Sprintf(format, args...), time.Now()
	fmt.Fprintf(f.progress, "  %s\n", f.doing)
}

// skip says which figure is not taken, and why.
func (f *figures) skip(what string, why error) { f.now("skips %s: %v", what, why) }

// figure prints a measured value and how it was taken, if it is wanted. The machine's load belongs to it: others
// work on it, too.
func (f *figures) figure(name string, value float64, format string, args ...any) {
	if !f.wanted.figure(name) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	fmt.Fprintf(f.out, "%-32s %9s  %s; load average %s\n", name, number(value), fmt.Sprintf(format, args...), load())
}

// number writes three digits that matter.
func number(value float64) string {
	digits := 0
	switch size := math.Abs(value); {
	case size < 1:
		digits = 3
	case size < 10:
		digits = 2
	case size < 100:
		digits = 1
	}
	return fmt.Sprintf("%.*f", digits, value)
}

// load is the mean number of processes that ran or wanted to, in the last minute.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(text), " ")
	return first
}

// percentile is the value that so many percent of all are not above.
func percentile(all []time.Duration, percent float64) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	rank := int(math.Ceil(percent / 100 * float64(len(sorted))))
	return sorted[max(rank, 1)-1]
}

func median(all []time.Duration) time.Duration { return percentile(all, 50) }

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// spread writes all values in their order, so that a reader sees which are doubtful.
func spread(all []time.Duration) string {
	var words []string
	for _, d := range all {
		words = append(words, number(d.Seconds()))
	}
	return strings.Join(words, " ")
}
