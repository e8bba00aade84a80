package plugin

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"elemental/core"
	"elemental/ports"
)

// TestChildThatCannotBeKilledIsGivenUp stops a program that never ends, as one does not that waits for a disk.
func TestChildThatCannotBeKilledIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		p := &child{patience: 5 * time.Second, exited: make(chan struct{}), reaped: true} // Nobody gets its signals.
		began := time.Now()
		go func() {
			time.Sleep(time.Hour)
			p.end("") // When the disk answers; or the test would hang.
		}()
		p.Stop()
		is.Equal(time.Since(began), 65*time.Second)
		<-p.Exited()
		is.True(strings.Contains(p.Exit().Lost, "had not ended"))
		time.Sleep(2 * time.Hour)
		is.True(p.Exit().Lost != "") // what was said of it stays
	})
}

// stuck is a program that says nothing and that nobody can end.
type stuck struct {
	exited chan struct{}
	end    sync.Once
}

func (s *stuck) Start(context.Context, ports.Program) (ports.Process, error) { return s, nil }
func (s *stuck) Exited() <-chan struct{}                                     { return s.exited }
func (s *stuck) Stop()                                                       { s.end.Do(func() { close(s.exited) }) }
func (s *stuck) Kill()                                                       {}
func (s *stuck) Exit() ports.Exit                                            { return ports.Exit{Lost: "it had not ended"} }

// TestStuckPluginIsTold sees that one that is over its time and does not end is told as such, and that it may be tried again.
func TestStuckPluginIsTold(t *testing.T) {
	is := is.New(t)
	self, err := os.Executable()
	is.NoErr(err)
	deadlines := Deadlines()
	deadlines[core.VerbDescribe] = Deadline{Whole: 50 * time.Millisecond}
	r := NewRunner(Config{Name: self, WorkDir: t.TempDir(), Deadlines: deadlines, Launcher: &stuck{exited: make(chan struct{})}})
	_, err = r.Describe(t.Context())
	var failure core.Failure
	is.True(errors.As(err, &failure))
	is.Equal(failure.Reason, pluginLost)
	is.Equal(failure.Class, core.FailureRetryable)
	is.True(strings.Contains(failure.Message, "it had not ended"))
}
