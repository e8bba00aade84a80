package hosts

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// stage lets the image plugin lay down the first deployment, so that the disk is as the product leaves it: what
// later images share with the first is neither fetched nor written again. The plugin runs with the disk as its
// root, where it finds a configuration for this one purpose; that of the host may trust no registry at all.
func (d disk) stage(ctx context.Context, options Options) (id string, err error) {
	from, _, _ := strings.Cut(strings.TrimPrefix(options.Reference, "oci://"), "/")
	config, err := imageConfig(from, "1m")
	if err != nil {
		return "", err
	}
	if err := writeFile(d.path("etc", imageFile), config, 0o600); err != nil {
		return "", err
	}
	// No deployment is booted, which the plugin would read from a /proc.
	cmdline := d.path("proc", "cmdline")
	if err := os.WriteFile(cmdline, nil, 0o600); err != nil {
		return "", err
	}
	defer func() { _ = os.Remove(cmdline) }()

	request, err := json.Marshal(map[string]any{
		"protocol": "elemental.io/plugin/v1", "verb": "stage", "host": options.Name, "workDir": "/tmp",
		"input": map[string]any{"osVersionManagement": map[string]any{"osVersion": map[string]any{"imageUri": options.Reference}}},
	})
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "/elemental/bin/elemental", "plugin", "image", "stage")
	cmd.Dir, cmd.Env = "/", []string{"HOME=/"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: string(d)}
	cmd.Stdin = bytes.NewReader(request)
	var said bytes.Buffer
	cmd.Stderr = &said
	answers, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("staging the first system: %w\n%s", err, said.String())
	}
	lines := strings.Split(strings.TrimSpace(string(answers)), "\n")
	if last := lines[len(lines)-1]; !strings.HasPrefix(last, `{"result"`) {
		return "", fmt.Errorf("staging the first system: the plugin answered %s\n%s", last, said.String())
	}
	return d.confirmFirst()
}

// confirmFirst ends the trial of the only deployment: there is nothing to fall back to.
func (d disk) confirmFirst() (id string, err error) {
	found, err := filepath.Glob(filepath.Join(d.entries(), "*.conf"))
	if err != nil {
		return "", err
	}
	if len(found) != 1 {
		return "", errors.New("staging the first system: it has no boot entry")
	}
	first, err := readEntry(found[0])
	if err != nil {
		return "", err
	}
	return first.option("elemental.deployment"), os.Rename(found[0], filepath.Join(d.entries(), first.id+".conf"))
}
