package controlplane

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
)

func (c *ControlPlane) startEtcd() error {
	// Sockets in a folder that only this user may enter need no certificates and no ports.
	const longest = 103 // on every system
	if socket := filepath.Join(c.folder, "etcd.sock"); len(socket) > longest {
		return fmt.Errorf("%s is too long a name for a socket: set TMPDIR to a shorter folder", socket)
	}
	clients := "unix://" + filepath.Join(c.folder, "etcd.sock")
	peers := "unix://" + filepath.Join(c.folder, "peer.sock")
	var err error
	c.etcd, err = c.run("etcd",
		"--name=default",
		"--data-dir="+filepath.Join(c.folder, "etcd"),
		"--listen-client-urls="+clients,
		"--advertise-client-urls="+clients,
		"--listen-peer-urls="+peers,
		"--initial-advertise-peer-urls="+peers,
		"--initial-cluster=default="+peers,
		"--log-level=warn",
		// The data need not outlive the machine.
		"--unsafe-no-fsync",
	)
	return err
}

func (c *ControlPlane) apiServerArgs() []string {
	args := []string{
		"--etcd-servers=unix://" + filepath.Join(c.folder, "etcd.sock"),
		"--bind-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", c.port.number),
		// The port is held by this process, too, so that nobody takes it during an outage.
		"--permit-port-sharing=true",
		"--tls-cert-file=" + c.pki.servingCert,
		"--tls-private-key-file=" + c.pki.servingKey,
		"--client-ca-file=" + c.pki.caFile,
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + c.pki.accountKey,
		"--service-account-signing-key-file=" + c.pki.accountKey,
		"--service-cluster-ip-range=10.0.0.0/24",
		"--authorization-mode=RBAC",
		"--allow-privileged=true",
		// Where there is no default route the server finds no address of its own.
		"--advertise-address=127.0.0.1",
		"--endpoint-reconciler-type=none",
		"--cert-dir=" + c.folder,
	}
	if !c.options.ControllerManager {
		args = append(args, "--disable-admission-plugins=ServiceAccount")
	}
	return append(args, c.options.APIServerArgs...)
}

// The controllers that act without nodes. Those that watch over nodes would mark every node of a test as
// lost, since no kubelet reports for it.
var controllers = []string{
	"daemonset-controller",
	"deployment-controller",
	"disruption-controller",
	"garbage-collector-controller",
	"namespace-controller",
	"replicaset-controller",
	"root-ca-certificate-publisher-controller",
	"serviceaccount-controller",
	"serviceaccount-token-controller",
}

func (c *ControlPlane) startControllers(ctx context.Context) error {
	kubeconfig, err := c.KubeconfigForUser("system:kube-controller-manager", "system:masters")
	if err != nil {
		return err
	}
	manager, err := c.run("kube-controller-manager",
		"--kubeconfig="+kubeconfig,
		"--controllers="+strings.Join(controllers, ","),
		"--service-account-private-key-file="+c.pki.accountKey,
		"--root-ca-file="+c.pki.caFile,
		"--leader-elect=false",
		"--secure-port=0",
		"--cert-dir="+c.folder,
	)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.controllers = manager
	c.mu.Unlock()
	return c.until(ctx, "the controllers fill the namespace default", func() error {
		if _, err := c.get(ctx, "/api/v1/namespaces/default/serviceaccounts/default"); err != nil {
			return err
		}
		_, err := c.get(ctx, "/api/v1/namespaces/default/configmaps/kube-root-ca.crt")
		return err
	})
}
