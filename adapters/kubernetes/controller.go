package kubernetes

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/go-logr/logr"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"elemental/adapters/kubernetes/api/v1beta1"
)

// Options say how the controller runs.
type Options struct {
	Namespace               string // the only one to look at; empty: all
	MetricsAddress          string // "0": no metrics are served
	HealthAddress           string // of /healthz and /readyz; "0": they are not served
	LeaderElection          bool   // only one of several controllers acts
	LeaderElectionNamespace string // empty: that of the pod
	APIServerURL            string // how hosts reach the API server; empty: as the controller does, if that is no pod's way
	Log                     logr.Logger
}

// serverFrom is how hosts reach the API server, as far as the controller can know. The address that a pod has is of
// no use to them; the certificates are the same.
func serverFrom(config *rest.Config, url string) Server {
	server := Server{URL: url, CA: config.CAData}
	if len(server.CA) == 0 && config.CAFile != "" {
		// A file that can't be read has kept the controller from its own API server before.
		server.CA, _ = os.ReadFile(config.CAFile)
	}
	if server.URL == "" && config.BearerTokenFile == "" {
		server.URL = config.Host
	}
	return server
}

// leaderElectionID is the name of the Lease for which controllers compete. A host of the same name beside it gets no
// rights on it: what does not belong to a host is refused to it.
const leaderElectionID = "elemental-controller"

// A leader that the API server's outage keeps from renewing stays leader for this long: longer than an
// outage that is nobody's fault, shorter than anyone would wait for another to take over.
const (
	leaseDuration = 60 * time.Second
	renewDeadline = 45 * time.Second
	retryPeriod   = 2 * time.Second
	shutdownTime  = 10 * time.Second
)

// Run reconciles Elemental's resources until the context ends, which is not an error.
func Run(ctx context.Context, server *rest.Config, options Options) error {
	scheme, err := newScheme()
	if err != nil {
		return err
	}
	server = rest.CopyConfig(server)
	server.QPS = -1 // The API server itself knows best how much is too much.
	// It warns of the finalizer's name whenever that is written; existing objects bear it. Once is enough.
	server.WarningHandlerWithContext = ctrllog.NewKubeAPIWarningLogger(ctrllog.KubeAPIWarningLoggerOptions{Deduplicate: true})
	server.Wrap(func(next http.RoundTripper) http.RoundTripper { return patient{next, ctx.Done()} })
	m, err := manager.New(server, managerOptions(options, scheme))
	if err != nil {
		return fmt.Errorf("preparing the controller: %w", err)
	}
	if err := addControllers(ctx, m, serverFrom(server, options.APIServerURL)); err != nil {
		return err
	}
	if err := m.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return fmt.Errorf("serving /healthz: %w", err)
	}
	if err := m.AddReadyzCheck("ping", healthz.Ping); err != nil {
		return fmt.Errorf("serving /readyz: %w", err)
	}
	if err := m.Start(ctx); err != nil {
		return fmt.Errorf("running the controller: %w", err)
	}
	return nil
}

func managerOptions(options Options, scheme *runtime.Scheme) manager.Options {
	anyName := true
	lease, renew, retry, shutdown := leaseDuration, renewDeadline, retryPeriod, shutdownTime
	return manager.Options{
		Scheme: scheme,
		Cache:  cacheOptions(options.Namespace),
		Logger: options.Log,
		// A second controller in one process, as tests run it, bears the same names.
		Controller:                    config.Controller{SkipNameValidation: &anyName},
		Metrics:                       metricsserver.Options{BindAddress: options.MetricsAddress},
		HealthProbeBindAddress:        options.HealthAddress,
		LeaderElection:                options.LeaderElection,
		LeaderElectionID:              leaderElectionID,
		LeaderElectionNamespace:       options.LeaderElectionNamespace,
		LeaderElectionReleaseOnCancel: true,
		LeaseDuration:                 &lease,
		RenewDeadline:                 &renew,
		RetryPeriod:                   &retry,
		GracefulShutdownTimeout:       &shutdown,
	}
}

// newScheme knows Elemental's types, and those of Kubernetes that the controller works with.
func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		v1beta1.AddToScheme, corev1.AddToScheme, rbacv1.AddToScheme, coordinationv1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("learning the types of Kubernetes: %w", err)
		}
	}
	return scheme, nil
}
