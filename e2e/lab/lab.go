// Package lab is everything that a story needs, on one machine: a real control plane with the controller, a
// registry with systems, and hosts. Tests, benchmarks and the playground stand on it.
package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"elemental/e2e/controlplane"
	"elemental/e2e/hosts"
	"elemental/e2e/registry"
)

// Lab is all that runs.
type Lab struct {
	Checkout string // the top of the module
	Binary   string // Elemental
	Tools    string // the folder of kubectl and the servers

	Cluster *controlplane.ControlPlane
	Images  *registry.Registry

	// ControllerManager lets StartCluster also run the controllers that act on pods, budgets, owners and accounts.
	ControllerManager bool

	progress io.Writer
	folder   string // for logs and manifests

	mu         sync.Mutex
	controller *Program
	systems    *registry.Systems
}

// Prepare finds or builds the programs, and tells their progress. ELEMENTAL_TOOLS and ELEMENTAL_BINARY name
// what is there already.
func Prepare(ctx context.Context, progress io.Writer) (*Lab, error) {
	l := &Lab{progress: progress, Tools: os.Getenv("ELEMENTAL_TOOLS"), Binary: os.Getenv("ELEMENTAL_BINARY")}
	var err error
	if l.Checkout, err = findCheckout(); err != nil {
		return nil, err
	}
	if l.folder, err = os.MkdirTemp("", "elemental-lab-"); err != nil {
		return nil, fmt.Errorf("making the folder of the lab: %w", err)
	}
	if l.Tools == "" {
		found, err := l.goTool(ctx, nil, "run", "./e2e/tools", "controlplane")
		if err != nil {
			return nil, fmt.Errorf("finding the programs of a control plane: %w", err)
		}
		l.Tools = strings.TrimSpace(found)
	}
	if l.Binary == "" {
		l.Binary = filepath.Join(l.folder, "elemental")
		if _, err := l.goTool(ctx, []string{"CGO_ENABLED=0"}, "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", l.Binary, "."); err != nil {
			return nil, fmt.Errorf("building Elemental: %w", err)
		}
	}
	return l, nil
}

func (l *Lab) goTool(ctx context.Context, env []string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir, cmd.Stderr, cmd.Env = l.Checkout, l.progress, append(os.Environ(), env...)
	out, err := cmd.Output()
	return string(out), err
}

// findCheckout looks for the top of the module, from here upwards.
func findCheckout() (string, error) {
	here, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for folder := here; ; folder = filepath.Dir(folder) {
		text, err := os.ReadFile(filepath.Join(folder, "go.mod"))
		if err == nil && strings.HasPrefix(string(text), "module elemental\n") {
			return folder, nil
		}
		if folder == filepath.Dir(folder) {
			return "", fmt.Errorf("looking for the checkout: %s is not in it", here)
		}
	}
}

