package toolkit

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"elemental/adapters/durable"
)

// remembered is the file in the work dir that says what was staged.
const remembered = "toolkit.json"

// memory is the last upgrade that was begun. It is written down before the upgrade and after it, so that one that
// was cut off in the middle is not taken for a whole one.
type memory struct {
	Request   string `json:"request,omitempty"`   // the hash of what was asked for
	Boot      string `json:"boot,omitempty"`      // the boot in which it was begun
	Running   int    `json:"running,omitempty"`   // the snapshot that ran then; 0: none of them
	Before    int    `json:"before,omitempty"`    // the active snapshot before it
	After     int    `json:"after,omitempty"`     // the active snapshot that it made; 0: it has not ended well
	Forgotten int    `json:"forgotten,omitempty"` // a snapshot whose fall is no reason any more not to try again
}

// recall reads the memory. One that is missing or damaged is a fresh start: the snapshots bear the hash of what
// they were made for, and tell nearly as much.
func (p *Plugin) recall() (memory, error) {
	text, err := os.ReadFile(filepath.Join(p.config.WorkDir, remembered))
	if errors.Is(err, fs.ErrNotExist) {
		return memory{}, nil
	}
	if err != nil {
		return memory{}, fmt.Errorf("reading what was staged: %w", err)
	}
	var m memory
	if err := json.Unmarshal(text, &m); err != nil {
		fmt.Fprintf(p.config.Log, "what was staged last is forgotten: %s is damaged: %v\n", remembered, err)
		return memory{}, nil
	}
	return m, nil
}

func (p *Plugin) remember(m memory) error {
	text, err := json.Marshal(m)
	if err == nil {
		err = os.MkdirAll(p.config.WorkDir, 0o700)
	}
	if err == nil {
		err = durable.WriteFile(filepath.Join(p.config.WorkDir, remembered), append(text, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("noting what is staged: %w", err)
	}
	return nil
}
