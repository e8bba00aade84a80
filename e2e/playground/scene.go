package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"elemental/e2e/controlplane"
	"elemental/e2e/hosts"
	"elemental/e2e/registry"
)

// The names in the scene. The first host is that of the documentation.
const (
	namespace  = "default"
	firstHost  = "my-elemental-host"
	secondHost = "my-other-host"
)

// host is a machine of either kind.
type host interface {
	Name() string
	Trouble() error
	Remove()
}

// scene is all that runs.
type scene struct {
	out      *printer
	checkout string
	binary   string
	tools    string
	folder   string // for logs

	cluster    *controlplane.ControlPlane
	controller *program
	images     *registry.Registry
	versions   map[string]registry.Pushed
	systems    *registry.Systems
	hosts      []host
	real       bool // whether the hosts are containers
}

// set starts everything, and ends with two hosts that run v1 and are ready.
func (s *scene) set(ctx context.Context, process bool) error {
	s.out.line("%s\n", s.out.bold("Elemental playground"))
	if err := s.prepare(ctx); err != nil {
		return err
	}
	missing := hosts.Missing()
	s.real = missing == nil && !process
	steps := []struct {
		name string
		do   func(context.Context) (string, error)
	}{
		{"control plane", s.startCluster},
		{"controller", s.startController},
		{"registry", s.startRegistry},
		{"hosts", s.startHosts},
	}
	for _, step := range steps {
		if step.name == "hosts" && missing != nil && !process {
			s.out.line("  %s %s", s.out.dim("·"), strings.ReplaceAll(missing.Error(), "\n", ", "))
			s.out.line("  %s these hosts are only an agent with the plugin dummy: they show everything but the restart", s.out.dim("·"))
		}
		if err := s.out.step(step.name, func() (string, error) { return step.do(ctx) }); err != nil {
			return err
		}
	}
	return nil
}

// prepare finds or builds the programs, which tell their own progress.
func (s *scene) prepare(ctx context.Context) error {
	var err error
	if s.checkout, err = findCheckout(); err != nil {
		return err
	}
	if s.folder, err = os.MkdirTemp("", "elemental-playground-"); err != nil {
		return err
	}
	if s.tools = os.Getenv("ELEMENTAL_TOOLS"); s.tools == "" {
		cmd := exec.CommandContext(ctx, "go", "run", "./e2e/tools", "controlplane")
		cmd.Dir, cmd.Stderr = s.checkout, s.out
		found, err := cmd.Output()
		if err != nil {
			return fmt.Errorf("finding the programs of a control plane: %w", err)
		}
		s.tools = strings.TrimSpace(string(found))
	}
	if s.binary = os.Getenv("ELEMENTAL_BINARY"); s.binary != "" {
		return nil
	}
	s.binary = filepath.Join(s.checkout, "bin", "elemental")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", s.binary, ".")
	cmd.Dir, cmd.Stderr, cmd.Env = s.checkout, s.out, append(os.Environ(), "CGO_ENABLED=0")
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("building Elemental: %w", err)
	}
	return nil
}

// findCheckout looks for the top of the module, from here upwards.
func findCheckout() (string, error) {
	folder, err := os.Getwd()
	for err == nil {
		if _, missing := os.Stat(filepath.Join(folder, "go.mod")); missing == nil {
			return folder, nil
		}
		if folder == filepath.Dir(folder) {
			return "", errors.New("finding the checkout: run this inside of it")
		}
		folder = filepath.Dir(folder)
	}
	return "", err
}

func (s *scene) startCluster(ctx context.Context) (string, error) {
	var err error
	s.cluster, err = controlplane.Start(ctx, controlplane.Options{Tools: s.tools, CRDs: []string{filepath.Join(s.checkout, "packaging", "crds")}})
	if err != nil {
		return "", err
	}
	return s.cluster.URL(), nil
}

func (s *scene) startController(ctx context.Context) (string, error) {
	packaging := filepath.Join(s.checkout, "packaging")
	for _, args := range [][]string{
		{"apply", "-f", filepath.Join(packaging, "kustomize", "namespace.yaml")},
		{"apply", "-k", filepath.Join(packaging, "rbac")},
		{"apply", "-k", filepath.Join(packaging, "admission")},
	} {
		if _, err := s.cluster.Kubectl(ctx, args...); err != nil {
			return "", err
		}
	}
	kubeconfig, err := s.cluster.KubeconfigForServiceAccount(ctx, "elemental-system", "elemental-controller-manager")
	if err != nil {
		return "", err
	}
	s.controller, err = startProgram(filepath.Join(s.folder, "controller.log"), s.binary, "controller", "--kubeconfig="+kubeconfig,
		"--leader-elect=false", "--metrics-bind-address=0", "--health-probe-bind-address=0")
	return "with its own service account, roles and admission policies", err
}

