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

	"elemental/adapters/durable"
	"elemental/core"
)

// File is a journal in a folder. It implements ports.Journal.
type File struct{ path string }

// New returns the journal of a work dir, which is made when it is first saved.
func New(workDir string) File { return File{path: filepath.Join(workDir, "journal.json")} }

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
	if err := durable.WriteJSON(f.path, document{Format: format, Journal: journal}); err != nil {
		return fmt.Errorf("writing the journal: %w", err)
	}
	return nil
}
