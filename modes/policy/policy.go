// Package policy reads the host's own last word on what a cluster may ask of it. Nothing remote can change it.
package policy

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"elemental/core"
	"elemental/modes/settings"
)

// Path is where the policy is.
const Path = "/etc/elemental/policy.yaml"

// maxSize bounds the file, in bytes.
const maxSize = 1 << 20

// Policy says what a host lets a cluster do. Its zero value is the strictest one, and holds where there is no file.
type Policy struct {
	Commands Commands `yaml:"commands"`

	path string
}

// Commands is the rule on commands that come from the cluster.
type Commands struct {
	// Allow lets whoever may patch the host's object run commands on it as root.
	Allow bool `yaml:"allow"`
}

// Read reads a policy. A file that is missing is the strictest policy. One that others than root could have
// written, or that says what is not understood, is an error, since a mistyped rule must not be an absent one.
func Read(path string) (Policy, error) {
	policy := Policy{path: path}
	text, err := read(path)
	if err == nil {
		err = settings.Decode(text, &policy)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return policy, nil
	}
	if err != nil {
		return Policy{}, fmt.Errorf("reading the host's policy %s: %w", path, err)
	}
	return policy, nil
}

// AllowCommands returns nil where commands may be run, and else the failure that says how to allow them.
func (p Policy) AllowCommands() error {
	if p.Commands.Allow {
		return nil
	}
	return core.Failure{
		Class: core.FailureInvalid, Reason: core.ReasonPolicyDenied, Path: "commands",
		Message: fmt.Sprintf("the rule commands.allow of this host does not let a cluster run commands on it; to allow it, write the line "+
			"\"commands: {allow: true}\" into %s on the host, and then give the retry annotation a new value", p.path),
	}
}

// read returns the text of a file that only root could have written.
func read(path string) ([]byte, error) {
	folder, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	if err := checkOwner(folder, filepath.Dir(path)); err != nil {
		return nil, err
	}
	// Opening a named pipe would wait for its writer. A link is refused, since its target's folder is not looked at.
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) {
		return nil, errors.New("it is a symbolic link, and must be the file itself")
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	if err := checkOwner(info, path); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(file, maxSize+1))
	if err == nil && len(text) > maxSize {
		err = fmt.Errorf("it is larger than %d bytes", maxSize)
	}
	return text, err
}

// checkOwner accepts what belongs to root and nobody else may write.
func checkOwner(info fs.FileInfo, path string) error {
	if owner := info.Sys().(*syscall.Stat_t).Uid; owner != 0 {
		return fmt.Errorf("%s belongs to user %d; run chown root %s", path, owner, path)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s may be written by others than root (mode %04o); run chmod go-w %s", path, info.Mode().Perm(), path)
	}
	return nil
}
