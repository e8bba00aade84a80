package deploy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
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
	if err := os.MkdirAll(s.engine.path("var"), 0o755); err != nil {
		return fmt.Errorf("making the shared /var: %w", err)
	}
	if err := s.seed(ctx, "var", "."); err != nil {
		return fmt.Errorf("filling the shared /var: %w", err)
	}
	for _, shared := range sharedFolders {
		if err := os.Mkdir(s.engine.path("var", shared.below), shared.mode); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("making the shared /%s: %w", shared.shown, err)
		}
		if err := s.seed(ctx, shared.shown, shared.below); err != nil {
			return fmt.Errorf("filling the shared /%s: %w", shared.shown, err)
		}
	}
	return nil
}

// seed copies what is missing from a folder of the image to one of var.
func (s *staging) seed(ctx context.Context, image, below string) error {
	from, err := os.OpenRoot(s.engine.path("staging/deployment/root"))
	if err != nil {
		return err
	}
	defer from.Close()
	if info, err := from.Lstat(image); err != nil || !info.IsDir() {
		return nil // A link, as /home -> /var/home: the image has its own plan.
	}
	source, err := from.OpenRoot(image)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenRoot(s.engine.path("var", below))
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
