package deploy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
)

// sharedFolders are the folders below var that all deployments show elsewhere, and where. What the image has
// there is where they start from.
var sharedFolders = [...]struct {
	below, shown string
	mode         os.FileMode
}{
	{"home", "home", 0o755},
	{"roothome", "root", 0o700},
}

// seedVar gives a new disk the image's /var, /home and /root, as far as nothing is there by those names. Only
// the first staging of a disk does so: from then on they belong to what runs.
func (s *staging) seedVar(ctx context.Context) error {
	if s.state.booted != "" || len(s.state.entries) > 0 {
		return nil
	}
	return fillVar(ctx, s.engine.path("staging/deployment/root"), s.engine.path("var"))
}

// fillVar gives a folder what an image has in its /var, /home and /root, as far as nothing is there by those names.
func fillVar(ctx context.Context, image, to string) error {
	if err := makeShared(to, 0o755); err != nil {
		return fmt.Errorf("making the shared /var: %w", err)
	}
	if err := fillFrom(ctx, image, "var", to); err != nil {
		return fmt.Errorf("filling the shared /var: %w", err)
	}
	for _, shared := range sharedFolders {
		at := filepath.Join(to, shared.below)
		if err := makeShared(at, shared.mode); err != nil {
			return fmt.Errorf("making the shared /%s: %w", shared.shown, err)
		}
		if err := fillFrom(ctx, image, shared.shown, at); err != nil {
			return fmt.Errorf("filling the shared /%s: %w", shared.shown, err)
		}
	}
	return nil
}

// makeShared makes a folder where none is. Its mode is not left to the mask of whoever runs this, which may keep others
// out.
func makeShared(at string, mode os.FileMode) error {
	err := os.Mkdir(at, mode)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.Chmod(at, mode)
}

// fillFrom copies what a folder lacks of one of an image.
func fillFrom(ctx context.Context, image, folder, to string) error {
	from, err := os.OpenRoot(image)
	if err != nil {
		return err
	}
	defer from.Close()
	if info, err := from.Lstat(folder); err != nil || !info.IsDir() {
		return nil // A link, as /home -> /var/home: the image has its own plan.
	}
	source, err := from.OpenRoot(folder)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenRoot(to)
	if err != nil {
		return err
	}
	defer target.Close()
	return fillFolder(ctx, source, target, ".")
}

// fillFolder copies what a folder lacks, and goes into the folders that both have.
func fillFolder(ctx context.Context, from, to *os.Root, at string) error {
	names, err := listFolder(from, at)
	if err != nil {
		return err
	}
	for _, name := range names {
		below := path.Join(at, name)
		there, err := to.Lstat(below)
		if errors.Is(err, fs.ErrNotExist) {
			if err := copyEntry(ctx, from, to, below); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		info, err := from.Lstat(below)
		if err != nil {
			return err
		}
		if info.IsDir() && there.IsDir() {
			if err := fillFolder(ctx, from, to, below); err != nil {
				return err
			}
		}
	}
	return nil
}
