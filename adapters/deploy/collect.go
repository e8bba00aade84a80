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

// collection is one removal of what no boot needs: everything but the running system, the confirmed one before it,
// what is staged, and the recovery system, which becomes the last choice. The boot entry goes first and the files
// last, so that no entry that is worth booting ever leads to what is gone.
type collection struct {
	engine  *Engine
	now     state
	keep    map[string]bool // deployments that stay whole
	alone   bool            // of all systems only the running one and the recovery system stay
	fallen  map[string]bool // deployments of which the boot entry and the record stay, and what says why they fell
	removed int             // what is gone; 0: nothing was gained
}

// collect removes what no boot needs, once the running system is confirmed.
func (e *Engine) collect(ctx context.Context) error {
	now, err := e.look(ctx)
	if err != nil {
		return err
	}
	return (&collection{engine: e, now: now}).run(ctx)
}

// makeRoom removes what no boot needs because a staging has no room for it, and says whether that gained any. That
// a trial fell, and why, is still known afterwards. It does nothing while a trial waits or runs, which may need it.
func (s *staging) makeRoom(ctx context.Context) (bool, error) {
	if _, waits := s.state.staged(); waits || !s.trial || s.state.booted == "" || s.state.onTrial() {
		return false, nil
	}
	if err := s.clean(); err != nil {
		return false, err
	}
	c := &collection{engine: s.engine, now: s.state, fallen: map[string]bool{}}
	for _, entry := range s.state.entries {
		if entry.Trial {
			c.fallen[entry.Deployment] = true
		}
	}
	if err := c.run(ctx); err != nil {
		return false, fmt.Errorf("collecting what is no longer needed: %w", err)
	}
	var err error
	s.state, err = s.engine.look(ctx)
	return c.removed > 0, err
}

func (c *collection) run(ctx context.Context) error {
	c.keep = map[string]bool{c.now.booted: true}
	if entry, ok := c.now.previous(); ok && !c.alone {
		c.keep[entry.Deployment] = true
	}
	if entry, ok := c.now.staged(); ok && !c.alone {
		c.keep[entry.Deployment] = true
	}
	last := recovery(c.now.records)
	if err := c.collectEntries(ctx, last); err != nil {
		return err
	}
	if last != "" {
		c.keep[last] = true
	}
	if err := c.collectKernels(); err != nil {
		return err
	}
	if err := c.collectTrees(ctx); err != nil {
		return err
	}
	return c.collectObjects(ctx)
}

// collectEntries removes the boot entries of what goes, and makes the recovery system the last choice.
func (c *collection) collectEntries(ctx context.Context, last string) error {
	for _, entry := range c.now.entries {
		switch {
		case c.keep[entry.Deployment], c.fallen[entry.Deployment]:
		case entry.Deployment == last:
			entry.Order, entry.Trial = 0, false
			if err := c.engine.Loader.Add(ctx, entry); err != nil {
				return fmt.Errorf("making deployment %s the last choice: %w", last, err)
			}
		default:
			if err := c.engine.Loader.Remove(ctx, entry.Deployment); err != nil {
				return fmt.Errorf("removing the boot entry of deployment %s: %w", entry.Deployment, err)
			}
		}
	}
	return nil
}

// collectKernels removes the kernels that no kept deployment boots.
func (c *collection) collectKernels() error {
	keep := map[string]bool{}
	for _, entry := range c.now.entries {
		if c.keep[entry.Deployment] {
			keep[path.Dir(entry.Kernel)] = true
		}
	}
	for id := range c.keep {
		keep[path.Dir(c.now.records[id].Kernel)] = true
	}
	top := filepath.Join(c.engine.Boot, "elemental")
	folders, err := os.ReadDir(top)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("listing the kernels: %w", err)
	}
	for _, folder := range folders {
		if keep["/elemental/"+folder.Name()] {
			continue
		}
		if err := os.RemoveAll(filepath.Join(top, folder.Name())); err != nil {
			return fmt.Errorf("removing a kernel: %w", err)
		}
		c.removed++
	}
	return nil
}

// treeFolders are what of a deployment takes room; without them it can't be booted.
var treeFolders = [...]string{"root", "etc"}

// hasTree says whether a deployment can be booted: of one that fell, no more than its record may be left.
func (e *Engine) hasTree(id string) bool {
	for _, folder := range treeFolders {
		if info, err := os.Stat(e.deployment(id, folder)); err != nil || !info.IsDir() {
			return false
		}
	}
	return true
}

// collectTrees removes deployments. Each is moved away first, so that a crash never leaves half of one.
func (c *collection) collectTrees(ctx context.Context) error {
	e := c.engine
	entries, err := os.ReadDir(e.path("deployments"))
	if err != nil {
		return fmt.Errorf("listing the deployments: %w", err)
	}
	if err := os.MkdirAll(e.path("staging"), 0o755); err != nil {
		return fmt.Errorf("making the staging folder: %w", err)
	}
	for _, entry := range entries {
		id := entry.Name()
		if err := ctx.Err(); err != nil {
			return err
		}
		switch {
		case c.keep[id]:
			continue
		case c.fallen[id]:
			err = c.strip(id)
		default:
			err = c.moveAway(e.deployment(id), "gone-"+id)
		}
		if err != nil {
			return fmt.Errorf("removing deployment %s: %w", id, err)
		}
		e.Log.Info("collected", "deployment", id)
	}
	if err := syncFolder(e.path("deployments")); err != nil {
		return err
	}
	return os.RemoveAll(e.path("staging"))
}

// strip leaves of a deployment what is known of it.
func (c *collection) strip(id string) error {
	for _, folder := range treeFolders {
		err := c.moveAway(c.engine.deployment(id, folder), "gone-"+id+"-"+folder)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return syncFolder(c.engine.deployment(id))
}

func (c *collection) moveAway(from, to string) error {
	if err := os.Rename(from, c.engine.path("staging", to)); err != nil {
		return err
	}
	c.removed++
	return nil
}

// collectObjects removes the layers that no kept deployment has, and the objects that are in no tree and no layer.
func (c *collection) collectObjects(ctx context.Context) error {
	e := c.engine
	layers := map[string]bool{}
	for id := range c.keep {
		for _, diffID := range c.now.records[id].Layers {
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
			c.removed++
		}
		if err != nil {
			return err
		}
	}
	// The records go before the objects: a record whose objects are gone would be one that lies.
	if err := syncFolder(e.path("layers")); err != nil {
		return err
	}
	return c.sweep(ctx, named)
}

// sweep removes the objects that have no other name and are in no layer.
func (c *collection) sweep(ctx context.Context, named map[ObjectID]bool) error {
	e := c.engine
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
			c.removed++
		}
	}
	return nil
}
