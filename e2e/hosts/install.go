package hosts

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// installSystem lets Elemental install the first system, so that the disk is as the product leaves it: what later images
// share with the first is neither fetched nor written again. It is told of images what is needed for this one purpose;
// the host itself may trust no registry at all.
func (d disk) installSystem(ctx context.Context, options Options) (id string, err error) {
	from, _, _ := strings.Cut(strings.TrimPrefix(options.Reference, "oci://"), "/")
	config, err := imageConfig(from, "1m")
	if err != nil {
		return "", err
	}
	images := filepath.Join(filepath.Dir(string(d)), "image.yaml")
	if err := os.WriteFile(images, []byte(config), 0o600); err != nil {
		return "", err
	}
	err = run(ctx, options.Binary, "os", "install", "--root", string(d), "--image", options.Reference, "--name", options.Name, "--image-config", images)
	if err != nil {
		return "", err
	}
	found, err := filepath.Glob(filepath.Join(d.entries(), "*.conf"))
	if err != nil {
		return "", err
	}
	if len(found) != 1 {
		return "", errors.New("installing the first system: it has no boot entry")
	}
	first, err := readEntry(found[0])
	if err != nil {
		return "", err
	}
	return first.option("elemental.deployment"), nil
}
