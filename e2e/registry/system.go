package registry

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Systems makes images of systems for hosts. They share all layers but the last, which is small.
type Systems struct {
	base, elemental v1.Layer
}

// NewSystems prepares the common layers: the base system, and in it Elemental, from its binary and from the
// systemd units in the checkout.
func NewSystems(ctx context.Context, checkout, binary string, progress io.Writer) (*Systems, error) {
	base, err := Base(ctx, progress)
	if err != nil {
		return nil, err
	}
	elemental, err := Layer(elementalFiles(checkout, binary)...)
	if err != nil {
		return nil, fmt.Errorf("making the layer with Elemental: %w", err)
	}
	return &Systems{base: base, elemental: elemental}, nil
}

// pointless are the units that have nothing to do in a container that shares its machine's network.
var pointless = []string{
	"apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap.service",
	"fstrim.timer", "console-getty.service", "getty.target", "systemd-networkd.service", "systemd-networkd.socket",
	"systemd-resolved.service", "systemd-timesyncd.service", "systemd-hwdb-update.service",
}

func elementalFiles(checkout, binary string) []File {
	units := filepath.Join(checkout, "packaging", "systemd")
	files := []File{
		{Path: "usr/bin/elemental", Mode: 0o755, From: binary},
		{Path: "usr/lib/systemd/system/elemental-agent.service", From: filepath.Join(units, "elemental-agent.service")},
		{Path: "usr/lib/systemd/system/elemental-health.service", From: filepath.Join(units, "elemental-health.service")},
		{Path: "usr/lib/systemd/system/elemental-etc.service", From: filepath.Join(units, "elemental-etc.service")},
		Enable("elemental-agent.service", "multi-user.target"),
		Enable("elemental-etc.service", "basic.target"),
		Enable("elemental-health.service", "multi-user.target"),
		{Path: "etc/systemd/system/boot-complete.target.requires/elemental-health.service", Link: "/usr/lib/systemd/system/elemental-health.service"},
		{Path: "etc/systemd/system/default.target", Link: "/usr/lib/systemd/system/multi-user.target"},
		// A test reads the journal of a host that is gone; it must not wait for it to be written.
		{Path: "usr/lib/systemd/journald.conf.d/50-test.conf", Text: "[Journal]\nStorage=persistent\nSystemMaxUse=32M\nSyncIntervalSec=1s\nRateLimitIntervalSec=0\nForwardToConsole=no\n"},
		{Path: "usr/lib/systemd/system.conf.d/50-test.conf", Text: "[Manager]\nDefaultTimeoutStopSec=15s\nShowStatus=no\n"},
	}
	for _, unit := range pointless {
		files = append(files, Mask(unit))
	}
	return files
}

// System is one version of a host's system.
type System struct {
	Version      string   // IMAGE_VERSION of its os-release
	Architecture string   // as the image's config says it; this machine's where empty
	Files        []File   // what else is in it, or is gone from it
	Base         v1.Layer // the lowest layer; the common one where it is nil
}

// Image makes the image of a system.
func (s *Systems) Image(system System) (v1.Image, error) {
	release := File{Path: "usr/lib/os-release", Text: fmt.Sprintf(
		"ID=debian\nVERSION_ID=\"12\"\nNAME=\"Elemental test system\"\nPRETTY_NAME=\"Elemental test system %[1]s\"\nIMAGE_ID=elemental-test\nIMAGE_VERSION=%[1]s\n", system.Version)}
	top, err := Layer(append([]File{release}, system.Files...)...)
	if err != nil {
		return nil, fmt.Errorf("making the layer of system %s: %w", system.Version, err)
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	base := s.base
	if system.Base != nil {
		base = system.Base
	}
	image, err = mutate.AppendLayers(image, base, s.elemental, top)
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", cmp.Or(system.Architecture, runtime.GOARCH)
	config.Created = v1.Time{Time: time.Unix(epoch, 0).UTC()}
	return mutate.ConfigFile(image, config)
}

// InitDies is a system whose init ends at once.
func InitDies(version string) System {
	return System{Version: version, Files: []File{{Path: "usr/sbin/init", Mode: 0o755, Text: "#!/bin/sh\nexit 1\n"}}}
}

// NoInit is a system without any init.
func NoInit(version string) System {
	return System{Version: version, Files: []File{
		{Path: "usr/sbin/init", Gone: true},
		{Path: "usr/lib/systemd/systemd", Gone: true},
	}}
}

// ForeignArchitecture is a system for another kind of machine.
func ForeignArchitecture(version string) System {
	return System{Version: version, Architecture: "s390x"}
}

// Unhealthy is a system that starts, and in which neither the agent nor the health check can run.
func Unhealthy(version string) System {
	return System{Version: version, Files: []File{{Path: "usr/bin/elemental", Mode: 0o755, Text: "#!/bin/sh\nexit 1\n"}}}
}
