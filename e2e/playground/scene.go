package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"elemental/e2e/hosts"
	"elemental/e2e/lab"
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
	*lab.Lab
	out      *printer
	versions map[string]registry.Pushed
	hosts    []host
	real     bool // whether the hosts are containers
}

// set starts everything, and ends with two hosts that run v1 and are ready.
func (s *scene) set(ctx context.Context, process bool) error {
	s.out.line("%s\n", s.out.bold("Elemental playground"))
	var err error
	if s.Lab, err = lab.Prepare(ctx, s.out); err != nil {
		return err
	}
	missing := hosts.Missing()
	s.real = missing == nil && !process
	if missing != nil && !process {
		s.out.line("  %s %s", s.out.dim("·"), strings.ReplaceAll(missing.Error(), "\n", ", "))
		s.out.line("  %s so the hosts are only an agent with the plugin dummy: they show everything but the restart", s.out.dim("·"))
	}
	for _, step := range []struct {
		name string
		do   func(context.Context) (string, error)
	}{
		{"control plane", s.startCluster},
		{"controller", s.startController},
		{"registry", s.startRegistry},
		{"hosts", s.startHosts},
	} {
		if err := s.out.step(step.name, func() (string, error) { return step.do(ctx) }); err != nil {
			return err
		}
	}
	return nil
}

func (s *scene) startCluster(ctx context.Context) (string, error) {
	if err := s.StartCluster(ctx); err != nil {
		return "", err
	}
	return s.Cluster.URL(), nil
}

func (s *scene) startController(ctx context.Context) (string, error) {
	return "with its own service account, roles and admission policies", s.StartController(ctx)
}

func (s *scene) startRegistry(ctx context.Context) (string, error) {
	if err := s.StartRegistry(); err != nil {
		return "", err
	}
	s.versions = map[string]registry.Pushed{}
	for _, version := range []string{"v1", "v2"} {
		if !s.real { // Nobody will pull it.
			s.versions[version] = registry.Pushed{Reference: "oci://" + s.Images.Address() + "/my-image:" + version}
			continue
		}
		var err error
		if s.versions[version], err = s.Push(ctx, "my-image:"+version, registry.System{Version: version}); err != nil {
			return "", err
		}
	}
	if !s.real {
		return s.Images.Address() + ", empty", nil
	}
	return s.Images.Address() + " with my-image:v1 and my-image:v2", nil
}

// startHosts turns both machines on, and waits until they are ready.
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
	if _, err := s.Cluster.Kubectl(ctx, append([]string{"wait", "--for=condition=ready", "--timeout=2m", "elementalhost"}, names...)...); err != nil {
		return "", err
	}
	kind := "are ready, with the plugin dummy"
	if s.real {
		kind = "run v1, each with a disk, a boot loader and a systemd of its own"
	}
	return strings.Join(names, " and ") + " " + kind, nil
}

func (s *scene) startHost(ctx context.Context, name string) (host, error) {
	config, err := s.Register(ctx, namespace, name)
	if err != nil {
		return nil, err
	}
	// Its account is made before its role is bound. An agent that is nobody yet would wait for ten seconds.
	if _, err := s.Cluster.Kubectl(ctx, "wait", "--for=create", "--timeout=1m", "rolebinding/elemental-host-"+name); err != nil {
		return nil, err
	}
	if !s.real {
		h, err := hosts.StartProcess(s.Binary, config)
		if err != nil {
			return nil, err // Not h: a nil *Process would be a host that is there.
		}
		return h, nil
	}
	h, err := s.StartHost(ctx, config, registry.System{Version: "v1"}, s.versions["v1"].Reference)
	if err != nil {
		return nil, err
	}
	return h, nil
}

// strike ends everything and leaves nothing behind.
func (s *scene) strike() {
	var all sync.WaitGroup
	for _, h := range s.hosts {
		all.Go(h.Remove)
	}
	all.Wait()
	if s.Lab != nil {
		s.Stop()
	}
}

// controllerEnded says how the controller ended; nil while it runs.
func (s *scene) controllerEnded() error {
	if err := s.Controller().Ended(); err != nil {
		return fmt.Errorf("the controller ended: %w", err)
	}
	return nil
}

// environment is that of the commands which the reader sees.
func (s *scene) environment() []string {
	return append(os.Environ(), "KUBECONFIG="+s.Cluster.AdminKubeconfig())
}
