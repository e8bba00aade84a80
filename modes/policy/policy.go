// Package policy reads the host's own last word on what a cluster may ask of it. Nothing remote can change it.
package policy

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"elemental/core"
	"elemental/modes/settings"
)

// Path is where the policy is.
const Path = "/etc/elemental/policy.yaml"

// maxSize bounds the file, in bytes.
const maxSize = 1 << 20

// Policy says what a host lets a cluster do. Its zero value holds where there is no file: what gives a cluster more than
// it has without Elemental must be allowed, and all else must be forbidden.
type Policy struct {
	Commands Commands `yaml:"commands"`
	Images   Images   `yaml:"images"`
	Reset    Reset    `yaml:"reset"`
	// Plugins are those that may keep this host's OS version, named as agent.osPlugin names them; none named: any.
	Plugins []string `yaml:"plugins"`

	path string
}

// Commands is the rule on commands that come from the cluster.
type Commands struct {
	// Allow lets whoever may patch the host's object run commands on it as root.
	Allow bool `yaml:"allow"`
}

// Reset is the rule on the reset of the host.
type Reset struct {
	// Allow lets a cluster reset the host, by which all that is on it is lost; nil: it does.
	Allow *bool `yaml:"allow"`
}

// Read reads a policy. A file that is missing is the zero policy. One that others than root could have
// written, or that says what is not understood, is an error, since a mistyped rule must not be an absent one.
func Read(path string) (Policy, error) {
	policy := Policy{path: path}
	text, err := read(path)
	if err == nil {
		err = settings.Decode(text, &policy)
	}
	if err == nil {
		err = policy.check()
	}
	if errors.Is(err, fs.ErrNotExist) {
		return policy, nil
	}
	if err != nil {
		return Policy{}, fmt.Errorf("reading the host's policy %s: %w", path, err)
	}
	return policy, nil
}

func (p Policy) check() error {
	if slices.Contains(p.Plugins, "") {
		return errors.New("plugins names one that has no name; write the name as agent.osPlugin has it, or remove the line")
	}
	return p.Images.check()
}

// AllowCommands returns nil where commands may be run, and else the failure that says how to allow them.
func (p Policy) AllowCommands() error {
	if p.Commands.Allow {
		return nil
	}
	return p.denial("commands", "commands.allow", "does not let a cluster run commands on it", `write the line "commands: {allow: true}" into %s`)
}

// AllowReset returns nil where the cluster may reset the host, and else the failure that says how to allow it.
func (p Policy) AllowReset() error {
	if p.Reset.Allow == nil || *p.Reset.Allow {
		return nil
	}
	return p.denial("", "reset.allow", "does not let a cluster reset it", `write the line "reset: {allow: true}" into %s`)
}

// AllowPlugin returns nil where a plugin may keep the host's OS version, and else the failure that says how to allow it.
func (p Policy) AllowPlugin(name string) error {
	if len(p.Plugins) == 0 || slices.Contains(p.Plugins, name) {
		return nil
	}
	return p.denial("", "plugins", fmt.Sprintf("does not let the plugin %s keep its OS version", name),
		fmt.Sprintf("name %s in that rule in %%s", strings.ReplaceAll(name, "%", "%%")))
}

// denial says which rule of this host does not let something happen, and how to change that. The remedy has one %s, for
// the file.
func (p Policy) denial(field, rule, denies, remedy string) core.Failure {
	return core.Failure{
		Class: core.FailureInvalid, Reason: core.ReasonPolicyDenied, Path: field,
		Message: fmt.Sprintf("the rule %s of this host %s; to allow it, "+remedy+" on the host, and then give the retry annotation a new value", rule, denies, p.path),
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
