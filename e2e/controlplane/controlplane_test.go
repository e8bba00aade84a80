package controlplane

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/matryer/is"
)

func TestControlPlaneServesAndSurvivesAnOutage(t *testing.T) {
	is := is.New(t)
	ctx := t.Context()
	c, err := Start(ctx, Options{CRDs: []string{"testdata"}, ControllerManager: true})
	is.NoErr(err)
	t.Cleanup(c.Stop)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(c.Logs())
		}
	})

	// Custom resources are served, and their schema holds.
	is.NoErr(c.apply(t, widget("one", 1)))
	err = c.apply(t, widget("huge", 11))
	is.True(err != nil && strings.Contains(err.Error(), "should be less than or equal to 10"))

	// Who may do nothing is told so; a role changes that; an unknown token is nobody.
	user, err := c.KubeconfigForUser("alice", "readers")
	is.NoErr(err)
	_, err = c.Kubectl(ctx, "--kubeconfig", user, "get", "widgets")
	is.True(err != nil && strings.Contains(err.Error(), `User "alice" cannot list resource "widgets"`))
	_, err = c.Kubectl(ctx, "create", "clusterrole", "reader", "--verb=get,list", "--resource=widgets.example.com")
	is.NoErr(err)
	_, err = c.Kubectl(ctx, "create", "clusterrolebinding", "readers", "--clusterrole=reader", "--group=readers")
	is.NoErr(err)
	_, err = c.Kubectl(ctx, "--kubeconfig", user, "get", "widgets")
	is.NoErr(err)
	account, err := c.KubeconfigForServiceAccount(ctx, "default", "default")
	is.NoErr(err)
	_, err = c.Kubectl(ctx, "--kubeconfig", account, "get", "widgets")
	is.True(err != nil && strings.Contains(err.Error(), `User "system:serviceaccount:default:default" cannot list`))
	nobody, err := c.KubeconfigForToken("forged")
	is.NoErr(err)
	_, err = c.Kubectl(ctx, "--kubeconfig", nobody, "get", "widgets")
	is.True(err != nil && strings.Contains(err.Error(), "must be logged in"))

	// The controllers work: they empty a namespace that goes, and fill a token Secret.
	_, err = c.Kubectl(ctx, "create", "namespace", "brief")
	is.NoErr(err)
	_, err = c.Kubectl(ctx, "delete", "namespace", "brief", "--timeout=60s")
	is.NoErr(err)
	is.NoErr(c.apply(t, `{"apiVersion":"v1","kind":"Secret","type":"kubernetes.io/service-account-token",
		"metadata":{"name":"lasting","annotations":{"kubernetes.io/service-account.name":"default"}}}`))
	_, err = c.Kubectl(ctx, "wait", "secret/lasting", "--for=jsonpath={.data.token}", "--timeout=60s")
	is.NoErr(err)

	// An outage: clients are refused, the address cannot be taken, and everything is there afterwards.
	for range 2 {
		c.StopAPIServer()
		_, err = c.Kubectl(ctx, "get", "widgets")
		is.True(err != nil && strings.Contains(err.Error(), "refused"))
		_, err = net.Listen("tcp", strings.TrimPrefix(c.URL(), "https://"))
		is.True(errors.Is(err, syscall.EADDRINUSE))
		is.NoErr(c.StartAPIServer(ctx))
		size, err := c.Kubectl(ctx, "get", "widget", "one", "-o", "jsonpath={.spec.size}")
		is.NoErr(err)
		is.Equal(size, "1")
	}
	is.True(c.StartAPIServer(ctx) != nil) // It was not stopped.

	servers := c.servers()
	c.Stop()
	for _, p := range servers {
		is.True(p.ended())
	}
	_, err = os.Stat(c.folder)
	is.True(errors.Is(err, fs.ErrNotExist))
}

func TestStartSaysWhyAServerEnded(t *testing.T) {
	is := is.New(t)
	_, err := Start(t.Context(), Options{APIServerArgs: []string{"--no-such-flag"}})
	is.True(err != nil && strings.Contains(err.Error(), "unknown flag: --no-such-flag"))
	_, err = Start(t.Context(), Options{Tools: t.TempDir()})
	is.True(err != nil && strings.Contains(err.Error(), "make controlplane"))
}

// A test that is killed cleans up nothing itself.
func TestServersDieWithTheProcessThatStartedThem(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux kills a child for its parent's sake")
	}
	is := is.New(t)
	const role = "ELEMENTAL_CONTROLPLANE_TEST_PARENT"
	if os.Getenv(role) != "" {
		c, err := Start(t.Context(), Options{})
		is.NoErr(err)
		fmt.Println("FOLDER", c.folder)
		for _, p := range c.servers() {
			fmt.Println("PID", p.handle.Pid)
		}
		fmt.Println("READY")
		select {}
	}

	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	parent := exec.CommandContext(ctx, os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	// t.TempDir() is too long for the name of a socket.
	temp, err := os.MkdirTemp("", "")
	is.NoErr(err)
	t.Cleanup(func() { is.NoErr(os.RemoveAll(temp)) })
	parent.Env = append(os.Environ(), role+"=1", "TMPDIR="+temp)
	out, err := parent.StdoutPipe()
	is.NoErr(err)
	is.NoErr(parent.Start())
	var folder, said string
	var pids []int
	for lines := bufio.NewScanner(out); lines.Scan() && lines.Text() != "READY"; {
		var pid int
		if _, err := fmt.Sscanf(lines.Text(), "PID %d", &pid); err == nil {
			pids = append(pids, pid)
		}
		_, _ = fmt.Sscanf(lines.Text(), "FOLDER %s", &folder)
		said += lines.Text() + "\n"
	}
	if len(pids) != 2 {
		t.Fatalf("the parent started %d servers and said:\n%s", len(pids), said)
	}

	sweep(temp)
	_, err = os.Stat(folder)
	is.NoErr(err) // The folder of a living process stays.

	is.NoErr(parent.Process.Kill())
	_ = parent.Wait() // It says that the process was killed.
	for _, pid := range pids {
		waitUntilDead(t, pid)
	}
	sweep(temp)
	_, err = os.Stat(folder)
	is.True(errors.Is(err, fs.ErrNotExist))
}

func waitUntilDead(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		// An orphan that nobody waits for stays as a zombie (Z).
		if err != nil || strings.Contains(string(status), ") Z ") {
			return
		}
	}
	t.Fatalf("process %d still runs", pid)
}

func (c *ControlPlane) apply(t *testing.T, object string) error {
	t.Helper()
	file := filepath.Join(t.TempDir(), "object.yaml")
	if err := os.WriteFile(file, []byte(object), 0o600); err != nil {
		return err
	}
	_, err := c.Kubectl(t.Context(), "apply", "--server-side", "-f", file)
	return err
}

func widget(name string, size int) string {
	return fmt.Sprintf(`{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":%q},"spec":{"size":%d}}`, name, size)
}
