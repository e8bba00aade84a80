package deploy

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"elemental/core"
	"elemental/ports"
)

// belongings are all files that make an installed system this very host.
func (e *Engine) belongings(request ports.Request) ([]ports.File, error) {
	var files []ports.File
	if e.Own != nil {
		own, err := e.Own()
		if err != nil {
			return nil, fmt.Errorf("reading the image plugin's own configuration: %w", err)
		}
		files = own
	}
	files = append(files, request.Files...)
	if e.Named != nil {
		named, err := e.Named(request.Hostname, request.CloudConfig)
		if err != nil {
			return nil, err
		}
		files = append(files, named...)
	}
	for _, f := range files {
		if _, _, err := placeOf(f.Path); err != nil {
			return nil, core.Failure{Class: core.FailureInvalid, Reason: "BadFile", Message: err.Error()}
		}
	}
	return files, nil
}

// placeOf says to which of the two folders that outlive a restart a file belongs, and where in it.
func placeOf(file string) (folder, below string, err error) {
	if path.IsAbs(file) && path.Clean(file) == file && !strings.ContainsRune(file, 0) {
		for _, folder := range []string{"etc", "var"} {
			if below, found := strings.CutPrefix(file, "/"+folder+"/"); found {
				return folder, below, nil
			}
		}
	}
	return "", "", fmt.Errorf("%q can't be a file of the installed system: it must be below /etc or /var; where it is the agent's, see agent.workDir", file)
}

// giveBelongings writes them into a deployment that was never booted.
func (e *Engine) giveBelongings(deployment string, files []ports.File) error {
	for _, f := range files {
		folder, below, err := placeOf(f.Path)
		if err != nil {
			return err
		}
		at := e.path("var")
		if folder == "etc" {
			at = e.deployment(deployment, "etc")
		}
		if err := giveFile(at, below, f); err != nil {
			return fmt.Errorf("writing %s of the installed system: %w", f.Path, err)
		}
	}
	return syncFileSystem(e.Root)
}

// giveFile writes one file, and nothing that only a link leads out to. The folder of a secret is nobody else's.
func giveFile(at, below string, f ports.File) error {
	root, err := openFolder(at)
	if err != nil {
		return err
	}
	defer root.Close()
	mode := os.FileMode(0o755)
	if f.Mode&0o077 == 0 {
		mode = 0o700
	}
	if folder := path.Dir(below); folder != "." {
		if above := path.Dir(folder); above != "." {
			if err := root.MkdirAll(above, 0o755); err != nil {
				return err
			}
		}
		if err := root.Mkdir(folder, mode); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	if err := root.RemoveAll(below); err != nil {
		return err
	}
	file, err := root.OpenFile(below, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(f.Data)
	if err == nil {
		err = file.Chmod(os.FileMode(f.Mode & 0o777))
	}
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}
