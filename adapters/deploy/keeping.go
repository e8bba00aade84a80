package deploy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"elemental/core"
)

// DefaultResetKeeps are what a reset keeps besides what it is asked to, as patterns: what makes the host the machine that
// it is, and lets its agent come back: its name, disks and their keys, network and SSH host keys, and the agent's own units. All else in
// /etc is the image's afterwards, users and /etc/machine-id too.
func DefaultResetKeeps() []string {
	return []string{
		"/etc/elemental",
		"/etc/hostname", "/etc/hosts", "/etc/resolv.conf",
		"/etc/fstab", "/etc/crypttab", "/etc/cryptsetup-keys.d",
		"/etc/iscsi", "/etc/nvme", "/etc/mdadm", "/etc/mdadm.conf", "/etc/multipath*",
		"/etc/systemd/network", "/etc/NetworkManager/system-connections", "/etc/netplan",
		"/etc/network/interfaces", "/etc/network/interfaces.d", "/etc/sysconfig/network", "/etc/sysconfig/network-scripts",
		"/etc/ssh/ssh_host_*",
		"/etc/systemd/system/elemental-*", "/etc/systemd/system/*.wants/elemental-*",
	}
}

// CheckResetKeep says what is wrong with a pattern of what a reset keeps.
func CheckResetKeep(pattern string) error {
	if _, err := path.Match(pattern, ""); err != nil {
		return fmt.Errorf("%q is no pattern: %w", pattern, err)
	}
	if _, err := placeKept(pattern); err != nil {
		return err
	}
	return nil
}

// The limits of what may be kept.
const (
	maxKept     = 256
	maxKeptPath = 4096
)

// errNotReset says that a path is nothing that a reset touches.
var errNotReset = errors.New("only what is below /etc, /var, /home and /root is reset and can be kept")

// placeKept finds where in the engine's root a path of the running system lies.
func placeKept(at string) (string, error) {
	at = strings.TrimSuffix(at, "/")
	switch {
	case len(at) > maxKeptPath:
		return "", fmt.Errorf("%.80q… has more than %d bytes", at, maxKeptPath)
	case !path.IsAbs(at), path.Clean(at) != at, strings.ContainsRune(at, 0):
		return "", fmt.Errorf("%q is no whole path without . and .. in it", at)
	case at == "/etc", at == "/var":
		return "", fmt.Errorf("%s as a whole can't be kept: there would be no reset", at)
	case strings.HasPrefix(at, "/etc/"), strings.HasPrefix(at, "/var/"):
		return at[1:], nil
	}
	for _, shared := range sharedFolders {
		if below, found := strings.CutPrefix(at, "/"+shared.shown); found && (below == "" || below[0] == '/') {
			return path.Join("var", shared.below, below), nil
		}
	}
	return "", fmt.Errorf("%q can't be kept: %w", at, errNotReset)
}

// readResetOptions reads the options of a reset, and returns the paths that they want kept.
func readResetOptions(document []byte) ([]string, error) {
	if len(bytes.TrimSpace(document)) == 0 {
		return nil, nil
	}
	invalid := func(at, format string, args ...any) ([]string, error) {
		return nil, core.Failure{Class: core.FailureInvalid, Reason: "BadResetOptions", Path: at, Message: fmt.Sprintf(format, args...)}
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(document, &fields); err != nil {
		return invalid("", "the options of a reset are no JSON object: %v", err)
	}
	names := make([]string, 0, len(fields))
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if name != "keep" {
			return invalid(name, "the options of a reset have no such field; the only one is keep, a list of paths")
		}
	}
	var keep []string
	if text, ok := fields["keep"]; ok {
		if err := json.Unmarshal(text, &keep); err != nil {
			return invalid("keep", "it must be a list of paths")
		}
	}
	if len(keep) > maxKept {
		return invalid("keep", "it names %d paths, and may name %d", len(keep), maxKept)
	}
	for i, at := range keep {
		if _, err := placeKept(at); err != nil {
			return invalid(fmt.Sprintf("keep[%d]", i), "%v", err)
		}
	}
	return keep, nil
}

// keptBy gathers what a reset of a deployment keeps, as paths in the engine's root: what it is asked to, what its options
// name, and the host's own list. What the agent asks for and no reset touches is kept anyhow.
func (e *Engine) keptBy(deployment string, asked, options []string) ([]string, error) {
	if len(asked) > maxKept {
		return nil, core.Failure{
			Class: core.FailureInvalid, Reason: "BadKeep", Path: "keep", Message: fmt.Sprintf("it names %d paths, and may name %d", len(asked), maxKept),
		}
	}
	var kept []string
	for i, at := range append(slices.Clone(asked), options...) {
		place, err := placeKept(at)
		if errors.Is(err, errNotReset) {
			continue
		}
		if err != nil {
			return nil, core.Failure{Class: core.FailureInvalid, Reason: "BadKeep", Path: fmt.Sprintf("keep[%d]", i), Message: err.Error()}
		}
		kept = append(kept, place)
	}
	for _, pattern := range e.ResetKeeps {
		found, err := e.match(deployment, pattern)
		if err != nil {
			return nil, fmt.Errorf("finding what a reset keeps by %q: %w", pattern, err)
		}
		kept = append(kept, found...)
	}
	return outermost(kept), nil
}

// match finds what a pattern means in the trees that a deployment runs with.
func (e *Engine) match(deployment, pattern string) ([]string, error) {
	place, err := placeKept(pattern)
	if err != nil {
		return nil, err
	}
	tree, below, _ := strings.Cut(place, "/")
	at := e.path(tree)
	if tree == "etc" {
		at = e.deployment(deployment, "etc")
	}
	found, err := fs.Glob(os.DirFS(at), below)
	for i := range found {
		found[i] = path.Join(tree, found[i])
	}
	return found, err
}

// outermost drops what is below another.
func outermost(paths []string) []string {
	slices.SortFunc(paths, func(a, b string) int { return strings.Compare(a+"/", b+"/") })
	var rest []string
	for _, at := range paths {
		if n := len(rest); n > 0 && strings.HasPrefix(at+"/", rest[n-1]+"/") {
			continue
		}
		rest = append(rest, at)
	}
	return rest
}
