package hosts

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// DeploymentID is the name of an image's deployment, from the digest of its manifest.
func DeploymentID(digest string) string {
	return strings.TrimPrefix(digest, "sha256:")[:32]
}

// disk is the folder that is a host's disk.
type disk string

func (d disk) path(elements ...string) string {
	return filepath.Join(append([]string{string(d)}, elements...)...)
}

func (d disk) entries() string { return d.path("boot", "loader", "entries") }

// folders are those of a disk's own root, as an installation leaves it.
var folders = []string{
	"usr", "etc", "proc", "sys", "dev", "run", "tmp", "boot/loader/entries",
	"elemental/bin", "elemental/deployments", "elemental/var/log/journal",
}

// install makes a disk with one deployment, which is confirmed. Elemental itself installs it; only what it would refuse is
// laid out here.
func (d disk) install(ctx context.Context, options Options) error {
	if options.Reference != "" {
		id, err := d.installSystem(ctx, options)
		if err != nil {
			return err
		}
		return d.settle(id, options)
	}
	for _, folder := range folders {
		if err := os.MkdirAll(d.path(folder), 0o755); err != nil {
			return err
		}
	}
	if err := copyFile(options.Binary, d.path("elemental/bin/elemental")); err != nil {
		return fmt.Errorf("installing the first process: %w", err)
	}
	id, err := d.addDeployment(ctx, options)
	if err != nil {
		return err
	}
	// What the first image has in /var is where the host begins.
	if err := run(ctx, "cp", "-a", "-T", d.path("elemental/deployments", id, "root/var"), d.path("elemental/var")); err != nil {
		return err
	}
	return d.addEntry(id, 1, "")
}

// installPlain makes the disk the root of a system, as any distribution's installer does.
func (d disk) installPlain(ctx context.Context, options Options) error {
	layers, err := options.Image.Layers()
	if err != nil {
		return err
	}
	for _, layer := range layers {
		if err := unpack(ctx, layer, string(d)); err != nil {
			return fmt.Errorf("unpacking the system: %w", err)
		}
	}
	for name, file := range options.Etc {
		if err := writeFile(d.path("etc", name), file, 0o644); err != nil {
			return err
		}
	}
	if err := os.Chmod(d.path("etc", kubeconfigFile), 0o600); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return writeFile(d.path("etc/hostname"), options.Name+"\n", 0o644)
}

// addDeployment lays down a deployment without the image plugin, which would refuse a broken one. The objects
// that the plugin shares between deployments are missing then.
func (d disk) addDeployment(ctx context.Context, options Options) (id string, err error) {
	digest, err := options.Image.Digest()
	if err != nil {
		return "", err
	}
	id = DeploymentID(digest.String())
	deployment := d.path("elemental/deployments", id)
	root := filepath.Join(deployment, "root")
	if err := os.MkdirAll(root, 0o755); err != nil {
		return "", err
	}
	layers, err := options.Image.Layers()
	if err != nil {
		return "", err
	}
	for _, layer := range layers {
		if err := unpack(ctx, layer, root); err != nil {
			return "", fmt.Errorf("unpacking a system: %w", err)
		}
	}
	if err := run(ctx, "cp", "-a", "-T", root+"/etc", deployment+"/etc"); err != nil {
		return "", err
	}
	if err := d.settle(id, options); err != nil {
		return "", err
	}
	text, err := record(options, id, digest.String(), layers)
	if err != nil {
		return "", err
	}
	return id, writeFile(filepath.Join(deployment, "deployment.json"), text, 0o644)
}

// settle writes what is the host's own into the /etc of a deployment.
func (d disk) settle(id string, options Options) error {
	etc := d.path("elemental/deployments", id, "etc")
	for name, file := range options.Etc {
		if err := writeFile(filepath.Join(etc, name), file, 0o600); err != nil {
			return err
		}
	}
	return writeFile(filepath.Join(etc, "hostname"), options.Name+"\n", 0o644)
}

// record is what a deployment says of itself, as the image engine writes it.
func record(options Options, id, digest string, layers []v1.Layer) (string, error) {
	now := time.Now().UTC()
	diffIDs := []string{}
	for _, layer := range layers {
		diffID, err := layer.DiffID()
		if err != nil {
			return "", err
		}
		diffIDs = append(diffIDs, diffID.String())
	}
	text, err := json.MarshalIndent(map[string]any{
		"id": id, "digest": digest, "requested": "", "created": now, "version": options.Version, "layers": diffIDs,
		"references": []map[string]any{{"reference": options.Reference, "resolvedAt": now}},
	}, "", "  ")
	return string(text), err
}

// addEntry makes a deployment a choice of the boot loader; counter is "" or, on trial, such as "+3".
func (d disk) addEntry(id string, order uint64, counter string) error {
	return writeFile(filepath.Join(d.entries(), "elemental-"+id+counter+".conf"), fmt.Sprintf(
		"title Elemental %s\nsort-key elemental\nversion %020d\noptions elemental.deployment=%s\n", id, order, id), 0o644)
}

// unpack lays a layer over what is there.
func unpack(ctx context.Context, layer v1.Layer, root string) error {
	if err := removeGone(layer, root); err != nil {
		return err
	}
	content, err := layer.Uncompressed()
	if err != nil {
		return err
	}
	defer func() { _ = content.Close() }()
	cmd := exec.CommandContext(ctx, "tar", "--extract", "--preserve-permissions", "--numeric-owner", "--xattrs",
		"--xattrs-include=*", "--exclude=.wh.*", "--directory="+root)
	cmd.Stdin = content
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("running tar: %w\n%s", err, out)
	}
	return nil
}

// removeGone takes away what a layer says is gone. The tests make such layers themselves, and small.
func removeGone(layer v1.Layer, root string) error {
	size, err := layer.Size()
	if err != nil || size > 8<<20 {
		return err
	}
	content, err := layer.Uncompressed()
	if err != nil {
		return err
	}
	defer func() { _ = content.Close() }()
	for archive := tar.NewReader(content); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if gone, ok := strings.CutPrefix(path.Base(header.Name), ".wh."); ok {
			if err := os.RemoveAll(filepath.Join(root, path.Dir(header.Name), gone)); err != nil {
				return err
			}
		}
	}
}

// forget removes what systemd-nspawn remembers of a disk and a machine below /run. It does so itself only
// where it ends in peace, and where /run is a file system in memory.
func (d disk) forget(machine string) {
	const memory = "/run/systemd/nspawn"
	_ = os.Remove(filepath.Join(memory, "propagate", machine))
	var state syscall.Stat_t
	if syscall.Stat(string(d), &state) == nil {
		_ = os.Remove(filepath.Join(memory, "locks", fmt.Sprintf("inode-%d:%d", state.Dev, state.Ino)))
	}
}

func writeFile(name, text string, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, []byte(text), mode)
}

func copyFile(from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o755)
}

func run(ctx context.Context, program string, args ...string) error {
	if out, err := exec.CommandContext(ctx, program, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("running %s: %w\n%s", program, err, out)
	}
	return nil
}
