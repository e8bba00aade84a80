package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"elemental/e2e/hosts"
	"elemental/e2e/lab"
	"elemental/e2e/registry"
)

// TestLifeUnitLaunchers holds both launchers against their port, inside a host whose systemd starts units, and measures
// what they cost.
func TestLifeUnitLaunchers(t *testing.T) {
	machine := bareMachine(t)
	ctx := t.Context()
	for _, adapter := range []struct{ folder, run, bench string }{
		{"systemd", "^TestLauncher", "^BenchmarkLauncher$"}, {"plugin", "^TestChildren$", "^BenchmarkChildren$"},
	} {
		program := filepath.Join(t.TempDir(), adapter.folder+".test")
		build := exec.CommandContext(ctx, "go", "test", "-c", "-o", program, "./adapters/"+adapter.folder)
		build.Dir, build.Env = "..", append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("building the tests of %s: %v\n%s", adapter.folder, err, out)
		}
		inside := "/root/" + adapter.folder + ".test"
		if err := place(ctx, machine, program, inside); err != nil {
			t.Fatal(err)
		}
		out, err := machine.Exec(ctx, "systemd-run", "--quiet", "--wait", "--collect", "--pipe", "--service-type=exec", "--working-directory=/root",
			inside, "-test.v", "-test.timeout=2m", "-test.run="+adapter.run, "-test.bench="+adapter.bench, "-test.benchtime=200x", "-test.count=1")
		t.Logf("%s", out)
		if err != nil {
			t.Fatal(err)
		}
	}
}

// bareMachine is a host on which neither the agent nor the health check runs.
func bareMachine(t *testing.T) *hosts.Host {
	t.Helper()
	if testing.Short() {
		t.Skip("the stories take minutes")
	}
	if err := hosts.Missing(); err != nil {
		if os.Getuid() == 0 {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	l, err := lab.Prepare(t.Context(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Stop)
	system := registry.System{Version: "v1", Files: []registry.File{registry.Mask("elemental-agent.service"), registry.Mask("elemental-health.service")}}
	machine, err := l.StartPlainHost(t.Context(), hosts.Config{Host: "bare"}, system)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			t.Logf("%s\n%s", machine.Report(ctx), machine.Journal(ctx))
		}
		machine.Remove()
	})
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		if _, err := machine.Exec(t.Context(), "systemctl", "is-active", "multi-user.target"); err == nil {
			return machine
		} else if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// place copies a program onto a machine.
func place(ctx context.Context, machine *hosts.Host, from, to string) error {
	out, err := exec.CommandContext(ctx, "cp", from, filepath.Join(machine.Disk(), to)).CombinedOutput()
	if err != nil {
		return &exec.Error{Name: string(out), Err: err}
	}
	return nil
}
