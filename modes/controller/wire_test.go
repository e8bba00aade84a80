package controller

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/matryer/is"
	"github.com/urfave/cli/v2"

	"elemental/e2e/controlplane"
)

// output is what a command says, while it says it.
type output struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.all.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.all.String()
}

func command(ctx context.Context, said *output, args ...string) error {
	app := &cli.App{Commands: []*cli.Command{Command("test")}, Writer: said, ErrWriter: said, ExitErrHandler: func(*cli.Context, error) {}}
	return app.RunContext(ctx, append([]string{"elemental", "controller"}, args...))
}

func TestTheControllerSaysWhatItMisses(t *testing.T) {
	is := is.New(t)
	t.Setenv("KUBECONFIG", "")
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	err := command(t.Context(), &output{})
	is.True(err != nil && strings.Contains(err.Error(), "give --kubeconfig"))
	err = command(t.Context(), &output{}, "--kubeconfig", "/nowhere")
	is.True(err != nil && strings.Contains(err.Error(), `reading the kubeconfig "/nowhere"`))
}

func TestTheControllerWorksUntilItIsTold(t *testing.T) {
	is := is.New(t)
	plane, err := controlplane.Start(t.Context(), controlplane.Options{CRDs: []string{"../../packaging/crds"}})
	is.NoErr(err)
	t.Cleanup(plane.Stop)
	kubectl := func(args ...string) (string, error) { return plane.Kubectl(t.Context(), args...) }
	for _, args := range [][]string{
		{"create", "namespace", "elemental-system"},
		{"apply", "-k", "../../packaging/rbac"},
		{"apply", "-k", "../../packaging/admission"},
	} {
		_, err := kubectl(args...)
		is.NoErr(err)
	}
	identity, err := plane.KubeconfigForServiceAccount(t.Context(), "elemental-system", "elemental-controller-manager")
	is.NoErr(err)

	said := &output{}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(said)
		}
	})
	stop := start(t, said, "--kubeconfig", identity, "--leader-elect-namespace", "elemental-system",
		"--metrics-bind-address", "0", "--health-probe-bind-address", "127.0.0.1:0")
	manifest := filepath.Join(t.TempDir(), "host.yaml")
	is.NoErr(os.WriteFile(manifest, []byte("apiVersion: infrastructure.cluster.x-k8s.io/v1beta1\nkind: ElementalHost\nmetadata: {name: one, namespace: default}\n"), 0o600))
	_, err = kubectl("apply", "-f", manifest)
	is.NoErr(err)
	_, err = kubectl("wait", "elementalhost/one", "--for=jsonpath={.status.conditions[?(@.type==\"Ready\")].reason}=WaitingForOSReconcile", "--timeout=30s")
	is.NoErr(err)
	leader, err := kubectl("-n", "elemental-system", "get", "lease", "elemental-controller", "-o", "jsonpath={.spec.holderIdentity}")
	is.NoErr(err)
	is.True(leader != "")

	stop()
	leader, err = kubectl("-n", "elemental-system", "get", "lease", "elemental-controller", "-o", "jsonpath={.spec.holderIdentity}")
	is.NoErr(err)
	is.Equal(leader, "") // The next one need not wait for it.

	// It ends as well while the API server is away.
	stop = start(t, said, "--kubeconfig", identity, "--leader-elect-namespace", "elemental-system",
		"--metrics-bind-address", "0", "--health-probe-bind-address", "0")
	for deadline := time.Now().Add(30 * time.Second); leader == ""; {
		is.True(time.Now().Before(deadline)) // It becomes the leader.
		leader, err = kubectl("-n", "elemental-system", "get", "lease", "elemental-controller", "-o", "jsonpath={.spec.holderIdentity}")
		is.NoErr(err)
	}
	plane.StopAPIServer()
	stop()
	for line := range strings.Lines(said.String()) {
		is.True(json.Valid([]byte(line))) // Everything is logged in one form, also what the libraries say.
	}
}

// TestMain lets the test's own binary be the controller: its loggers are one a process.
func TestMain(m *testing.M) {
	if os.Getenv(asController) == "" {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	app := &cli.App{Commands: []*cli.Command{Command("test")}}
	if err := app.RunContext(ctx, append([]string{"elemental", "controller"}, os.Args[1:]...)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

const asController = "ELEMENTAL_TEST_AS_CONTROLLER"

// start runs the controller until stop is called, which waits until it has ended.
func start(t *testing.T, said *output, args ...string) (stop func()) {
	t.Helper()
	controller := exec.CommandContext(t.Context(), os.Args[0], args...)
	controller.Env, controller.Stdout, controller.Stderr = append(os.Environ(), asController+"=1"), said, said
	if err := controller.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- controller.Wait() }()
	return func() {
		t.Helper()
		began := time.Now()
		is.New(t).NoErr(controller.Process.Signal(syscall.SIGTERM))
		select {
		case err := <-ended:
			is.New(t).NoErr(err)
			t.Logf("it ended after %s", time.Since(began))
		case <-time.After(10 * time.Second):
			t.Fatal("the controller does not end")
		}
	}
}
