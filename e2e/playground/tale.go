package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"elemental/e2e/hosts"
)

// upgrade tells the story: one host goes from v1 to v2, by the commands of the documentation.
func (s *scene) upgrade(ctx context.Context) error {
	s.out.line("\n%s", s.out.bold("Upgrading one host from v1 to v2"))
	if err := s.show(ctx, "kubectl", "get", "elementalhosts"); err != nil {
		return err
	}
	start := time.Now()
	patch := fmt.Sprintf(`{"spec":{"osVersionManagement":{"osVersion":{"imageUri":%q}}}}`, s.versions["v2"].Reference)
	if err := s.show(ctx, "kubectl", "patch", "elementalhost", firstHost, "-p", patch, "--type=merge"); err != nil {
		return err
	}
	wait := []string{"kubectl", "wait", "--for=condition=ready", "elementalhost", firstHost}
	if err := s.show(ctx, wait...); err != nil {
		// kubectl waits for half a minute. A slow machine needs longer, and that is no failure.
		if err := s.show(ctx, append(wait, "--timeout=5m")...); err != nil {
			return err
		}
	}
	took := time.Since(start)
	if err := s.show(ctx, "kubectl", "get", "elementalhosts"); err != nil {
		return err
	}
	return s.prove(ctx, took)
}

// prove looks at the host itself.
func (s *scene) prove(ctx context.Context, took time.Duration) error {
	for _, h := range s.hosts {
		if err := h.Trouble(); err != nil {
			return err
		}
		machine, ok := h.(*hosts.Host)
		if !ok || machine.Name() != firstHost {
			continue
		}
		said, err := machine.Exec(ctx, "sh", "-c", ". /etc/os-release; echo $IMAGE_VERSION")
		if err != nil {
			return err
		}
		if version := strings.TrimSpace(said); version != "v2" {
			return fmt.Errorf("host %s is said to be upgraded, and its /etc/os-release still says %q", firstHost, version)
		}
		boots := machine.Boots()
		s.out.line("\n%s %s runs v2, says its own /etc/os-release: boot %d, %.1f s after it was asked for.",
			s.out.green("✓"), firstHost, len(boots), took.Seconds())
		return nil
	}
	s.out.line("\n%s the agent of %s wrote what it was asked for, %.1f s after that.", s.out.green("✓"), firstHost, took.Seconds())
	return nil
}

// show types a command for the reader, and prints what it says.
func (s *scene) show(ctx context.Context, command ...string) error {
	s.out.prompt(command...)
	cmd := exec.CommandContext(ctx, filepath.Join(s.Tools, command[0]), command[1:]...)
	cmd.Env = s.environment()
	cmd.Stdout, cmd.Stderr = s.out.to, s.out.to
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", strings.Join(command, " "), err)
	}
	return nil
}

// suggest prints what to try next.
func (s *scene) suggest() {
	s.out.line("\n%s All of this is gone with Ctrl-C. In another terminal:\n", s.out.bold("Your turn."))
	elemental := s.Binary
	if short, err := filepath.Rel(s.Checkout, s.Binary); err == nil && !strings.HasPrefix(short, "..") {
		elemental = short
	}
	lines := []string{
		"export KUBECONFIG=" + s.Cluster.AdminKubeconfig() + " PATH=" + s.Tools + ":$PATH",
		"kubectl get elementalhosts -o wide --watch",
		"kubectl describe elementalhost " + firstHost,
		elemental + " hosts",
		elemental + " upgrade host --image " + s.versions["v2"].Reference + " --wait " + secondHost,
		elemental + " upgrade host --image " + strings.TrimSuffix(s.versions["v2"].Reference, "v2") + "v3 --wait " + secondHost + "   # there is no v3",
	}
	for _, h := range s.hosts {
		if machine, ok := h.(*hosts.Host); ok && h.Name() == firstHost {
			lines = append(lines, "journalctl -D "+machine.Disk()+"/elemental/var/log/journal -u elemental-agent -f")
		}
	}
	for _, line := range lines {
		s.out.line("  %s", line)
	}
}

// last waits for Ctrl-C, and for what must not happen meanwhile.
func (s *scene) last(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		failures := []error{s.controllerEnded()}
		for _, h := range s.hosts {
			failures = append(failures, h.Trouble())
		}
		if err := errors.Join(failures...); err != nil {
			return err
		}
	}
}

// explain prints what helps to find out what went wrong.
func (s *scene) explain(ctx context.Context) {
	if s.Lab == nil {
		return
	}
	if c := s.Controller(); c != nil {
		s.out.line("\nThe end of the controller's log:\n%s", c.Tail())
	}
	for _, h := range s.hosts {
		switch h := h.(type) {
		case *hosts.Host:
			s.out.line("\n%s", h.Report(ctx))
		case *hosts.Process:
			s.out.line("\nThe end of the log of host %s:\n%s", h.Name(), h.Log())
		}
	}
	if s.Cluster != nil {
		if said, err := s.Cluster.Kubectl(ctx, "get", "elementalhosts", "-o", "yaml"); err == nil {
			s.out.line("\n%s", said)
		}
	}
}
