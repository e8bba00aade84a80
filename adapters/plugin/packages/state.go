package packages

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"elemental/adapters/durable"
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
	text, err := os.ReadFile(filepath.Join(folder, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("reading what the plugin remembers: %w", err)
	}
	if json.Unmarshal(text, &s) != nil {
		return state{}, nil
	}
	return s, nil
}

func (s state) write(folder string) error {
	text, err := json.Marshal(s)
	if err == nil {
		err = os.MkdirAll(folder, 0o700)
	}
	if err == nil {
		err = durable.WriteFile(filepath.Join(folder, stateFile), text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("noting what the plugin must remember: %w", err)
	}
	return nil
}
