package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
)

// A module is one of the Go modules below this folder. It pins the programs of one origin.
type module struct {
	dir  string // below this folder
	path string // the module that the programs come from, as go.mod requires it
	// stamp gives the linker's -X assignments for a version such as v1.36.3. Without them the
	// programs call themselves v0.0.0, which their own clients refuse to parse.
	stamp    func(version string) []string
	programs []program
}

type program struct {
	name string
	pkg  string
}

// The sets in the order in which their programs are built: what most tests wait for comes first.
var sets = map[string][]module{
	"cluster-api": {
		{dir: "etcd", path: "go.etcd.io/etcd/server/v3", programs: []program{
			{"etcd", "go.etcd.io/etcd/server/v3"},
		}},
		{dir: "kubernetes", path: "k8s.io/kubernetes", stamp: stampOf("k8s.io/component-base/version"), programs: []program{
			{"kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"},
			{"kubectl", "k8s.io/kubernetes/cmd/kubectl"},
			{"kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"},
		}},
		{dir: "cluster-api", path: "sigs.k8s.io/cluster-api", stamp: stampOf("sigs.k8s.io/cluster-api/version"), programs: []program{
			{"cluster-api-core", "sigs.k8s.io/cluster-api/core"},
			{"cluster-api-bootstrap", "sigs.k8s.io/cluster-api/bootstrap/kubeadm"},
			{"cluster-api-control-plane", "sigs.k8s.io/cluster-api/controlplane/kubeadm"},
			{"clusterctl", "sigs.k8s.io/cluster-api/cmd/clusterctl"},
		}},
	},
	"generate": {
		{dir: "controller-gen", path: "sigs.k8s.io/controller-tools", stamp: func(version string) []string {
			return []string{"sigs.k8s.io/controller-tools/pkg/version.version=" + version}
		}, programs: []program{
			{"controller-gen", "sigs.k8s.io/controller-tools/cmd/controller-gen"},
		}},
	},
	"lint": {
		{dir: "lint", path: "github.com/golangci/golangci-lint/v2", stamp: func(version string) []string {
			return []string{"main.version=" + version}
		}, programs: []program{
			{"golangci-lint", "github.com/golangci/golangci-lint/v2/cmd/golangci-lint"},
		}},
	},
}

// parts are sets that lie in the folder of a larger one, and need not wait for all of it.
var parts = map[string]part{"controlplane": {of: "cluster-api", modules: 2}}

type part struct {
	of      string // the larger set
	modules int    // the first so many of it
}

func stampOf(pkg string) func(string) []string {
	return func(version string) []string {
		numbers := strings.Split(strings.TrimPrefix(version, "v"), ".")
		return []string{
			pkg + ".gitVersion=" + version,
			pkg + ".gitMajor=" + numbers[0],
			pkg + ".gitMinor=" + numbers[1],
			pkg + ".gitTreeState=clean",
		}
	}
}

// ensure returns the folder that holds every program of the set, after building those it lacks.
func ensure(ctx context.Context, set string, builtOnly bool) (string, error) {
	larger, isPart := parts[set]
	modules, ok := sets[cmp.Or(larger.of, set)]
	if !ok {
		return "", fmt.Errorf("no set of tools is called %q; say controlplane, cluster-api, lint or generate", set)
	}
	home, err := homeOfModules()
	if err != nil {
		return "", err
	}
	folder, err := folderOf(modules, home)
	if err != nil {
		return "", err
	}
	if isPart {
		modules = modules[:larger.modules]
	}
	if complete(modules, folder) {
		return folder, nil
	}
	if builtOnly {
		return "", fmt.Errorf("%s does not hold all tools yet: run `go run ./e2e/tools %s`", folder, set)
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", err
	}
	say("Building tools into %s. That takes minutes, once.", folder)
	if modules[0].dir == "etcd" && os.Getenv("KUBEBUILDER_ASSETS") == "" {
		say("To use ready ones, set KUBEBUILDER_ASSETS to a folder with etcd, kube-apiserver and kubectl (setup-envtest downloads them).")
	}
	unlock, err := lock(ctx, folder)
	if err != nil {
		return "", err
	}
	defer unlock()
	for _, m := range modules {
		for _, p := range m.programs {
			if err := provide(ctx, home, m, p, folder); err != nil {
				return "", err
			}
		}
	}
	return folder, nil
}

// homeOfModules finds this folder in the checkout around the working directory.
func homeOfModules() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		home := filepath.Join(dir, "e2e", "tools")
		if _, err := os.Stat(filepath.Join(home, "kubernetes", "go.mod")); err == nil {
			return home, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("%s is not inside a checkout of Elemental: run this command inside one", start)
		}
	}
}

// folderOf names a folder by everything that makes its programs what they are, so that a change of any
// pinned version gives a new folder and a finished folder never changes.
func folderOf(modules []module, home string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding the cache folder: set HOME or XDG_CACHE_HOME: %w", err)
	}
	// A linter that was built with an older Go cannot read the code of a newer one.
	sum := sha256.New()
	fmt.Fprintln(sum, goRelease.FindString(runtime.Version()), runtime.GOOS, runtime.GOARCH)
	name := ""
	for _, m := range modules {
		pins, err := os.ReadFile(filepath.Join(home, m.dir, "go.mod"))
		if err != nil {
			return "", err
		}
		sum.Write(pins)
		version, err := m.version(home)
		if err != nil {
			return "", err
		}
		name += m.dir + "-" + version + "-"
		for _, p := range m.programs {
			fmt.Fprintln(sum, p.name, p.pkg, asset(p))
		}
	}
	return filepath.Join(cache, "elemental", "tools", fmt.Sprintf("%s%x", name, sum.Sum(nil)[:4])), nil
}

var goRelease = regexp.MustCompile(`^go\d+\.\d+`)

// version is the version of the programs' module that go.mod requires.
func (m module) version(home string) (string, error) {
	file := filepath.Join(home, m.dir, "go.mod")
	pins, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	found := regexp.MustCompile(`(?m)^(?:require)?\s+` + regexp.QuoteMeta(m.path) + `\s+(v\S+)`).FindSubmatch(pins)
	if found == nil {
		return "", fmt.Errorf("%s does not require %s: add the requirement", file, m.path)
	}
	return string(found[1]), nil
}

func complete(modules []module, folder string) bool {
	for _, m := range modules {
		for _, p := range m.programs {
			if !exists(filepath.Join(folder, p.name)) {
				return false
			}
		}
	}
	return true
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// asset returns the user's own copy of a program in the folder KUBEBUILDER_ASSETS, or nothing. That
// variable is what setup-envtest sets and every project with controller-runtime understands.
func asset(p program) string {
	folder := os.Getenv("KUBEBUILDER_ASSETS")
	if folder == "" {
		return ""
	}
	file, err := filepath.Abs(filepath.Join(folder, p.name))
	if err != nil || !exists(file) {
		return ""
	}
	return file
}
