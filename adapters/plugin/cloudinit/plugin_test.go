package cloudinit

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"

	"elemental/core"
	"elemental/ports"
	"elemental/ports/portstest"
)

// TestContract holds a plugin that was given more verbs against the port.
func TestContract(t *testing.T) {
	portstest.TestPlugin(t, func(t *testing.T) portstest.PluginCase {
		return portstest.PluginCase{
			Plugin: With(&portstest.Plugin{Restarts: true}, t.TempDir()),
			First:  `{"version":1}`, Second: `{"version":2}`, Invalid: `["a list"]`,
		}
	})
}

// system is a folder that looks like a host's system.
type system struct {
	*testing.T
	root  string
	inner ports.Plugin
}

func newSystem(t *testing.T, files ...string) *system {
	t.Helper()
	s := &system{T: t, root: t.TempDir(), inner: plain{&portstest.Plugin{}}}
	for _, name := range files {
		s.write(name, "#!/bin/sh\n", 0o755)
	}
	return s
}

func withCloudInit(t *testing.T) *system {
	t.Helper()
	return newSystem(t, "usr/bin/cloud-init")
}

func (s *system) write(name, text string, mode fs.FileMode) {
	s.Helper()
	path := filepath.Join(s.root, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), mode)); err != nil {
		s.Fatal(err)
	}
}

func (s *system) read(name string) string {
	s.Helper()
	text, err := os.ReadFile(filepath.Join(s.root, name))
	if err != nil {
		s.Fatal(err)
	}
	return string(text)
}

// private wants a file that only its owner reads.
func (s *system) private(name string, mode fs.FileMode) {
	s.Helper()
	info, err := os.Stat(filepath.Join(s.root, name))
	if err != nil {
		s.Fatal(err)
	}
	if info.Mode().Perm() != mode {
		s.Errorf("%s has the mode %s, and should have %s", name, info.Mode(), mode)
	}
}

func (s *system) do(verb core.Verb, request ports.Request) error {
	if request.Host == "" {
		request.Host = "host-1"
	}
	return With(s.inner, s.root).Do(s.Context(), verb, request, func(ports.Progress) {})
}

func (s *system) bootstrap(format, data string) error {
	return s.do(core.VerbBootstrap, ports.Request{Bootstrap: &ports.BootstrapData{Format: format, Data: []byte(data)}})
}

func (s *system) primed() bool {
	s.Helper()
	o, err := With(s.inner, s.root).Observe(s.Context(), ports.Request{Host: "host-1"})
	if err != nil {
		s.Fatal(err)
	}
	return o.Primed
}

// fails wants a failure with a reason, which tells nothing of what is secret, and nothing applied.
func (s *system) fails(err error, reason string) {
	s.Helper()
	var f core.Failure
	if !errors.As(err, &f) || f.Reason != reason || f.Message == "" {
		s.Errorf("it failed with %v, and should with %s", err, reason)
	}
	if err != nil && strings.Contains(err.Error(), "s3cret") {
		s.Errorf("it tells a secret: %v", err)
	}
	if s.primed() {
		s.Error("it counts as applied")
	}
}

// plain is a plugin that has none of the verbs that are added.
type plain struct{ *portstest.Plugin }

func (p plain) Describe(ctx context.Context) (ports.Description, error) {
	d, err := p.Plugin.Describe(ctx)
	d.Verbs = slices.DeleteFunc(d.Verbs, func(v core.Verb) bool { return v == core.VerbBootstrap })
	return d, err
}

func TestDescribesWhatItAdds(t *testing.T) {
	is := is.New(t)
	for _, inner := range []ports.Plugin{plain{&portstest.Plugin{}}, &portstest.Plugin{Verbs: []core.Verb{core.VerbSetHostname}}} {
		d, err := With(inner, t.TempDir()).Describe(t.Context())
		is.NoErr(err)
		for _, verb := range added {
			is.Equal(len(slices.DeleteFunc(slices.Clone(d.Verbs), func(v core.Verb) bool { return v != verb })), 1)
		}
	}
}

