package toolkit

import (
	"errors"
	"fmt"
	"path/filepath"

	"elemental/adapters/plugin/durable"
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
	var m memory
	_, err := durable.ReadJSON(filepath.Join(p.config.WorkDir, remembered), &m)
	if errors.Is(err, durable.ErrDamaged) {
		fmt.Fprintf(p.config.Log, "what was staged last is forgotten: %v\n", err)
		return memory{}, nil
	}
	if err != nil {
		return memory{}, fmt.Errorf("reading what was staged: %w", err)
	}
	return m, nil
}

func (p *Plugin) remember(m memory) error {
	if err := durable.WriteJSON(filepath.Join(p.config.WorkDir, remembered), m); err != nil {
		return fmt.Errorf("noting what is staged: %w", err)
	}
	return nil
}
