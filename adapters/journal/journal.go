// Package journal keeps an agent's memory as one small file.
package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"elemental/core"
)

// File is a journal in a file. It implements ports.Journal.
type File struct{ path string }

// New returns the journal in a file, which is made with its folder when the journal is first saved.
func New(path string) File { return File{path: path} }

// document is what stands in the file. Format grows when a reader of before would misread it.
type document struct {
	Format  int          `json:"format"`
	Journal core.Journal `json:"journal"`
}

const format = 1

// Load reads the journal. Where it is missing, it is empty; where it is damaged, it is empty too, and the
// error says what is wrong with it.
func (f File) Load(context.Context) (core.Journal, error) {
	text, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return core.Journal{}, nil
	}
	if err != nil {
		return core.Journal{}, fmt.Errorf("reading the journal: %w", err)
	}
	var d document
	if err := json.Unmarshal(text, &d); err != nil {
		return core.Journal{}, fmt.Errorf("reading the journal %s, starting afresh: %w", f.path, err)
	}
	if d.Format != format {
		return core.Journal{}, fmt.Errorf("reading the journal %s, starting afresh: its format is %d, this agent knows %d", f.path, d.Format, format)
	}
	return d.Journal, nil
}

// Save writes the journal to a temporary file and renames it, so that a power cut leaves the old one or the
// new one, whole.
func (f File) Save(_ context.Context, journal core.Journal) error {
	text, err := json.Marshal(document{Format: format, Journal: journal})
	if err != nil {
		return fmt.Errorf("writing the journal: %w", err)
	}
	if err := replace(f.path, text); err != nil {
		return fmt.Errorf("writing the journal: %w", err)
	}
	return nil
}

func replace(path string, content []byte) (err error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	temporary, err := os.CreateTemp(dir, ".journal-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temporary.Name()) // What matters was said by the first error.
		}
	}()
	_, err = temporary.Write(content)
	if err == nil {
		err = temporary.Sync()
	}
	if err = errors.Join(err, temporary.Close()); err != nil {
		return err
	}
	if err = os.Rename(temporary.Name(), path); err != nil {
		return err
	}
	return syncFolder(dir)
}

func syncFolder(dir string) error {
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
