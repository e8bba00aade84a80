package systemd

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"elemental/ports/portstest"
)

func TestMachine(t *testing.T) {
	portstest.TestMachine(t, func(t *testing.T) portstest.MachineCase {
		root := t.TempDir()
		file := func(name, text string) {
			path := filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		file("proc/sys/kernel/random/boot_id", "6a1c\n")
		file("etc/machine-id", "1234\n")
		file("run/other", "")
		return portstest.MachineCase{Machine: Machine{root: root}, Join: func() { file(Sentinel, "success") }}
	})
}

func TestFactsReadTheReleaseFile(t *testing.T) {
	for release, name := range map[string]string{
		"NAME=x\nPRETTY_NAME=\"An OS 1.2 (code \\\"name\\\")\"\n": `An OS 1.2 (code "name")`,
		"PRETTY_NAME='An OS'\n":                                   "An OS",
		"PRETTY_NAME=Plain\n":                                     "Plain",
		"NAME=x\n":                                                "",
	} {
		is := is.New(t)
		root := t.TempDir()
		is.NoErr(os.MkdirAll(filepath.Join(root, "usr/lib"), 0o755))
		is.NoErr(os.WriteFile(filepath.Join(root, "usr/lib/os-release"), []byte(release), 0o644))
		is.Equal(Machine{root: root}.release(), name)
	}
}

func TestARestartThatNobodyAnswersIsSaidInOneLine(t *testing.T) {
	is := is.New(t)
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+filepath.Join(t.TempDir(), "nobody")) // Nothing restarts this machine.
	err := Machine{}.Restart(t.Context(), "a test")
	is.True(errors.Is(err, os.ErrNotExist))
	says := err.Error()
	is.True(strings.HasPrefix(says, "asking for the restart of the host: connecting to D-Bus: "))
	is.True(strings.Contains(says, "; and then, without logind: connecting to the unit manager: "))
	is.True(!strings.Contains(says, "\n"))
}

func TestBootIDIsHandedOver(t *testing.T) {
	is := is.New(t)
	root, credentials := t.TempDir(), t.TempDir()
	m := Machine{root: root, credentials: credentials}
	_, err := m.Facts(t.Context())
	is.True(err != nil) // it is nowhere
	is.NoErr(os.MkdirAll(filepath.Join(root, "proc/sys/kernel/random"), 0o755))
	is.NoErr(os.WriteFile(filepath.Join(root, "proc/sys/kernel/random/boot_id"), []byte("the machine's\n"), 0o600))
	is.Equal(bootOf(t, m), "the machine's")
	is.NoErr(os.WriteFile(filepath.Join(credentials, "boot_id"), []byte("the container's\n"), 0o600))
	is.Equal(bootOf(t, m), "the container's")
}

func bootOf(t *testing.T, m Machine) string {
	t.Helper()
	facts, err := m.Facts(t.Context())
	is.New(t).NoErr(err)
	return facts.BootID
}

func TestSupervisor(t *testing.T) { portstest.TestSupervisor(t, supervised) }

// TestStatusIsOneLine sees that no text becomes a second setting, such as one that ends the service's watchdog.
func TestStatusIsOneLine(t *testing.T) {
	is := is.New(t)
	c := supervised(t)
	is.NoErr(c.Supervisor.Status("it failed:\nno room\r\nSTOPPING=1\n"))
	is.Equal(c.Told(), []string{"STATUS=it failed:; no room; STOPPING=1"})
}

// supervised is a service manager's socket, and who speaks to it.
func supervised(t *testing.T) portstest.SupervisorCase {
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return portstest.SupervisorCase{Supervisor: Supervisor{}, Told: func() []string {
		var told []string
		buffer := make([]byte, 4096)
		for {
			_ = socket.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			n, err := socket.Read(buffer)
			if err != nil {
				return told
			}
			told = append(told, strings.TrimSpace(string(buffer[:n])))
		}
	}}
}
