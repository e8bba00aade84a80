package packages

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"elemental/adapters/plugin/durable"
)

// zypperLocks is where libzypp keeps its locks: groups of lines, with empty lines between them. Elemental's are those
// that keep away every version of a package but one: zypper's own command line makes none like that, keeps them when it
// writes the file, and obeys them.
const zypperLocks = "etc/zypp/locks"

const (
	anyBut      = "version: != "
	lockedName  = "solvable_name: "
	exactlyName = "match_type: exact"
)

func zypperLock(name, version string) string {
	return strings.Join([]string{"type: package", exactlyName, "case_sensitive: on", lockedName + name, anyBut + version}, "\n")
}

// readLocks returns the groups that are not Elemental's, and what Elemental holds.
func (z *zypper) readLocks() (others []string, held map[string]string, err error) {
	text, err := os.ReadFile(z.path(zypperLocks))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, nil, fmt.Errorf("reading what zypper locks: %w", err)
	}
	held = map[string]string{}
	for group := range strings.SplitSeq(string(text), "\n\n") {
		if group = strings.TrimSpace(group); group == "" {
			continue
		}
		var name, version string
		lines := strings.Split(group, "\n")
		for _, line := range lines {
			if value, found := strings.CutPrefix(line, anyBut); found {
				version = strings.TrimSpace(value)
			}
			if value, found := strings.CutPrefix(line, lockedName); found {
				name = strings.TrimSpace(value)
			}
		}
		if name != "" && version != "" && slices.Contains(lines, exactlyName) {
			held[name] = version
		} else {
			others = append(others, group)
		}
	}
	return others, held, nil
}

func (z *zypper) held() (map[string]string, error) {
	_, held, err := z.readLocks()
	return held, err
}

// hold makes the locks that are Elemental's be these, and leaves the administrator's.
func (z *zypper) hold(versions map[string]string) error {
	groups, held, err := z.readLocks()
	if err != nil || maps.Equal(held, versions) {
		return err
	}
	for _, name := range sorted(versions) {
		groups = append(groups, zypperLock(name, versions[name]))
	}
	path := z.path(zypperLocks)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("telling zypper what to lock: %w", err)
	}
	text := "\n" + strings.Join(groups, "\n\n") + "\n"
	if err := durable.WriteFile(path, []byte(text), 0o644); err != nil {
		return fmt.Errorf("telling zypper what to lock: %w", err)
	}
	return nil
}
