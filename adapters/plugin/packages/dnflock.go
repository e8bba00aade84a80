package packages

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"elemental/adapters/plugin/durable"
)

// versionLock is the list of dnf's plugin versionlock, which comes in the package python3-dnf-plugin-versionlock. A host
// without it holds nothing between the transactions of Elemental.
type versionLock struct {
	conf string // the plugin's configuration
}

// lockMark stands before each line that is Elemental's, with the package and the version.
const lockMark = "# elemental: "

// list is the file with the locks; empty where the plugin is not there or not on.
func (l versionLock) list() (string, error) {
	text, err := os.ReadFile(l.conf)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading where dnf locks versions: %w", err)
	}
	path := ""
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(line, "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		switch {
		case key == "locklist":
			path = value
		case key == "enabled" && strings.Contains(" 0 no off false ", " "+strings.ToLower(value)+" "):
			return "", nil
		}
	}
	return path, nil
}

// read returns the file, what of it is not Elemental's, and what is.
func (l versionLock) read() (path string, others []string, held map[string]string, err error) {
	if path, err = l.list(); err != nil || path == "" {
		return "", nil, nil, err
	}
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", nil, nil, fmt.Errorf("reading what versions dnf locks: %w", err)
	}
	held = map[string]string{}
	var name, version string // of the mark before a line
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		if mark, marked := strings.CutPrefix(line, lockMark); marked {
			name, version, _ = strings.Cut(mark, " ")
			continue
		}
		if name != "" && line == name+"-"+version {
			held[name] = version
		} else {
			others = append(others, line)
		}
		name = ""
	}
	return path, others, held, nil
}

// held says at which versions Elemental holds packages; nil where the plugin is not there.
func (l versionLock) held() (map[string]string, error) {
	_, _, held, err := l.read()
	return held, err
}

// hold makes the locks that are Elemental's be these, and leaves the administrator's.
func (l versionLock) hold(versions map[string]string) error {
	path, lines, _, err := l.read()
	if err != nil || path == "" {
		return err
	}
	was, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("reading what versions dnf locks: %w", err)
	}
	for _, name := range sorted(versions) {
		lines = append(lines, lockMark+name+" "+versions[name], name+"-"+versions[name])
	}
	text := ""
	if len(lines) > 0 {
		text = strings.Join(lines, "\n") + "\n"
	}
	if text == string(was) {
		return nil
	}
	if err := durable.WriteFile(path, []byte(text), 0o644); err != nil {
		return fmt.Errorf("telling dnf what versions to lock: %w", err)
	}
	return nil
}
