package deploy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	"elemental/core"
	"elemental/ports"
)

// installOptions are what a registration says of an installation, in spec.config.elemental.install.
type installOptions struct {
	Image     string `json:"image"`
	Root      string `json:"root"`
	Overwrite bool   `json:"overwrite"`
}

// ReasonBadInstallOptions is the reason of not installing by options that can't be meant.
const ReasonBadInstallOptions = "BadInstallOptions"

func badInstallOption(field, format string, args ...any) core.Failure {
	return core.Failure{Class: core.FailureInvalid, Reason: ReasonBadInstallOptions, Path: field, Message: fmt.Sprintf(format, args...)}
}

// elsewhere are the fields that people look for here, and where they are.
var elsewhere = map[string]string{
	"poweroff": "agent.postInstall.powerOff", "reboot": "agent.postInstall.reboot", "systemuri": "install.image", "debug": "agent.debug",
}

// readInstallOptions reads the options of an installation. Errors are core.Failures that name the field at fault.
func readInstallOptions(document []byte) (installOptions, error) {
	var o installOptions
	canonical, err := core.CanonicalJSON(document)
	if err != nil {
		return o, badInstallOption("install", "%v", err)
	}
	if canonical == nil {
		canonical = []byte("{}")
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(canonical, &fields); err != nil {
		return o, badInstallOption("install", "it must be an object")
	}
	for name := range fields {
		switch place, known := elsewhere[strings.ToLower(name)]; {
		case slices.Contains([]string{"image", "root", "overwrite"}, name):
		case name == "device":
			return o, badInstallOption("install.device", "the image plugin takes no device as a whole: make its partitions and file systems, mount them, and name their top in install.root")
		case known:
			return o, badInstallOption("install."+name, "the image plugin has no such option: what it says belongs to spec.config.elemental.%s", place)
		default:
			return o, badInstallOption("install."+name, "the image plugin has no such option: those that it has are image, root and overwrite")
		}
	}
	decoder := json.NewDecoder(bytes.NewReader(canonical))
	if err := decoder.Decode(&o); err != nil {
		return o, badInstallOption("install", "image and root are texts, and overwrite is true or false: %v", err)
	}
	return o, o.check()
}

func (o installOptions) check() error {
	switch {
	case o.Root == "":
		return badInstallOption("install", "it must say where the system is to be, in root: the top of a file system that is prepared and mounted, such as /mnt/disk")
	case !path.IsAbs(o.Root) || path.Clean(o.Root) != o.Root || strings.ContainsRune(o.Root, 0):
		return badInstallOption("install.root", "%q must be a whole path without . and .. in it", o.Root)
	case o.Root == "/":
		return badInstallOption("install.root", "it is the system that runs; mount the one that is to be installed elsewhere")
	}
	return nil
}

// wanted is the version that is installed: the one that the cluster asks for, else the one that the options name.
func (o installOptions) wanted(request ports.Request) (ports.Request, error) {
	asked, err := readWish(request.OSVersion)
	if err != nil {
		return request, err
	}
	if asked != nil && asked.ImageURI != "" {
		return request, nil
	}
	if o.Image == "" {
		return request, badInstallOption("install.image", "there is nothing to install: name an image here, or ask for one in osVersionManagement")
	}
	request.OSVersion, err = json.Marshal(map[string]any{"osVersion": map[string]string{"imageUri": o.Image}})
	if err == nil {
		request.Hash, err = core.HashRequest(request.OSVersion)
	}
	return request, err
}
