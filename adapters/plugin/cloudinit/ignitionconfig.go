package cloudinit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"elemental/core"
)

// ignitionConfig is an Ignition config, as far as it matters here what is in it.
type ignitionConfig struct {
	whole map[string]any
	known knownIgnition // of the whole
}

type knownIgnition struct {
	Ignition struct {
		Version string `json:"version"`
	} `json:"ignition"`
	Passwd          map[string][]json.RawMessage `json:"passwd"`
	KernelArguments map[string][]json.RawMessage `json:"kernelArguments"`
	Storage         struct {
		Disks       []json.RawMessage `json:"disks"`
		RAID        []json.RawMessage `json:"raid"`
		LUKS        []json.RawMessage `json:"luks"`
		Filesystems []json.RawMessage `json:"filesystems"`
		Files       []node            `json:"files"`
	} `json:"storage"`
	Systemd struct {
		Units []struct {
			Name    string `json:"name"`
			Enabled *bool  `json:"enabled"`
		} `json:"units"`
	} `json:"systemd"`
}

// node is a file of the config.
type node struct {
	Path      string            `json:"path"`
	Overwrite bool              `json:"overwrite"`
	Append    []json.RawMessage `json:"append"`
	Contents  struct {
		Source *string `json:"source"`
	} `json:"contents"`
}

// ignitionNames are the fields by which it is judged whether a config can be applied.
var ignitionNames = [...]string{
	"ignition", "version", "passwd", "kernelArguments", "storage", "disks", "raid", "luks", "filesystems", "files",
	"path", "overwrite", "append", "contents", "source", "systemd", "units", "name", "enabled",
}

// parseIgnition reads a config, and refuses what can't be applied to a system that runs. The words of a decoder are
// not handed on: they may hold a piece of the config.
func parseIgnition(data []byte) (ignitionConfig, error) {
	var c ignitionConfig
	// A field that stands twice would be one thing here and another there.
	text, err := core.CanonicalJSON(data)
	if err == nil {
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.UseNumber()
		err = decoder.Decode(&c.whole)
	}
	if err != nil || c.whole == nil {
		return c, failed("InvalidBootstrapData", "the format of the bootstrap data is %s, and it is no JSON object in which each field stands once", formatIgnition)
	}
	if name := misspelt(c.whole); name != "" {
		return c, failed("InvalidBootstrapData", "a field of the Ignition config is spelt as %s but for the case of its letters: write %s", name, name)
	}
	if json.Unmarshal(text, &c.known) != nil {
		return c, failed("InvalidBootstrapData", "the bootstrap data is JSON, and no Ignition config: see https://coreos.github.io/ignition/specs")
	}
	if version := c.known.Ignition.Version; !strings.HasPrefix(version, "3.") {
		return c, failed("InvalidBootstrapData", "the bootstrap data's ignition.version is %.20q: it must be one of Ignition's versions 3", version)
	}
	known := c.known
	for _, part := range []struct {
		name  string
		there bool
	}{
		{"passwd", says(known.Passwd)}, {"kernelArguments", says(known.KernelArguments)},
		{"storage.disks", len(known.Storage.Disks) > 0}, {"storage.raid", len(known.Storage.RAID) > 0},
		{"storage.luks", len(known.Storage.LUKS) > 0}, {"storage.filesystems", len(known.Storage.Filesystems) > 0},
		{"storage.files[].append", slices.ContainsFunc(known.Storage.Files, func(f node) bool { return len(f.Append) > 0 })},
	} {
		if part.there {
			return c, failed("IgnitionUnsupported", "the Ignition config has %s, which can't be applied to a system that runs: only files, directories, links and systemd units can", part.name)
		}
	}
	return c, nil
}

// misspelt returns a known name of which a field anywhere in a value differs in case alone; empty when there is none. Go's
// decoder, which is Ignition's too, takes the one for the other, so that it would be applied and not be judged.
func misspelt(value any) string {
	switch value := value.(type) {
	case map[string]any:
		for key, inner := range value {
			for _, name := range ignitionNames {
				if key != name && strings.EqualFold(key, name) {
					return name
				}
			}
			if name := misspelt(inner); name != "" {
				return name
			}
		}
	case []any:
		for _, inner := range value {
			if name := misspelt(inner); name != "" {
				return name
			}
		}
	}
	return ""
}

// says says whether there is anything in a part of a config.
func says(lists map[string][]json.RawMessage) bool {
	for _, list := range lists {
		if len(list) > 0 {
			return true
		}
	}
	return false
}

func (c ignitionConfig) files() []node { return c.known.Storage.Files }

// units are those that the config enables or disables.
func (c ignitionConfig) units() []string {
	var names []string
	for _, unit := range c.known.Systemd.Units {
		if unit.Enabled != nil {
			names = append(names, unit.Name)
		}
	}
	return names
}

// overwriting is the config with each file that it writes allowed to be there already.
func (c ignitionConfig) overwriting() ([]byte, error) {
	storage, _ := c.whole["storage"].(map[string]any)
	files, _ := storage["files"].([]any)
	for i, file := range c.files() {
		if written, ok := files[i].(map[string]any); ok && file.Contents.Source != nil {
			written["overwrite"] = true
		}
	}
	text, err := json.Marshal(c.whole)
	if err != nil {
		return nil, fmt.Errorf("writing the Ignition config: %w", err)
	}
	return text, nil
}
