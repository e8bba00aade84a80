// Package reset is what lies on a host's disk while it is reset, and the exchange by which it comes true. The image
// engine prepares it while the host runs; the first process of the next boot carries it out, before anything is mounted.
//
// Below the engine's root:
//
//	reset/reset.json   what is to become of the host
//	reset/var          the fresh /var; once they are exchanged, the former one
//	reset/etc          the fresh /etc of the deployment; once they are exchanged, the former one
//	reset/failure      why the last boot could not exchange them
package reset

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Stage is how far a reset has come, as its record has it. That the trees are exchanged is not written down: it is seen.
type Stage string

// The stages.
const (
	Triggered Stage = "triggered"
	Done      Stage = "done"
)

// Record is reset.json.
type Record struct {
	Stage      Stage    `json:"stage"`
	Deployment string   `json:"deployment"`     // the one that is reset, and no other
	Boot       string   `json:"boot,omitempty"` // the boot ID of the system in which it was triggered
	Keep       []string `json:"keep,omitempty"` // what outlives it: paths in the engine's root, none below another

	// The fresh folders are known by their inode numbers, wherever they lie: an exchange changes both names at once.
	Var uint64 `json:"var,omitempty"`
	Etc uint64 `json:"etc,omitempty"`
}

// The names in the folder of a reset.
const (
	folder      = "reset"
	recordFile  = "reset.json"
	failureFile = "failure"
)

// Folder is where a reset lies below the engine's root.
func Folder(root string) string { return filepath.Join(root, folder) }

// File is the record in the folder of a reset.
func File(folder string) string { return filepath.Join(folder, recordFile) }

// FreshVar and FreshEtc are the trees in the folder of a reset.
func FreshVar(folder string) string { return filepath.Join(folder, "var") }

// FreshEtc is the deployment's /etc in the folder of a reset.
func FreshEtc(folder string) string { return filepath.Join(folder, "etc") }

// Etc is where the /etc of a deployment lies, from the engine's root.
func Etc(deployment string) string { return filepath.Join("deployments", deployment, "etc") }

// Read reads the record of the reset below a root. There may be none.
func Read(root string) (record Record, found bool, err error) {
	text, err := os.ReadFile(File(Folder(root)))
	if errors.Is(err, fs.ErrNotExist) {
		return Record{}, false, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &record)
	}
	if err != nil {
		return Record{}, false, fmt.Errorf("reading the record of a reset: %w", err)
	}
	return record, true, nil
}

// Marshal writes the record for people to read.
func (r Record) Marshal() ([]byte, error) {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("writing the record of a reset: %w", err)
	}
	return append(text, '\n'), nil
}

// Inode is the number by which a folder is known.
func Inode(folder string) (uint64, error) {
	var state unix.Stat_t
	if err := unix.Lstat(folder, &state); err != nil {
		return 0, &fs.PathError{Op: "lstat", Path: folder, Err: err}
	}
	if state.Mode&unix.S_IFMT != unix.S_IFDIR {
		return 0, fmt.Errorf("%s is not a folder", folder)
	}
	return state.Ino, nil
}

// Failure is why the last boot could not carry out the reset below a root; empty when it left no reason.
func Failure(root string) string {
	text, err := os.ReadFile(filepath.Join(Folder(root), failureFile))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// blame keeps why a boot could not carry out the reset, where the engine finds it.
func blame(root string, reason error) error {
	name := filepath.Join(Folder(root), failureFile)
	file, err := os.OpenFile(name+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("keeping why the reset failed: %w", err)
	}
	_, err = fmt.Fprintln(file, reason)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(name+".tmp", name)
	}
	if err != nil {
		return fmt.Errorf("keeping why the reset failed: %w", err)
	}
	return syncAll(Folder(root))
}
