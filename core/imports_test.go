package core_test

import (
	"go/build"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// pure is all that the core may know of the standard library: values, and nothing that reaches out.
var pure = strings.Fields("bytes cmp crypto/sha256 encoding/hex encoding/json errors fmt maps slices strconv strings time unicode/utf8")

// The linter has the same fences; this test holds where its globs do not.
func TestImportFences(t *testing.T) {
	packages := 0
	for _, top := range []string{"core", "ports", "adapters", "modes"} {
		err := filepath.WalkDir(filepath.Join("..", top), func(dir string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.IsDir() || entry.Name() == "testdata" {
				return err
			}
			p, err := build.ImportDir(dir, 0)
			if err != nil { // A folder without Go files.
				return nil
			}
			packages++
			self := filepath.ToSlash(strings.TrimPrefix(dir, ".."+string(filepath.Separator)))
			for _, name := range p.GoFiles {
				for _, imported := range importsOf(t, dir, name) {
					if why := forbidden(self, name, imported); why != "" {
						t.Errorf("%s/%s imports %s: %s", self, name, imported, why)
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if packages < 4 {
		t.Fatalf("only %d packages were looked at: the walk is wrong", packages)
	}
}

func importsOf(t *testing.T, dir, name string) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, name), nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, i := range file.Imports {
		all = append(all, strings.Trim(i.Path.Value, `"`))
	}
	return all
}

// forbidden says why a file may not import something; empty when it may.
func forbidden(self, file, imported string) string {
	inside, ours := strings.CutPrefix(imported, "elemental/")
	top, _, _ := strings.Cut(self, "/")
	kubernetes := strings.HasPrefix(imported, "k8s.io/") || strings.HasPrefix(imported, "sigs.k8s.io/")
	switch {
	case top == "core" && !slices.Contains(pure, imported):
		return "the core reaches out to nothing"
	case top == "ports" && ours && inside != "core" && !strings.HasPrefix(self, "ports/portstest"):
		return "ports know the core alone"
	case top == "adapters" && ours && !slices.Contains([]string{"core", "ports"}, inside) && adapter(inside) != adapter(self):
		return "adapters are strangers to one another"
	case top == "modes" && ours && strings.HasPrefix(inside, "adapters/") && file != "wire.go":
		return "a mode meets its adapters in wire.go alone"
	case kubernetes && adapter(self) != "adapters/kubernetes" && file != "wire.go":
		return "Kubernetes is known in adapters/kubernetes alone"
	case strings.HasPrefix(imported, "github.com/google/go-containerregistry") && adapter(self) != "adapters/oci":
		return "registries are known in adapters/oci alone"
	case (strings.HasPrefix(imported, "github.com/coreos/go-systemd") || strings.HasPrefix(imported, "github.com/godbus/dbus")) && adapter(self) != "adapters/systemd":
		return "systemd is known in adapters/systemd alone"
	}
	return ""
}

// adapter is the adapter that a package belongs to.
func adapter(path string) string {
	parts := strings.SplitN(path, "/", 3)
	return strings.Join(parts[:min(2, len(parts))], "/")
}
