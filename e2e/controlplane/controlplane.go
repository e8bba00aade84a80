// Package controlplane starts a real Kubernetes control plane for tests: etcd and kube-apiserver, with
// RBAC, and the controllers of kube-controller-manager where a test needs them. It has no nodes.
//
// The servers die with the process that started them, however that process ends.
package controlplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Options says what a control plane has besides etcd and kube-apiserver.
type Options struct {
	// Tools is the folder with the servers and kubectl, as `make controlplane` prints it. If it is
	// empty, the environment variable ELEMENTAL_TOOLS names it, or else the folder of the checkout
	// around the working directory is taken.
	Tools string
	// CRDs are files with custom resource definitions, or folders of such files, which Start applies.
	CRDs []string
	// ControllerManager also runs the controllers that act on pods, budgets, owners, namespaces and
	// service accounts. Without it nobody makes the service account "default" of a namespace, and so
	// the API server lets pods do without one.
	ControllerManager bool
	// APIServerArgs are added to kube-apiserver's own, and win over them.
	APIServerArgs []string
}

// ControlPlane is a running control plane.
type ControlPlane struct {
	options Options
	tools   string
	folder  string
	port    *port
	pki     *pki
	admin   string // kubeconfig
	client  *http.Client

	mu                           sync.Mutex
	etcd, apiServer, controllers *process
}

// A slow machine with other work needs about 20 s; what takes longer than this is broken.
const startTimeout = 2 * time.Minute

// Start returns when the API server is ready, serves the custom resources of options.CRDs and, if asked
// for, the controllers work. The caller must call Stop.
func Start(ctx context.Context, options Options) (*ControlPlane, error) {
	tools, err := toolsFolder(ctx, options)
	if err != nil {
		return nil, err
	}
	sweep(os.TempDir())
	folder, err := os.MkdirTemp("", fmt.Sprintf("%s%d-", folderPrefix, os.Getpid()))
	if err != nil {
		return nil, fmt.Errorf("making the control plane's folder: %w", err)
	}
	c := &ControlPlane{options: options, tools: tools, folder: folder}
	if err := c.start(ctx); err != nil {
		c.Stop()
		return nil, fmt.Errorf("starting a control plane: %w", err)
	}
	return c, nil
}

func (c *ControlPlane) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	var err error
	if c.port, err = reservePort(); err != nil {
		return err
	}
	if c.pki, err = newPKI(c.folder); err != nil {
		return err
	}
	if c.admin, err = c.KubeconfigForUser("admin", "system:masters"); err != nil {
		return err
	}
	if c.client, err = c.pki.client("admin", "system:masters"); err != nil {
		return err
	}
	if err := c.startEtcd(); err != nil {
		return err
	}
	if err := c.StartAPIServer(ctx); err != nil {
		return err
	}
	if err := c.ApplyCRDs(ctx, c.options.CRDs...); err != nil {
		return err
	}
	if c.options.ControllerManager {
		return c.startControllers(ctx)
	}
	return nil
}

// Stop kills all servers and removes everything they wrote. It may be called more than once.
func (c *ControlPlane) Stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	// The API server takes a minute to obey SIGTERM, and nothing here is worth keeping.
	for _, p := range []*process{c.controllers, c.apiServer, c.etcd} {
		p.kill()
	}
	c.port.release()
	// What a test could do about a folder that stays is nothing; the next Start sweeps it.
	_ = os.RemoveAll(c.folder)
}

// StopAPIServer kills the API server, as an outage would. Its address stays taken, and refuses.
func (c *ControlPlane) StopAPIServer() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.apiServer.kill()
	c.apiServer = nil
}

// StartAPIServer starts the API server again after StopAPIServer, at the same address and on the same
// data, and returns when it serves everything that it served before.
func (c *ControlPlane) StartAPIServer(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := c.launchAPIServer(); err != nil {
		return err
	}
	if err := c.until(ctx, "the API server says that it is ready", func() error {
		_, err := c.get(ctx, "/readyz")
		return err
	}); err != nil {
		return err
	}
	// It says so a moment before it serves custom resources.
	return c.untilServed(ctx)
}

func (c *ControlPlane) launchAPIServer() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.apiServer != nil {
		return errors.New("the API server was not stopped: call StopAPIServer first")
	}
	var err error
	c.apiServer, err = c.run("kube-apiserver", c.apiServerArgs()...)
	return err
}

// AdminKubeconfig is the path of a kubeconfig for a user who may do everything.
func (c *ControlPlane) AdminKubeconfig() string { return c.admin }

// URL is the address of the API server, https://127.0.0.1 with a port.
func (c *ControlPlane) URL() string { return fmt.Sprintf("https://127.0.0.1:%d", c.port.number) }

// CA is the certificate, in PEM, that signed the API server's own.
func (c *ControlPlane) CA() []byte { return c.pki.authority.pem() }

// Kubectl runs the real kubectl as the admin and returns what it printed. The error holds its standard
// error.
func (c *ControlPlane) Kubectl(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(c.tools, "kubectl"), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.admin)
	out, err := cmd.Output()
	if err != nil {
		said := ""
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			said = string(exit.Stderr)
		}
		return string(out), fmt.Errorf("kubectl %s: %w\n%s", strings.Join(args, " "), err, said)
	}
	return string(out), nil
}

// Logs returns the end of what each server wrote, for a test that failed.
func (c *ControlPlane) Logs() string {
	var all strings.Builder
	for _, p := range c.servers() {
		fmt.Fprintf(&all, "The last lines of %s:\n%s\n", p.name, p.tail())
	}
	return all.String()
}

// servers are those that were started and not stopped.
func (c *ControlPlane) servers() []*process {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.DeleteFunc([]*process{c.etcd, c.apiServer, c.controllers}, func(p *process) bool { return p == nil })
}

func (c *ControlPlane) run(name string, args ...string) (*process, error) {
	return startProcess(filepath.Join(c.tools, name), filepath.Join(c.folder, name+".log"), args...)
}

// until tries again and again until the check succeeds, and gives up when a server has died.
func (c *ControlPlane) until(ctx context.Context, what string, check func() error) error {
	for {
		err := check()
		if err == nil {
			return nil
		}
		for _, p := range c.servers() {
			if p.ended() {
				return fmt.Errorf("%s has ended (%w); its last lines:\n%s", p.name, p.err, p.tail())
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s: %w; the last answer was: %w\n%s", what, context.Cause(ctx), err, c.Logs())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// get asks the API server as the admin.
func (c *ControlPlane) get(ctx context.Context, path string) ([]byte, error) {
	return c.do(ctx, http.MethodGet, path, nil)
}

func (c *ControlPlane) do(ctx context.Context, method, path string, body io.Reader) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.URL()+path, body)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := c.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode >= 300 {
		return nil, fmt.Errorf("%s %s: %s: %s", method, path, response.Status, answer)
	}
	return answer, nil
}

// toolsFolder finds the servers.
func toolsFolder(ctx context.Context, options Options) (string, error) {
	if options.Tools != "" {
		return options.Tools, nil
	}
	if folder := os.Getenv("ELEMENTAL_TOOLS"); folder != "" {
		return folder, nil
	}
	cmd := exec.CommandContext(ctx, "go", "run", "elemental/e2e/tools", "-built", "controlplane")
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("finding the control plane's programs: run `make controlplane`, or set ELEMENTAL_TOOLS to the folder that it printed: %w\n%s", err, said.String())
	}
	return strings.TrimSpace(string(out)), nil
}
