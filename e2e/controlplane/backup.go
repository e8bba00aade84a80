package controlplane

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Backup copies all that the cluster knows into a folder, which must not exist. The API server is away meanwhile.
func (c *ControlPlane) Backup(ctx context.Context, folder string) error {
	return c.exchange(ctx, func(data string) error {
		if err := os.CopyFS(folder, os.DirFS(data)); err != nil {
			return fmt.Errorf("making a backup of etcd: %w", err)
		}
		return nil
	})
}

// Restore brings the cluster back to what it was at a Backup: whatever came later it has never known, and it counts its
// versions from there again. Its own controllers start anew, as the documentation of etcd asks for.
func (c *ControlPlane) Restore(ctx context.Context, folder string) error {
	return c.exchange(ctx, func(data string) error {
		if err := errors.Join(os.RemoveAll(data), os.CopyFS(data, os.DirFS(folder))); err != nil {
			return fmt.Errorf("restoring etcd: %w", err)
		}
		return os.Chmod(data, 0o700) // As etcd wants it.
	})
}

// exchange does something to etcd's data while nothing runs that could write to it.
func (c *ControlPlane) exchange(ctx context.Context, do func(data string) error) error {
	c.StopAPIServer()
	c.mu.Lock()
	controllers := c.controllers != nil
	c.controllers.kill()
	c.etcd.kill()
	c.controllers, c.etcd = nil, nil
	c.mu.Unlock()
	if err := do(filepath.Join(c.folder, "etcd")); err != nil {
		return err
	}
	if err := c.startEtcd(); err != nil {
		return err
	}
	if err := c.StartAPIServer(ctx); err != nil {
		return err
	}
	if controllers {
		return c.startControllers(ctx)
	}
	return nil
}
