package ports

import (
	"context"

	"elemental/core"
)

// Plugin makes an OS version true on this host. Only the plugin knows what a version is.
//
// An error that is, or wraps, a core.Failure says what it means for the next attempt; any other error
// is a plugin that broke, and counts as core.FailureFailed. Where the context ended first, the error is the
// context's, and no plugin is to blame.
type Plugin interface {
	// Describe says what the plugin is and can.
	Describe(ctx context.Context) (Description, error)
	// Observe says how the host stands to the version asked for, and changes nothing. A request that the
	// plugin does not understand is a core.Failure of class invalid.
	Observe(ctx context.Context, request Request) (Observation, error)
	// Do carries out a verb that changes the host. Every verb may be killed at any moment and asked for again.
	Do(ctx context.Context, verb core.Verb, request Request, progress func(Progress)) error
}

// Description is what a plugin says of itself.
type Description struct {
	Name      string
	Protocols []string
	Verbs     []core.Verb
	Schema    []byte // JSON Schema of osVersionManagement
	Restarts  bool   // its versions come true by a restart
}

// Request is what a plugin is given.
type Request struct {
	Host      string
	Boot      string         // the boot ID of the running system; empty where who asks does not know it
	OSVersion []byte         // osVersionManagement as JSON; nil when nothing is requested
	Hash      string         // core.HashRequest of OSVersion
	Bootstrap *BootstrapData // for bootstrap only

	Hostname    string   // for setHostname and install: what the host is called
	CloudConfig []byte   // for installCloudConfig and install: a JSON object as cloud-init reads it, secret; nil: none
	Options     []byte   // for install, triggerReset and reset: a JSON object that the plugin alone understands; nil: none. For observe: those of install, where whoever asks lets the system be installed
	Files       []File   // for install: what the installed system must have to be this host
	Keep        []string // for triggerReset and reset: absolute paths of what must outlive the reset, as far as it is there
}

// File is a file of the host. Its data is secret.
type File struct {
	Path string // absolute
	Mode uint32 // its permissions
	Data []byte
}

// Observation is how the host stands to a version, as its plugin sees it.
type Observation struct {
	core.View
	Installed bool
	Reset     core.ResetStage
}
