package controller

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"elemental/adapters/kubernetes"
)

// run works until the context ends, which is not an error.
func run(ctx context.Context, s settings, log *slog.Logger) error {
	logger := logr.FromSlogHandler(log.Handler())
	// The libraries log on their own, too; all of it is to come out in one form.
	klog.SetLogger(logger)
	ctrllog.SetLogger(logger)
	staySmall()

	server, err := reach(s.kubeconfig)
	if err != nil {
		return err
	}
	return kubernetes.Run(ctx, server, kubernetes.Options{
		Namespace:               s.namespace,
		MetricsAddress:          s.metricsAddress,
		HealthAddress:           s.healthAddress,
		APIServerURL:            s.apiServerURL,
		LeaderElection:          s.leaderElection,
		LeaderElectionNamespace: s.leaderElectionNamespace,
		Log:                     logger,
	})
}

// reach says how to reach the API server: by a kubeconfig, or as the pod that this process runs in.
func reach(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == "" {
		server, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("finding the API server: this is no pod; give --kubeconfig: %w", err)
		}
		return server, nil
	}
	server, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig %q: %w", kubeconfig, err)
	}
	return server, nil
}