func TestSeedsCloudInit(t *testing.T) {
	is := is.New(t)
	s := withCloudInit(t)
	is.True(!s.primed())
	const data = "## template: jinja\n#cloud-config\nruncmd: [echo s3cret]\n"
	is.NoErr(s.bootstrap("cloud-config", data))
	is.True(s.primed())
	is.Equal(s.read("var/lib/cloud/seed/nocloud/user-data"), data)
	is.Equal(s.read("var/lib/cloud/seed/nocloud/network-config"), "config: disabled\n")
	s.private("var/lib/cloud/seed/nocloud", 0o700)
	for _, name := range []string{"user-data", "meta-data", "network-config"} {
		s.private("var/lib/cloud/seed/nocloud/"+name, 0o600)
	}
	is.True(strings.Contains(s.read("etc/cloud/cloud.cfg.d/zz-elemental-bootstrap.cfg"), "\ndatasource_list: [ NoCloud, None ]\n"))
	is.True(!strings.Contains(s.read("var/lib/elemental/bootstrap/applied.json"), "s3cret"))
	var about, again map[string]string
	is.NoErr(json.Unmarshal([]byte(s.read("var/lib/cloud/seed/nocloud/meta-data")), &about))
	is.Equal(about["local-hostname"], "host-1")

	// The same data is the same instance, and other data is another.
	is.NoErr(s.bootstrap("cloud-config", data))
	is.NoErr(json.Unmarshal([]byte(s.read("var/lib/cloud/seed/nocloud/meta-data")), &again))
	is.Equal(again, about)
	is.NoErr(s.bootstrap("cloud-config", data+"\n"))
	is.NoErr(json.Unmarshal([]byte(s.read("var/lib/cloud/seed/nocloud/meta-data")), &again))
	is.True(again["instance-id"] != about["instance-id"])

	left, err := os.ReadDir(filepath.Join(s.root, "var/lib/cloud/seed"))
	is.NoErr(err)
	is.Equal(len(left), 1) // nothing is left half
	is.NoErr(os.RemoveAll(filepath.Join(s.root, "var/lib/cloud/seed/nocloud")))
	is.True(!s.primed()) // who takes the seed away lets the host be bootstrapped anew
}

func TestRefusesWhatCloudInitWouldIgnore(t *testing.T) {
	is := is.New(t)
	for data, reason := range map[string]string{
		"":                                  "NoBootstrapData",
		" \n\t":                             "NoBootstrapData",
		`{"ignition":{"version":"s3cret"}}`: "InvalidBootstrapData",
		"s3cret: true":                      "InvalidBootstrapData",
		"\x1f\x8bs3cret":                    "InvalidBootstrapData",
		"\x1f\x8b":                          "InvalidBootstrapData",
	} {
		s := withCloudInit(t)
		s.fails(s.bootstrap("cloud-config", data), reason)
	}
	s := withCloudInit(t)
	s.fails(s.bootstrap("yaml", "#cloud-config"), "UnknownBootstrapFormat")
	s.fails(s.do(core.VerbBootstrap, ports.Request{}), "NoBootstrapData")
	s.write("etc/cloud/cloud-init.disabled", "", 0o644)
	s.fails(s.bootstrap("cloud-config", "#cloud-config"), "CloudInitDisabled")
	s = newSystem(t)
	s.fails(s.bootstrap("cloud-config", "#cloud-config"), "CloudInitMissing")
	for _, data := range []string{"#!/bin/sh\n", "\n#cloud-config\n", "Content-Type: text/plain\n\n#!/bin/sh\n", "#include\nhttps://example.com\n"} {
		is.NoErr(withCloudInit(t).bootstrap("cloud-config", data))
	}
}

// dying is a plugin that is killed when it is to bootstrap.
type dying struct {
	*portstest.Plugin
	die bool
}

func (d *dying) Do(ctx context.Context, verb core.Verb, request ports.Request, progress func(ports.Progress)) error {
	if d.die {
		panic("killed")
	}
	return d.Plugin.Do(ctx, verb, request, progress)
}

// TestAsksThePluginAfterTheSeed kills the bootstrapping between the seed and the end of it.
func TestAsksThePluginAfterTheSeed(t *testing.T) {
	is := is.New(t)
	inner := &dying{Plugin: &portstest.Plugin{}, die: true}
	s := withCloudInit(t)
	s.inner = plainView{inner}
	func() {
		defer func() { is.Equal(recover(), "killed") }()
		_ = s.bootstrap("cloud-config", "#cloud-config\n")
	}()
	is.True(!s.primed())
	is.True(s.read("var/lib/cloud/seed/nocloud/user-data") != "") // it lies before the plugin is asked
	inner.die = false
	is.NoErr(s.bootstrap("cloud-config", "#cloud-config\n"))
	is.True(s.primed())
	is.Equal(inner.Done(), []core.Verb{core.VerbBootstrap})

	// What it can't do is told, and the host is not taken for one that was bootstrapped.
	inner.Fail(core.VerbBootstrap, core.Failure{Class: core.FailureFailed, Reason: "NoRoom", Message: "no room"})
	s.fails(s.bootstrap("cloud-config", "#cloud-config\nruncmd: []\n"), "NoRoom")
}

