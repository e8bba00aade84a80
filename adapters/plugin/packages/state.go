package packages

import (
	"errors"
	"fmt"
	"path/filepath"

	"elemental/adapters/plugin/durable"
)

// stateFile is the file in the work dir that holds the plugin's memory.
const stateFile = "packages.json"

// state is what the plugin must remember, since it can't be seen on the host. One that was lost or damaged is a fresh
// start: refresh and upgrade are carried out once more.
type state struct {
	Carried string  // hash of the request that was last carried out whole
	Open    *begun  // a transaction of which the end is not known; nil: there is none
	Restart pending // the restart that our own transactions need
	Foreign pending // the one that the host needed before them
	Changed string  // the boot in which packages were last changed by us
}

// begun is a transaction, noted before it begins.
type begun struct {
	Boot   string
	Before []string // why the host was to be restarted even before
}

// pending says why a host must be restarted, as long as it runs this boot.
type pending struct {
	Boot    string
	Because []string
}

// at returns the reasons that hold in a boot.
func (p pending) at(boot string) []string {
	if p.Boot != boot {
		return nil
	}
	return p.Because
}

func readState(folder string) (state, error) {
	var s state
	_, err := durable.ReadJSON(filepath.Join(folder, stateFile), &s)
	if errors.Is(err, durable.ErrDamaged) {
		return state{}, nil
	}
	if err != nil {
		return state{}, fmt.Errorf("reading what the plugin remembers: %w", err)
	}
	return s, nil
}

func (s state) write(folder string) error {
	if err := durable.WriteJSON(filepath.Join(folder, stateFile), s); err != nil {
		return fmt.Errorf("noting what the plugin must remember: %w", err)
	}
	return nil
}