// StartCluster starts the control plane, with the custom resources, roles and admission policies. What is given is
// added to the arguments of the API server.
func (l *Lab) StartCluster(ctx context.Context, apiServerArgs ...string) error {
	packaging := filepath.Join(l.Checkout, "packaging")
	var err error
	l.Cluster, err = controlplane.Start(ctx, controlplane.Options{
		Tools: l.Tools, ControllerManager: l.ControllerManager, CRDs: []string{filepath.Join(packaging, "crds")}, APIServerArgs: apiServerArgs,
	})
	if err != nil {
		return err
	}
	for _, args := range [][]string{
		{"apply", "-f", filepath.Join(packaging, "kustomize", "namespace.yaml")},
		{"apply", "-k", filepath.Join(packaging, "rbac")},
		{"apply", "-k", filepath.Join(packaging, "admission")},
	} {
		if _, err := l.Cluster.Kubectl(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

// StartController starts the controller, as its own service account.
func (l *Lab) StartController(ctx context.Context) error {
	kubeconfig, err := l.Cluster.KubeconfigForServiceAccount(ctx, "elemental-system", "elemental-controller-manager")
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.controller, err = StartProgram(filepath.Join(l.folder, "controller.log"), l.Binary, "controller", "--kubeconfig="+kubeconfig,
		"--leader-elect=false", "--metrics-bind-address=0", "--health-probe-bind-address=0")
	return err
}

// Controller is the program that runs the controller; nil before StartController.
func (l *Lab) Controller() *Program {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.controller
}

// StartRegistry starts the registry, empty.
func (l *Lab) StartRegistry() error {
	var err error
	l.Images, err = registry.Start()
	return err
}

// Push publishes a system under a repository and tag, such as my-image:v1.
func (l *Lab) Push(ctx context.Context, tag string, system registry.System) (registry.Pushed, error) {
	systems, err := l.Systems(ctx)
	if err != nil {
		return registry.Pushed{}, err
	}
	image, err := systems.Image(system)
	if err != nil {
		return registry.Pushed{}, err
	}
	return l.Images.Push(ctx, tag, image)
}

// Systems makes the images of systems; what they have in common is made once.
func (l *Lab) Systems(ctx context.Context) (*registry.Systems, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var err error
	if l.systems == nil {
		l.systems, err = registry.NewSystems(ctx, l.Checkout, l.Binary, l.progress)
	}
	return l.systems, err
}

// Apply applies an object, given as JSON or YAML.
func (l *Lab) Apply(ctx context.Context, object string) error {
	file, err := os.CreateTemp(l.folder, "object-*.yaml")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(file.Name()) }() // The folder goes with the lab.
	_, err = file.WriteString(object)
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	_, err = l.Cluster.Kubectl(ctx, "apply", "-f", file.Name())
	return err
}

// Register makes a host's object, and returns what a host needs to be it: the identity that the controller
// gives it.
func (l *Lab) Register(ctx context.Context, namespace, name string) (hosts.Config, error) {
	err := l.Apply(ctx, fmt.Sprintf(
		`{"apiVersion":"infrastructure.cluster.x-k8s.io/v1beta1","kind":"ElementalHost","metadata":{"name":%q,"namespace":%q},"spec":{}}`, name, namespace))
	if err != nil {
		return hosts.Config{}, err
	}
	kubeconfig, err := l.identity(ctx, namespace, name)
	if err != nil {
		return hosts.Config{}, err
	}
	config := hosts.Config{Host: name, Namespace: namespace, Kubeconfig: kubeconfig}
	if l.Images != nil {
		config.Registry = l.Images.Address()
	}
	return config, nil
}

// StartHost starts a machine whose disk holds a system.
func (l *Lab) StartHost(ctx context.Context, config hosts.Config, system registry.System, reference string) (*hosts.Host, error) {
	options, err := l.hostOptions(ctx, config, system)
	if err != nil {
		return nil, err
	}
	options.Reference = reference
	return hosts.Start(ctx, options)
}

// StartPlainHost starts a machine whose disk is the root of a system that no image manages.
func (l *Lab) StartPlainHost(ctx context.Context, config hosts.Config, system registry.System) (*hosts.Host, error) {
	options, err := l.hostOptions(ctx, config, system)
	if err != nil {
		return nil, err
	}
	options.Plain = true
	return hosts.Start(ctx, options)
}

func (l *Lab) hostOptions(ctx context.Context, config hosts.Config, system registry.System) (hosts.Options, error) {
	systems, err := l.Systems(ctx)
	if err != nil {
		return hosts.Options{}, err
	}
	image, err := systems.Image(system)
	if err != nil {
		return hosts.Options{}, err
	}
	etc, err := config.Etc()
	if err != nil {
		return hosts.Options{}, err
	}
	return hosts.Options{Name: config.Host, Binary: l.Binary, Image: image, Version: system.Version, Etc: etc, Mounts: config.Mounts}, nil
}

// identity is the kubeconfig of the account that the controller makes for a host.
func (l *Lab) identity(ctx context.Context, namespace, name string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		file, err := l.Cluster.KubeconfigForServiceAccount(ctx, namespace, "elemental-host-"+name)
		if err == nil {
			content, err := os.ReadFile(file)
			return string(content), err
		}
		if ended := l.Controller().Ended(); ended != nil {
			return "", fmt.Errorf("the controller ended: %w", ended)
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("waiting until the controller gives host %s an identity: %w", name, cmp.Or(err, ctx.Err()))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Stop ends everything and leaves nothing behind. Hosts are removed by whoever started them.
func (l *Lab) Stop() {
	if c := l.Controller(); c != nil {
		c.Kill()
	}
	if l.Cluster != nil {
		l.Cluster.Stop()
	}
	if l.Images != nil {
		_ = l.Images.Stop() // It ends with this process anyway.
	}
	_ = os.RemoveAll(l.folder) // It holds logs of a few kilobytes.
}

// Command is Elemental's command line, as the cluster's administrator.
func (l *Lab) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, l.Binary, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+l.Cluster.AdminKubeconfig())
	return cmd
}