func (s *scene) startRegistry(ctx context.Context) (string, error) {
	var err error
	if s.images, err = registry.Start(); err != nil {
		return "", err
	}
	s.versions = map[string]registry.Pushed{}
	if !s.real {
		for _, version := range []string{"v1", "v2"} { // Nobody pulls them.
			s.versions[version] = registry.Pushed{Reference: "oci://" + s.images.Address() + "/my-image:" + version}
		}
		return s.images.Address() + ", empty", nil
	}
	if s.systems, err = registry.NewSystems(ctx, s.checkout, s.binary, s.out); err != nil {
		return "", err
	}
	for _, version := range []string{"v1", "v2"} {
		image, err := s.systems.Image(registry.System{Version: version})
		if err != nil {
			return "", err
		}
		if s.versions[version], err = s.images.Push(ctx, "my-image:"+version, image); err != nil {
			return "", err
		}
	}
	return s.images.Address() + " with my-image:v1 and my-image:v2", nil
}

// startHosts makes the hosts' objects, waits for the identities that the controller gives them, and turns the
// machines on.
func (s *scene) startHosts(ctx context.Context) (string, error) {
	names := []string{firstHost, secondHost}
	started := make([]host, len(names))
	failures := make([]error, len(names))
	var all sync.WaitGroup
	for i, name := range names {
		all.Go(func() { started[i], failures[i] = s.startHost(ctx, name) })
	}
	all.Wait()
	s.hosts = slices.DeleteFunc(started, func(h host) bool { return h == nil })
	if err := errors.Join(failures...); err != nil {
		return "", err
	}
	if _, err := s.cluster.Kubectl(ctx, append([]string{"wait", "--for=condition=ready", "--timeout=2m", "elementalhost"}, names...)...); err != nil {
		return "", err
	}
	kind := "are ready, with the plugin dummy"
	if s.real {
		kind = "run v1, each in a container with a disk, a boot loader and a systemd of its own"
	}
	return strings.Join(names, " and ") + " " + kind, nil
}

func (s *scene) startHost(ctx context.Context, name string) (host, error) {
	object := fmt.Sprintf(`{"apiVersion":"infrastructure.cluster.x-k8s.io/v1beta1","kind":"ElementalHost","metadata":{"name":%q,"namespace":%q},"spec":{}}`, name, namespace)
	file := filepath.Join(s.folder, name+".json")
	if err := os.WriteFile(file, []byte(object), 0o600); err != nil {
		return nil, err
	}
	if _, err := s.cluster.Kubectl(ctx, "apply", "-f", file); err != nil {
		return nil, err
	}
	kubeconfig, err := s.identity(ctx, name)
	if err != nil {
		return nil, err
	}
	config := hosts.Config{Host: name, Namespace: namespace, Kubeconfig: kubeconfig, Registry: s.images.Address()}
	if !s.real {
		h, err := hosts.StartProcess(s.binary, config)
		if err != nil {
			return nil, err
		}
		return h, nil
	}
	etc, err := config.Etc()
	if err != nil {
		return nil, err
	}
	image, err := s.systems.Image(registry.System{Version: "v1"})
	if err != nil {
		return nil, err
	}
	h, err := hosts.Start(ctx, hosts.Options{
		Name: name, Binary: s.binary, Image: image, Version: "v1", Reference: s.versions["v1"].Reference, Etc: etc,
	})
	if err != nil {
		return nil, err
	}
	return h, nil
}

// identity is the kubeconfig of the account that the controller makes for a host.
func (s *scene) identity(ctx context.Context, name string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		// The account is made before its role is bound, and is nobody until then.
		_, err := s.cluster.Kubectl(ctx, "get", "rolebinding", "elemental-host-"+name)
		if err == nil {
			file, err := s.cluster.KubeconfigForServiceAccount(ctx, namespace, "elemental-host-"+name)
			if err != nil {
				return "", err
			}
			content, err := os.ReadFile(file)
			return string(content), err
		}
		if ended := s.controller.ended(); ended != nil {
			return "", fmt.Errorf("the controller ended: %w", ended)
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("waiting until the controller gives host %s an identity: %w", name, cmp.Or(err, ctx.Err()))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// strike ends everything and leaves nothing behind.
func (s *scene) strike() {
	var all sync.WaitGroup
	for _, h := range s.hosts {
		all.Go(h.Remove)
	}
	all.Wait()
	if s.controller != nil {
		s.controller.kill()
	}
	if s.cluster != nil {
		s.cluster.Stop()
	}
	if s.images != nil {
		_ = s.images.Stop() // It ends with this process anyway.
	}
	if s.folder != "" {
		_ = os.RemoveAll(s.folder) // It holds logs of a few kilobytes.
	}
}
