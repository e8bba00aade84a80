package deploy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// collect removes what no boot needs: everything but the running system, the confirmed one before it, what is
// staged, and the recovery system, which becomes the last choice. The boot entry goes first and the files last, so that no entry ever leads to what is gone.
func (e *Engine) collect(ctx context.Context) error {
	now, err := e.look(ctx)
	if err != nil {
		return err
	}
	keep := map[string]bool{now.booted: true}
	if entry, ok := now.previous(); ok {
		keep[entry.Deployment] = true
	}
	if entry, ok := now.staged(); ok {
		keep[entry.Deployment] = true
	}
	last := recovery(now.records)
	kernels := map[string]bool{}
	for _, entry := range now.entries {
		if keep[entry.Deployment] {
			kernels[path.Dir(entry.Kernel)] = true
			continue
		}
		if entry.Deployment == last {
			kernels[path.Dir(entry.Kernel)] = true
			entry.Order, entry.Trial = 0, false
			if err := e.Loader.Add(ctx, entry); err != nil {
				return fmt.Errorf("making deployment %s the last choice: %w", last, err)
			}
			continue
		}
		if err := e.Loader.Remove(ctx, entry.Deployment); err != nil {
			return fmt.Errorf("removing the boot entry of deployment %s: %w", entry.Deployment, err)
		}
	}
	if last != "" {
		keep[last] = true
	}
	for id := range keep {
		kernels[path.Dir(now.records[id].Kernel)] = true
	}
	if err := e.collectKernels(kernels); err != nil {
		return err
	}
	if err := e.collectTrees(ctx, keep); err != nil {
		return err
	}
	return e.collectObjects(ctx, now, keep)
}

// collectKernels removes the kernels of which no entry speaks.
func (e *Engine) collectKernels(keep map[string]bool) error {
	folders, err := os.ReadDir(filepath.Join(e.Boot, "elemental"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("listing the kernels: %w", err)
	}
	for _, folder := range folders {
		if keep["/elemental/"+folder.Name()] {
			continue
		}
		if err := os.RemoveAll(filepath.Join(e.Boot, "elemental", folder.Name())); err != nil {
			return fmt.Errorf("removing a kernel: %w", err)
		}
	}
	return nil
}

// collectTrees removes deployments. Each is moved away first, so that a crash never leaves half of one.
func (e *Engine) collectTrees(ctx context.Context, keep map[string]bool) error {
	entries, err := os.ReadDir(e.path("deployments"))
	if err != nil {
		return fmt.Errorf("listing the deployments: %w", err)
	}
	if err := os.MkdirAll(e.path("staging"), 0o755); err != nil {
		return fmt.Errorf("making the staging folder: %w", err)
	}
	for _, entry := range entries {
		if keep[entry.Name()] {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		away := e.path("staging", "gone-"+entry.Name())
		if err := os.Rename(e.deployment(entry.Name()), away); err != nil {
			return fmt.Errorf("removing deployment %s: %w", entry.Name(), err)
		}
		e.Log.Info("collected", "deployment", entry.Name())
	}
	if err := syncFolder(e.path("deployments")); err != nil {
		return err
	}
	return os.RemoveAll(e.path("staging"))
}

// collectObjects removes the layers that no kept deployment has, and the objects that are in no tree and no layer.
func (e *Engine) collectObjects(ctx context.Context, now state, keep map[string]bool) error {
	layers := map[string]bool{}
	for id := range keep {
		for _, diffID := range now.records[id].Layers {
			layers[strings.TrimPrefix(diffID, "sha256:")+".json.zst"] = true
		}
	}
	found, err := os.ReadDir(e.path("layers"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("listing the layers: %w", err)
	}
	named := map[ObjectID]bool{}
	for _, layer := range found {
		at := e.path("layers", layer.Name())
		if layers[layer.Name()] {
			err = readRecord(at, func(entry Entry) error { named[entry.Object] = true; return ctx.Err() })
		} else {
			err = os.Remove(at)
		}
		if err != nil {
			return err
		}
	}
	// The records go before the objects: a record whose objects are gone would be one that lies.
	if err := syncFolder(e.path("layers")); err != nil {
		return err
	}
	return e.sweep(ctx, named)
}

// sweep removes the objects that have no other name and are in no layer.
func (e *Engine) sweep(ctx context.Context, named map[ObjectID]bool) error {
	folders, err := os.ReadDir(e.path("objects"))
	if err != nil {
		return fmt.Errorf("listing the objects: %w", err)
	}
	for _, folder := range folders {
		if err := ctx.Err(); err != nil {
			return err
		}
		objects, err := os.ReadDir(e.path("objects", folder.Name()))
		if err != nil {
			return fmt.Errorf("listing the objects: %w", err)
		}
		for _, object := range objects {
			at := e.path("objects", folder.Name(), object.Name())
			var id ObjectID
			var stat unix.Stat_t
			if id.UnmarshalText([]byte(folder.Name()+object.Name())) == nil && named[id] {
				continue
			}
			if err := unix.Lstat(at, &stat); err != nil || stat.Nlink > 1 {
				continue
			}
			if err := os.Remove(at); err != nil {
				return fmt.Errorf("removing an object: %w", err)
			}
		}
	}
	return nil
}
