package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemental/adapters/kubernetes/api/v1beta1"
	"elemental/e2e/hosts"
	"elemental/e2e/lab"
)

// bench is a lab, what is measured in it, and what runs there for more than one part.
type bench struct {
	*figures
	*lab.Lab
	folder   string
	audit    string           // the API server's log of the idle agent's requests
	cluster  client.WithWatch // as the administrator, with connections that are kept
	idleFor  time.Duration
	idler    *idler
	joined   *joiner
	scaled   bool
	cleanups []func()
}

// The namespaces of the parts.
const (
	idleNamespace    = "bench-idle"
	patchNamespace   = "bench-patch"
	upgradeNamespace = "bench-upgrade"
	scaleNamespace   = "bench-scale"
	joiningNamespace = "bench-joining"
)

// auditPolicy logs the requests of two namespaces' service accounts, so that all others cost what they always
// cost.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  userGroups: ["system:serviceaccounts:` + idleNamespace + `", "system:serviceaccounts:` + joiningNamespace + `"]
- level: None
`

// newBench starts a cluster with the controller. What it returns is to be closed, even after an error.
func newBench(ctx context.Context, wanted selection, idle time.Duration) (*bench, error) {
	b := &bench{figures: newFigures(os.Stdout, os.Stderr, wanted), idleFor: idle}
	var err error
	if b.folder, err = os.MkdirTemp("", "elemental-bench-"); err != nil {
		return b, fmt.Errorf("making the folder of the benchmark: %w", err)
	}
	b.now("finds or builds the programs")
	if b.Lab, err = lab.Prepare(ctx, os.Stderr); err != nil {
		return b, err
	}
	b.now("starts the control plane")
	if err := b.startCluster(ctx); err != nil {
		return b, err
	}
	if err := b.StartController(ctx); err != nil {
		return b, err
	}
	return b, b.connect()
}

// startCluster starts the lab's cluster with an audit log.
func (b *bench) startCluster(ctx context.Context) error {
	policy := filepath.Join(b.folder, "audit.yaml")
	b.audit = filepath.Join(b.folder, "audit.log")
	if err := os.WriteFile(policy, []byte(auditPolicy), 0o600); err != nil {
		return fmt.Errorf("writing the audit policy: %w", err)
	}
	return b.StartCluster(ctx, "--audit-policy-file="+policy, "--audit-log-path="+b.audit)
}

func (b *bench) connect() error {
	config, err := clientcmd.BuildConfigFromFlags("", b.Cluster.AdminKubeconfig())
	if err != nil {
		return fmt.Errorf("reading the administrator's kubeconfig: %w", err)
	}
	config.QPS = -1 // What is to be measured is not this program.
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1beta1.AddToScheme} {
		if err := add(scheme); err != nil {
			return fmt.Errorf("learning the custom resources: %w", err)
		}
	}
	b.cluster, err = client.NewWithWatch(config, client.Options{Scheme: scheme})
	return err
}

// close ends all that was started, the last first.
func (b *bench) close() {
	b.now("cleans up")
	for i := len(b.cleanups) - 1; i >= 0; i-- {
		b.cleanups[i]()
	}
	if b.Lab != nil {
		b.Lab.Stop()
	}
	b.figures.close()
	_ = os.RemoveAll(b.folder) // It holds a few kilobytes.
}

func (b *bench) later(cleanup func()) { b.cleanups = append(b.cleanups, cleanup) }

// startAgent starts a host that is nothing but an agent, in a namespace of its own, and waits until it is ready.
func (b *bench) startAgent(ctx context.Context, namespace, name, plugin string) (*hosts.Process, error) {
	if _, err := b.Cluster.Kubectl(ctx, "create", "namespace", namespace); err != nil {
		return nil, err
	}
	config, err := b.Register(ctx, namespace, name)
	if err != nil {
		return nil, err
	}
	config.Plugin = plugin
	process, err := hosts.StartProcess(b.Binary, config)
	if err != nil {
		return nil, err
	}
	b.later(process.Remove)
	err = b.watchHosts(ctx, namespace, name, func(h *v1beta1.ElementalHost) bool { return ready(h) })
	if err != nil {
		return nil, fmt.Errorf("waiting until host %s is ready: %w; its agent said last:\n%s", name, err, process.Log())
	}
	return process, nil
}
