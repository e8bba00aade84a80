// Package controller is the mode that runs in the management cluster.
package controller

import (
	"io"
	"log/slog"

	"github.com/urfave/cli/v2"
)

// settings are what the command line says.
type settings struct {
	namespace               string
	kubeconfig              string
	metricsAddress          string
	healthAddress           string
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
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "namespace", Destination: &s.namespace,
				Usage: "the only `NAMESPACE` to look at (default: all)"},
			&cli.StringFlag{Name: "kubeconfig", Destination: &s.kubeconfig, EnvVars: []string{"KUBECONFIG"}, TakesFile: true,
				Usage: "`FILE` that says how to reach the API server (default: that of the pod)"},
			&cli.StringFlag{Name: "metrics-bind-address", Destination: &s.metricsAddress, Value: "127.0.0.1:8080",
				Usage: "`ADDRESS` that serves /metrics to whoever reaches it; 0 serves none"},
			&cli.StringFlag{Name: "health-probe-bind-address", Destination: &s.healthAddress, Value: ":8081",
				Usage: "`ADDRESS` that serves /healthz and /readyz; 0 serves none"},
			&cli.BoolFlag{Name: "leader-elect", Destination: &s.leaderElection, Value: true,
				Usage: "let only one of several controllers act"},
			&cli.StringFlag{Name: "leader-elect-namespace", Destination: &s.leaderElectionNamespace,
				Usage: "`NAMESPACE` of the Lease that controllers compete for (default: that of the pod)"},
			&cli.BoolFlag{Name: "debug", Destination: &s.debug, Usage: "log more"},
		},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return cli.Exit("controller takes no arguments, and was given "+c.Args().First(), 2)
			}
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
