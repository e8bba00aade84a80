// Package controller is the mode that runs in the management cluster.
package controller

import (
	"io"
	"log/slog"

	"github.com/urfave/cli/v2"

	"elemental/modes/manual"
)

// settings are what the command line says.
type settings struct {
	namespace               string
	kubeconfig              string
	metricsAddress          string
	healthAddress           string
	apiServerURL            string
	leaderElection          bool
	leaderElectionNamespace string
	debug                   bool
}

// Command is the controller's place on the command line. The version is the program's own.
func Command(version string) *cli.Command {
	var s settings
	return &cli.Command{
		Name:  "controller",
		Usage: "reconcile hosts and machines, in the management cluster",
		Description: manual.Page{
			Text: "Runs in the management cluster, as packaging/kustomize starts it. It gives each ElementalHost an identity, derives\n" +
				"labels and Ready from what the agents report, and forwards the OS versions of ElementalMachines to the hosts that\n" +
				"serve them. It needs the custom resources, and the rights of packaging/rbac. It keeps nothing outside the cluster.\n" +
				"Several may run: one acts, and another takes over when its Lease is not renewed.",
			Examples: []manual.Example{
				{Does: "Run it outside the cluster, with nobody to share the work with.",
					Line: "elemental controller --kubeconfig ~/.kube/config --leader-elect=false"},
				{Does: "Run it for the hosts of one namespace, without metrics.",
					Line: "elemental controller --kubeconfig ~/.kube/config --namespace my-namespace --leader-elect=false --metrics-bind-address 0 --health-probe-bind-address 127.0.0.1:8082"},
			},
			Statuses: []manual.Status{
				{Code: 0, Means: "it was told to end"},
				{Code: 1, Means: "the cluster can't be reached, an address is taken, or the Lease was lost to another controller"},
			},
			See: []string{"docs/architecture.md"},
		}.String(),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "namespace", Destination: &s.namespace,
				Usage: "the only `NAMESPACE` to look at; by default all"},
			&cli.StringFlag{Name: "kubeconfig", Destination: &s.kubeconfig, EnvVars: []string{"KUBECONFIG"}, TakesFile: true,
				Usage: "the `FILE` that says how to reach the API server; by default $KUBECONFIG, then what the pod was given"},
			&cli.StringFlag{Name: "metrics-bind-address", Destination: &s.metricsAddress, Value: "127.0.0.1:8080",
				Usage: "the `ADDRESS` that serves /metrics to whoever reaches it; 0 serves none"},
			&cli.StringFlag{Name: "health-probe-bind-address", Destination: &s.healthAddress, Value: ":8081",
				Usage: "the `ADDRESS` that serves /healthz and /readyz; 0 serves none"},
			&cli.BoolFlag{Name: "leader-elect", Destination: &s.leaderElection, Value: true,
				Usage: "let only one of several controllers act"},
			&cli.StringFlag{Name: "leader-elect-namespace", Destination: &s.leaderElectionNamespace,
				Usage: "the `NAMESPACE` of the Lease that controllers compete for; by default that of the pod"},
			&cli.StringFlag{Name: "api-server-url", Destination: &s.apiServerURL,
				Usage: "the `URL` by which hosts reach the API server; by default as the controller does, outside of a pod"},
			&cli.BoolFlag{Name: "debug", Destination: &s.debug, Usage: "log more"},
		},
		Action: func(c *cli.Context) error {
			log := newLog(c.App.ErrWriter, s.debug)
			log.Info("the controller starts", "version", version)
			defer log.Info("the controller ends")
			return run(c.Context, s, log)
		},
	}
}

func newLog(w io.Writer, debug bool) *slog.Logger {
	level := slog.LevelInfo
	if debug {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level}))
}