// plainView hides what the plugin itself says of bootstrapping.
type plainView struct{ ports.Plugin }

func (p plainView) Observe(ctx context.Context, request ports.Request) (ports.Observation, error) {
	o, err := p.Plugin.Observe(ctx, request)
	o.Primed = false
	return o, err
}

// TestHalfASeed kills the bootstrapping while it writes.
func TestHalfASeed(t *testing.T) {
	is := is.New(t)
	s := withCloudInit(t)
	s.write("var/lib/cloud/seed/.elemental-nocloud/user-data", "half", 0o600)
	s.write("var/lib/cloud/seed/nocloud/meta-data", "instance-id: of the image\n", 0o600)
	s.write("var/lib/cloud/seed/nocloud/vendor-data", "#cloud-config\n", 0o600)
	s.write("var/lib/elemental/bootstrap/applied.json", `{"format":"cloud-config","instance":"elemental-1"`, 0o600)
	is.True(!s.primed())
	is.NoErr(s.bootstrap("cloud-config", "#cloud-config\n"))
	is.True(s.primed())
	left, err := os.ReadDir(filepath.Join(s.root, "var/lib/cloud/seed/nocloud"))
	is.NoErr(err)
	is.Equal(len(left), 3) // nothing of the seed before
}

// TestCloudInitIsTurnedToTheSeedAfterIt cuts the bootstrapping off at each of its two writes.
func TestCloudInitIsTurnedToTheSeedAfterIt(t *testing.T) {
	is := is.New(t)
	const source = "etc/cloud/cloud.cfg.d/zz-elemental-bootstrap.cfg"
	s := withCloudInit(t)
	s.write("var/lib/cloud/seed", "in the way of the seed", 0o600)
	is.True(s.bootstrap("cloud-config", "#cloud-config\n") != nil)
	is.True(!exists(filepath.Join(s.root, source))) // it would have led to no seed

	s = withCloudInit(t)
	s.write(source+"/file", "in the way of the source", 0o600)
	is.True(s.bootstrap("cloud-config", "#cloud-config\n") != nil)
	is.True(s.read("var/lib/cloud/seed/nocloud/user-data") != "")
	is.True(!s.primed())
	is.NoErr(os.RemoveAll(filepath.Join(s.root, source)))
	is.NoErr(s.bootstrap("cloud-config", "#cloud-config\n"))
	is.True(s.primed())
	is.NoErr(os.Remove(filepath.Join(s.root, source)))
	is.True(!s.primed()) // cloud-init would not find the seed
}

func TestResetForgetsBootstrapping(t *testing.T) {
	is := is.New(t)
	inner := &portstest.Plugin{}
	s := withCloudInit(t)
	s.inner = inner
	is.NoErr(s.bootstrap("cloud-config", "#cloud-config\n"))
	is.True(s.primed())
	is.NoErr(s.do(core.VerbTriggerReset, ports.Request{}))
	is.True(!s.primed())
}

func TestNamesTheHost(t *testing.T) {
	is := is.New(t)
	s := newSystem(t)
	s.write("etc/hostname", "localhost\n", 0o644)
	is.NoErr(s.do(core.VerbSetHostname, ports.Request{Hostname: "edge-1"}))
	is.Equal(s.read("etc/hostname"), "edge-1\n")
	s.private("etc/hostname", 0o644)
	is.NoErr(s.do(core.VerbSetHostname, ports.Request{Hostname: "edge-1.example.com"}))
	is.Equal(s.read("etc/hostname"), "edge-1.example.com\n")
	is.NoErr(s.do(core.VerbSetHostname, ports.Request{Hostname: "edge-1"}))
	tooLong := strings.Repeat("a", 32) + "." + strings.Repeat("b", 32)
	is.NoErr(s.do(core.VerbSetHostname, ports.Request{Hostname: tooLong[:64]}))
	is.NoErr(s.do(core.VerbSetHostname, ports.Request{Hostname: "edge-1"}))
	for _, name := range []string{"", "-a", "a-", ".a", "a.", "a..b", "a.-b", "a-.b", "A", "a b", "a\nb", strings.Repeat("a", 64), tooLong} {
		s.fails(s.do(core.VerbSetHostname, ports.Request{Hostname: name}), "InvalidHostname")
	}
	is.Equal(s.read("etc/hostname"), "edge-1\n")

	inner := &portstest.Plugin{Verbs: []core.Verb{core.VerbSetHostname}}
	s.inner = inner
	is.NoErr(s.do(core.VerbSetHostname, ports.Request{Hostname: "edge-2"}))
	is.Equal(s.read("etc/hostname"), "edge-1\n") // the plugin's own verb stays its own
	is.Equal(inner.Done(), []core.Verb{core.VerbSetHostname})
}

