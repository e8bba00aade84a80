package cloudinit

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"
)

// applying is a program in Ignition's place: it writes one file, and fails as long as it is told to.
const applying = `#!/bin/sh
[ "$container" = elemental ] && [ "$1" = --root ] || exit 3
cp "$3" "$2/given"
echo "CRITICAL : error at \$.storage.files.0.contents.source, line 1 col 75: s3cret is wrong"
echo once more >> "$2/asked"
mkdir -p "$2/etc" && echo written > "$2/etc/join.yaml"
[ ! -e "$2/broken" ] || exit 1
`

const presetting = `#!/bin/sh
echo "$@" >> "${1#--root=}/preset"
`

const joinConfig = `{"ignition":{"version":"3.4.0"},"passwd":{"users":[]},"storage":{"files":[{"path":"/etc/join.yaml","mode":384,"contents":{"source":"data:,s3cret"}},{"path":"/etc/hosts","mode":420}]},
	"systemd":{"units":[{"name":"join.service","enabled":true,"contents":"[Unit]"},{"name":"echo@b.service","enabled":true},{"name":"echo@a.service","enabled":true},{"name":"off.service","enabled":false},{"name":"other.service"}]}}`

func withIgnition(t *testing.T) *system {
	t.Helper()
	s := newSystem(t)
	s.write("usr/libexec/ignition-apply", applying, 0o755)
	s.write("usr/bin/systemctl", presetting, 0o755)
	return s
}

func TestAppliesIgnition(t *testing.T) {
	is := is.New(t)
	s := withIgnition(t)
	is.NoErr(s.bootstrap("ignition", joinConfig))
	is.True(s.primed())
	// What was applied is allowed to be there when it is applied again; what was not written is not touched.
	var given struct {
		Storage struct{ Files []map[string]any }
	}
	is.NoErr(json.Unmarshal([]byte(s.read("given")), &given))
	is.Equal(given.Storage.Files[0]["overwrite"], true)
	is.Equal(given.Storage.Files[0]["mode"], float64(384))
	is.Equal(given.Storage.Files[1]["overwrite"], nil)
	is.Equal(s.read("preset"), "--root="+s.root+" preset -- join.service echo@b.service echo@a.service off.service\n")
	_, err := os.Stat(filepath.Join(s.root, "var/lib/elemental/bootstrap/config.ign"))
	is.True(os.IsNotExist(err)) // the secret is not kept twice
	s.private("var/lib/elemental/bootstrap", 0o700)
	is.NoErr(s.bootstrap("ignition", joinConfig))
	is.True(s.primed())
}

// TestIgnitionIsKilled lets it end after it has written, and before all was done.
func TestIgnitionIsKilled(t *testing.T) {
	is := is.New(t)
	s := withIgnition(t)
	s.write("broken", "", 0o644)
	err := s.bootstrap("ignition", joinConfig)
	s.fails(err, "IgnitionFailed")
	is.True(strings.Contains(err.Error(), "ignition-apply exited with status 1 when it applied the bootstrap data and found $.storage.files.0.contents.source wrong: see /var/lib/elemental/bootstrap/ignition.log on the host"))
	is.Equal(s.read("var/lib/elemental/bootstrap/ignition.log"), "CRITICAL : error at $.storage.files.0.contents.source, line 1 col 75: s3cret is wrong\n")
	s.private("var/lib/elemental/bootstrap/ignition.log", 0o600)
	s.private("var/lib/elemental/bootstrap/config.ign", 0o600)
	is.NoErr(os.Remove(filepath.Join(s.root, "broken")))
	is.NoErr(s.bootstrap("ignition", joinConfig)) // its own file is not in its way
	is.Equal(s.read("asked"), "once more\nonce more\n")
}

// TestUnitsCanNotBeEnabled keeps what Ignition said apart from what systemctl says.
func TestUnitsCanNotBeEnabled(t *testing.T) {
	is := is.New(t)
	s := withIgnition(t)
	s.write("usr/bin/systemctl", "#!/bin/sh\necho s3cret unit\nexit 1\n", 0o755)
	err := s.bootstrap("ignition", joinConfig)
	s.fails(err, "PresetFailed")
	is.True(strings.Contains(err.Error(), "systemctl exited with status 1 when it enabled the units of the Ignition config: see /var/lib/elemental/bootstrap/systemctl.log on the host"))
	is.Equal(s.read("var/lib/elemental/bootstrap/systemctl.log"), "s3cret unit\n")
	s.private("var/lib/elemental/bootstrap/systemctl.log", 0o600)
	is.True(strings.Contains(s.read("var/lib/elemental/bootstrap/ignition.log"), "CRITICAL"))
	s.write("usr/bin/systemctl", presetting, 0o755)
	is.NoErr(s.bootstrap("ignition", joinConfig))
}

func TestIgnitionUnderItsOtherName(t *testing.T) {
	is := is.New(t)
	s := newSystem(t, "usr/bin/systemctl")
	s.write("usr/lib/dracut/modules.d/30ignition/ignition", applying+"[ \"${0##*/}\" = ignition-apply ] || exit 4\n", 0o755)
	is.NoErr(s.bootstrap("ignition", joinConfig))
	is.NoErr(s.bootstrap("ignition", joinConfig))
}

func TestRefusesIgnition(t *testing.T) {
	s := newSystem(t)
	s.fails(s.bootstrap("ignition", joinConfig), "IgnitionMissing")
	for config, reason := range map[string]string{
		"#cloud-config\ns3cret":            "InvalidBootstrapData",
		`null`:                             "InvalidBootstrapData",
		`{}`:                               "InvalidBootstrapData",
		`{"ignition":{"version":"2.3.0"}}`: "InvalidBootstrapData",
		`{"ignition":"s3cret"}`:            "InvalidBootstrapData",
		`{"ignition":{"version":"3.0.0"},"storage":{"files":{"s3cret":1}}}`:                                    "InvalidBootstrapData",
		`{"ignition":{"version":"3.0.0"},"passwd":{"users":[{"name":"s3cret"}]}}`:                              "IgnitionUnsupported",
		`{"ignition":{"version":"3.0.0"},"kernelArguments":{"shouldExist":["s3cret"]}}`:                        "IgnitionUnsupported",
		`{"ignition":{"version":"3.0.0"},"storage":{"disks":[{}]}}`:                                            "IgnitionUnsupported",
		`{"ignition":{"version":"3.0.0"},"storage":{"files":[{"path":"/a","append":[{"source":"data:,a"}]}]}}`: "IgnitionUnsupported",
	} {
		s := withIgnition(t)
		s.fails(s.bootstrap("ignition", config), reason)
		if exists(filepath.Join(s.root, "asked")) {
			t.Errorf("Ignition was asked to apply %s", config)
		}
	}
	s = withIgnition(t)
	s.write("etc/join.yaml", "the administrator's\n", 0o644)
	s.fails(s.bootstrap("ignition", joinConfig), "IgnitionInvalid")
	if s.read("etc/join.yaml") != "the administrator's\n" {
		t.Error("it was overwritten")
	}
	s = newSystem(t)
	s.write("usr/libexec/ignition-apply", applying, 0o755)
	s.fails(s.bootstrap("ignition", joinConfig), "SystemdMissing")
}
