package portstest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/matryer/is"

	"elemental/core"
	"elemental/ports"
)

// Journal is a journal in memory.
type Journal struct {
	mutex sync.Mutex
	kept  core.Journal
	fails error
}

// Fail lets every Save end with an error from now on; nil lets it succeed again.
func (j *Journal) Fail(err error) {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	j.fails = err
}

// Load returns what was saved last.
func (j *Journal) Load(context.Context) (core.Journal, error) {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	return j.kept, nil
}

// Save keeps a journal.
func (j *Journal) Save(_ context.Context, journal core.Journal) error {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	if j.fails == nil {
		j.kept = journal
	}
	return j.fails
}

// JournalCase is a journal to be tested.
type JournalCase struct {
	ports.Journal
	// Reopen is the journal of the process that comes after this one.
	Reopen func() ports.Journal
	// Damage spoils what is kept; nil where nothing can.
	Damage func()
}

// TestJournal holds a journal against its port.
func TestJournal(t *testing.T, open func(t *testing.T) JournalCase) {
	ctx := context.Background()
	full := core.Journal{
		Requested: "abc", Retry: "1", Armed: true, Begun: true, Attempts: 2, LastAttempt: time.Unix(1700000000, 5).UTC(),
		RestartBoot: "b1", RestartAt: time.Unix(1700000001, 0).UTC(), Bootstrapped: true,
		Trouble: core.Trouble{Verb: core.VerbStage, Failures: 2, NotBefore: time.Unix(1700000002, 0).UTC(), Failure: core.Failure{
			Class: core.FailureRetryable, Reason: "Away", Message: "the registry is \"away\"\n", Path: "a.b",
		}},
	}
	t.Run("is empty at first", func(t *testing.T) {
		is := is.New(t)
		kept, err := open(t).Load(ctx)
		is.NoErr(err)
		is.Equal(kept, core.Journal{})
	})
	t.Run("keeps what was saved last, all of it", func(t *testing.T) {
		is := is.New(t)
		j := open(t)
		is.NoErr(j.Save(ctx, core.Journal{Requested: "other"}))
		is.NoErr(j.Save(ctx, full))
		kept, err := j.Reopen().Load(ctx)
		is.NoErr(err)
		is.Equal(kept, full)
	})
	t.Run("starts afresh when it is damaged, and says so", func(t *testing.T) {
		is := is.New(t)
		j := open(t)
		if j.Damage == nil {
			return
		}
		is.NoErr(j.Save(ctx, full))
		j.Damage()
		kept, err := j.Reopen().Load(ctx)
		is.True(err != nil)
		is.Equal(kept, core.Journal{})
		is.NoErr(j.Save(ctx, full)) // A damaged journal is replaced.
		kept, err = j.Reopen().Load(ctx)
		is.NoErr(errors.Join(err))
		is.Equal(kept, full)
	})
}
