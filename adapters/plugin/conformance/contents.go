package conformance

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// entry is one file or folder as it stood at a time.
type entry struct {
	name    string
	mode    fs.FileMode
	changed time.Time
	sum     [sha256.Size]byte
}

// contents lists a folder with all that is below it, in the order of the names.
func contents(folder string) ([]entry, error) {
	var all []entry
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == folder {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		e := entry{name: path[len(folder)+1:], mode: info.Mode(), changed: info.ModTime()}
		if info.Mode().IsRegular() {
			e.sum, err = sum(path)
		}
		all = append(all, e)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("looking into the work dir: %w", err)
	}
	return all, nil
}

func sum(path string) (out [sha256.Size]byte, err error) {
	file, err := os.Open(path)
	if err != nil {
		return out, err
	}
	defer file.Close()
	hash := sha256.New()
	_, err = io.Copy(hash, file)
	return [sha256.Size]byte(hash.Sum(nil)), err
}

// differences names what was changed between two looks.
func differences(before, after []entry) error {
	old := map[string]entry{}
	for _, e := range before {
		old[e.name] = e
	}
	var found []error
	for _, e := range after {
		was, there := old[e.name]
		delete(old, e.name)
		switch {
		case !there:
			found = append(found, fmt.Errorf("%s is new in its work dir", e.name))
		case was != e && !e.mode.IsDir():
			found = append(found, fmt.Errorf("%s was written in its work dir", e.name))
		}
	}
	for name := range old {
		found = append(found, fmt.Errorf("%s is gone from its work dir", name))
	}
	return errors.Join(first(found)...)
}
