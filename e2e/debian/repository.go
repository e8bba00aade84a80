// Package debian is a repository of Debian packages for tests. It can go away and come back, as repositories do.
package debian

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Package is a package that holds one small file.
type Package struct {
	Name, Version string
	Fields        string            // more lines of its control file, each with its end
	Scripts       map[string]string // by name, such as postinst, the text of a shell script below its first line
}

// Repository is one repository on a port of 127.0.0.1.
type Repository struct {
	folder  string
	address string
	server  *http.Server
}

// Start starts an empty repository. The caller must call Remove.
func Start() (*Repository, error) {
	folder, err := os.MkdirTemp("", "elemental-debian-")
	if err != nil {
		return nil, fmt.Errorf("making the folder of a repository: %w", err)
	}
	r := &Repository{folder: folder, address: "127.0.0.1:0"}
	if err := errors.Join(r.index(context.Background()), r.On()); err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	return r, nil
}

// Source is the line of sources.list for this repository.
func (r *Repository) Source() string { return "deb [trusted=yes] http://" + r.address + " ./\n" }

// On lets the repository answer, at the address that it had before.
func (r *Repository) On() error {
	listener, err := net.Listen("tcp", r.address)
	if err != nil {
		return fmt.Errorf("starting a repository: %w", err)
	}
	r.address = listener.Addr().String()
	r.server = &http.Server{Handler: http.FileServer(http.Dir(r.folder)), ReadHeaderTimeout: 10 * time.Second}
	go func(server *http.Server) { _ = server.Serve(listener) }(r.server) // It ends with Off.
	return nil
}

// Off lets nobody reach the repository.
func (r *Repository) Off() error { return r.server.Close() }

// Remove ends the repository and removes what it holds.
func (r *Repository) Remove() error { return errors.Join(r.server.Close(), os.RemoveAll(r.folder)) }

// Publish builds packages and adds them to the repository.
func (r *Repository) Publish(ctx context.Context, packages ...Package) error {
	for _, p := range packages {
		if err := r.build(ctx, p); err != nil {
			return fmt.Errorf("building the package %s %s: %w", p.Name, p.Version, err)
		}
	}
	return r.index(ctx)
}

func (r *Repository) build(ctx context.Context, p Package) error {
	tree, err := os.MkdirTemp("", "elemental-deb-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tree) }() // It is small, and in the folder for such things.
	files := map[string]string{
		filepath.Join("usr/share", p.Name, "version"): p.Version + "\n",
		"DEBIAN/control": fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: Test <test@example.com>\nDescription: made by a test\n%s",
			p.Name, p.Version, p.Fields),
	}
	for name, text := range p.Scripts {
		files["DEBIAN/"+name] = "#!/bin/sh\n" + text + "\n"
	}
	for name, text := range files {
		path := filepath.Join(tree, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		mode := os.FileMode(0o644)
		if strings.HasPrefix(text, "#!") {
			mode = 0o755
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			return err
		}
	}
	if err := os.Chmod(tree, 0o755); err != nil {
		return err
	}
	_, err = run(ctx, "dpkg-deb", "-Zgzip", "--root-owner-group", "--build", tree, filepath.Join(r.folder, p.Name+"_"+p.Version+"_all.deb"))
	return err
}

// index writes the list of all packages.
func (r *Repository) index(ctx context.Context) error {
	files, err := filepath.Glob(filepath.Join(r.folder, "*.deb"))
	if err != nil {
		return err
	}
	var list strings.Builder
	for _, file := range files {
		fields, err := run(ctx, "dpkg-deb", "--field", file)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(content)
		fmt.Fprintf(&list, "%sFilename: ./%s\nSize: %d\nSHA256: %s\n\n", fields, filepath.Base(file), len(content), hex.EncodeToString(sum[:]))
	}
	return os.WriteFile(filepath.Join(r.folder, "Packages"), []byte(list.String()), 0o644)
}

func run(ctx context.Context, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("running %s: %w\n%s", program, err, said.String())
	}
	return string(out), nil
}
