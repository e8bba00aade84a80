package journal_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/matryer/is"

	"elemental/adapters/journal"
	"elemental/core"
	"elemental/ports"
	"elemental/ports/portstest"
)

func TestJournal(t *testing.T) {
	for name, damage := range map[string]string{"truncated": `{"format":1,"jour`, "of the future": `{"format":99}`, "empty": ``} {
		t.Run(name, func(t *testing.T) {
			portstest.TestJournal(t, func(t *testing.T) portstest.JournalCase {
				dir := filepath.Join(t.TempDir(), "made", "when", "saved")
				return portstest.JournalCase{
					Journal: journal.New(filepath.Join(dir, "journal.json")),
					Reopen:  func() ports.Journal { return journal.New(filepath.Join(dir, "journal.json")) },
					Damage: func() {
						if err := os.WriteFile(filepath.Join(dir, "journal.json"), []byte(damage), 0o600); err != nil {
							t.Fatal(err)
						}
					},
				}
			})
		})
	}
}

func TestSaveLeavesTheOldJournalWhereTheNewOneCannotBe(t *testing.T) {
	is := is.New(t)
	ctx, dir := context.Background(), t.TempDir()
	j := journal.New(filepath.Join(dir, "journal.json"))
	is.NoErr(j.Save(ctx, core.Journal{Requested: "old"}))
	blocked := journal.New(filepath.Join(dir, "journal.json", "journal.json")) // A file where a folder should be.
	err := blocked.Save(ctx, core.Journal{Requested: "new"})
	is.True(err != nil)
	kept, err := j.Load(ctx)
	is.NoErr(err)
	is.Equal(kept.Requested, "old")
	entries, err := os.ReadDir(dir)
	is.NoErr(errors.Join(err))
	is.Equal(len(entries), 1) // No temporary file is left.
}
