package durable

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/matryer/is"
)

func TestWriteFileReplaces(t *testing.T) {
	is := is.New(t)
	name := filepath.Join(t.TempDir(), "journal.json")
	// What a killed attempt left is no obstacle, and is gone afterwards.
	is.NoErr(os.WriteFile(name+".tmp", []byte("half"), 0o600))
	is.NoErr(WriteFile(name, []byte("one"), 0o600))
	is.NoErr(WriteFile(name, []byte("two"), 0o600))
	text, err := os.ReadFile(name)
	is.NoErr(err)
	is.Equal(string(text), "two")
	info, err := os.Stat(name)
	is.NoErr(err)
	is.Equal(info.Mode().Perm(), os.FileMode(0o600))
	left, err := os.ReadDir(filepath.Dir(name))
	is.NoErr(err)
	is.Equal(len(left), 1)
}

func TestWriteFileKeepsTheOldOne(t *testing.T) {
	is := is.New(t)
	name := filepath.Join(t.TempDir(), "journal.json")
	is.NoErr(os.Mkdir(name, 0o700)) // A folder can't be replaced by a file.
	is.True(WriteFile(name, []byte("one"), 0o600) != nil)
	left, err := os.ReadDir(filepath.Dir(name))
	is.NoErr(err)
	is.Equal(len(left), 1)
	is.True(WriteFile(filepath.Join(name, "missing", "x"), nil, 0o600) != nil)
}