// TestBootstrapsHostsWithDots names the instance as the host's object in the cluster, which may be any name of DNS.
func TestBootstrapsHostsWithDots(t *testing.T) {
	is := is.New(t)
	long := strings.Repeat(strings.Repeat("a", 62)+".", 4) + "b"
	for name, whole := range map[string]bool{"edge-1": false, "edge.example.com": true, long: false} {
		s := withCloudInit(t)
		data := &ports.BootstrapData{Format: "cloud-config", Data: []byte("#cloud-config\n")}
		is.NoErr(s.do(core.VerbBootstrap, ports.Request{Host: name, Bootstrap: data}))
		var about metadata
		is.NoErr(json.Unmarshal([]byte(s.read("var/lib/cloud/seed/nocloud/meta-data")), &about))
		is.Equal(about.Hostname, name)
		// Linux gives no host a longer name than one of 64 bytes.
		is.Equal(strings.Contains(s.read("etc/cloud/cloud.cfg.d/zz-elemental-bootstrap.cfg"), "\nprefer_fqdn_over_hostname: true\n"), whole)
		for _, wrong := range []string{name + ".", name + ".-a", "Edge", long + "cc"} {
			s.fails(s.do(core.VerbBootstrap, ports.Request{Host: wrong, Bootstrap: data}), "InvalidHostname")
		}
	}
}

func TestInstallsTheCloudConfig(t *testing.T) {
	is := is.New(t)
	s := withCloudInit(t)
	const name = "etc/cloud/cloud.cfg.d/90-elemental.cfg"
	is.NoErr(s.do(core.VerbInstallCloudConfig, ports.Request{})) // nothing to take away
	is.NoErr(s.do(core.VerbInstallCloudConfig, ports.Request{CloudConfig: []byte(`{"users":[{"passwd":"s3cret"}]}`)}))
	is.Equal(s.read(name), `{"users":[{"passwd":"s3cret"}]}`+"\n")
	s.private(name, 0o600)
	s.fails(s.do(core.VerbInstallCloudConfig, ports.Request{CloudConfig: []byte(`["s3cret"]`)}), "InvalidCloudConfig")
	is.NoErr(s.do(core.VerbInstallCloudConfig, ports.Request{}))
	_, err := os.Stat(filepath.Join(s.root, name))
	is.True(errors.Is(err, fs.ErrNotExist))
	s = newSystem(t)
	s.fails(s.do(core.VerbInstallCloudConfig, ports.Request{CloudConfig: []byte(`{}`)}), "CloudInitMissing")
}

func TestASystemThatNeverRanGetsTheSameFiles(t *testing.T) {
	is := is.New(t)
	config := `{"users":[]}`
	files, err := Files("edge-1", []byte(config))
	is.NoErr(err)
	s := withCloudInit(t)
	p := With(s.inner, s.root)
	is.NoErr(p.Do(t.Context(), core.VerbSetHostname, ports.Request{Hostname: "edge-1"}, nil))
	is.NoErr(p.Do(t.Context(), core.VerbInstallCloudConfig, ports.Request{CloudConfig: []byte(config)}, nil))
	is.Equal(len(files), 2)
	for _, f := range files {
		is.Equal(string(f.Data), s.read(f.Path))
		s.private(f.Path, os.FileMode(f.Mode))
	}
	none, err := Files("", nil)
	is.NoErr(err)
	is.Equal(len(none), 0)
	_, err = Files("No Name", nil)
	s.fails(err, "InvalidHostname")
	_, err = Files("", []byte("null"))
	s.fails(err, "InvalidCloudConfig")
}
