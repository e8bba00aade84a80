package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"elemental/modes/agentfile"
	"elemental/modes/policy"
	"elemental/ports"
)

// files are what makes an installed system this very host: who it is, how its agent works, and its own last word. What
// the agent remembers is of the system that runs now, and stays with it.
func (l life) files(ctx context.Context) ([]ports.File, error) {
	var files []ports.File
	if l.member != nil {
		known, err := l.member.registrar.Files(ctx)
		if err != nil {
			return nil, err
		}
		files = known
	}
	// Wherever this configuration was read from, the installed system's agent reads it in its own place.
	mine, err := fileFrom(l.config.File, agentfile.Path)
	if err != nil {
		return nil, err
	}
	files = append(files, mine...)
	for _, path := range []string{policy.Path, l.config.Cluster.Kubeconfig} {
		if path == "" {
			continue
		}
		more, err := fileFrom(path, path)
		if errors.Is(err, fs.ErrNotExist) && path == policy.Path {
			continue // Most hosts have none.
		}
		if err != nil {
			return nil, err
		}
		files = append(files, more...)
	}
	return files, nil
}

// fileFrom reads a file as one that root alone may read, wherever it is to be.
func fileFrom(path, to string) ([]ports.File, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading what the installed system needs: %w", err)
	}
	return []ports.File{{Path: to, Mode: 0o600, Data: text}}, nil
}
