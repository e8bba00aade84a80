package plugin

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"elemental/adapters/plugin/schema"
	"elemental/core"
	"elemental/ports"
)

// Config says which plugin to run, and for whom.
type Config struct {
	// Name is a path when it has a slash; else a file in Folder; else a built-in plugin.
	Name string
	// WorkDir is the agent's own; the plugin's is plugins/<name> below it.
	WorkDir string
	// Builtins names the plugins that this program serves itself.
	Builtins []string
	// Log takes the plugin's standard error, line by line.
	Log *slog.Logger
	// Launcher starts the plugin; nil: as a child process of this one.
	Launcher ports.Launcher

	Folder    string                 // where plugins are looked up; empty: the constant Folder
	Self      string                 // this program; empty: the one that runs
	Deadlines map[core.Verb]Deadline // nil: Deadlines()
	Patience  time.Duration          // 0: the constant Patience
}

// Runner is a plugin in a process or a unit of its own, started anew for every call. One that crashes, hangs or
// floods costs one call.
type Runner struct {
	config    Config
	launcher  ports.Launcher
	log       *slog.Logger
	deadlines map[core.Verb]Deadline

	mutex     sync.Mutex
	known     identity // whose description is kept
	described ports.Description
	schema    *schema.Schema // nil: it publishes none that can be used
}

// NewRunner returns a runner for a plugin, which need not be there yet: it is looked up at every call.
func NewRunner(config Config) *Runner {
	r := &Runner{config: config, launcher: config.Launcher, log: config.Log, deadlines: config.Deadlines}
	if r.launcher == nil {
		r.launcher = Children{}
	}
	if r.config.Patience == 0 {
		r.config.Patience = Patience
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	if r.deadlines == nil {
		r.deadlines = Deadlines()
	}
	return r
}

// Describe asks the plugin what it is, unless it is the same file that was asked before.
func (r *Runner) Describe(ctx context.Context) (ports.Description, error) {
	e, err := r.open()
	if err != nil {
		return ports.Description{}, err
	}
	defer e.file.Close()
	return r.describe(ctx, e)
}

// Observe asks the plugin how the host stands.
func (r *Runner) Observe(ctx context.Context, request ports.Request) (ports.Observation, error) {
	result, of, err := r.call(ctx, core.VerbObserve, request, nil)
	if err != nil {
		return ports.Observation{}, err
	}
	observation, err := parseObservation(result, of)
	if err != nil {
		return ports.Observation{}, broken("PluginProtocolError", "the plugin %q does not speak %s: %v", r.config.Name, Protocol, err)
	}
	return observation, nil
}

// Do asks the plugin to carry out a verb.
func (r *Runner) Do(ctx context.Context, verb core.Verb, request ports.Request, progress func(ports.Progress)) error {
	_, _, err := r.call(ctx, verb, request, progress)
	return err
}

// call runs one verb of a plugin that says of itself that it has it.
func (r *Runner) call(ctx context.Context, verb core.Verb, request ports.Request, progress func(ports.Progress)) (json.RawMessage, ports.Description, error) {
	e, err := r.open()
	if err != nil {
		return nil, ports.Description{}, err
	}
	defer e.file.Close()
	of, err := r.describe(ctx, e)
	if err != nil {
		return nil, of, err
	}
	if !has(of, verb) {
		return nil, of, unsupported(r.config.Name, verb, of)
	}
	// A wrong field costs no start of the plugin.
	if accepts := r.accepts(); accepts != nil && reads(verb, request) {
		if err := accepts.Check(request.OSVersion); err != nil {
			return nil, of, err
		}
	}
	result, err := r.run(ctx, e, verb, request, progress)
	return result, of, err
}

func (r *Runner) describe(ctx context.Context, e *executable) (ports.Description, error) {
	id, err := e.identity()
	if err != nil {
		return ports.Description{}, err
	}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.known == id {
		return r.described, nil
	}
	result, err := r.run(ctx, e, core.VerbDescribe, ports.Request{}, nil)
	if err != nil {
		return ports.Description{}, err
	}
	d, err := parseDescription(result)
	switch {
	case err != nil:
		return ports.Description{}, broken("PluginProtocolError", "the plugin %q does not speak %s: %v", r.config.Name, Protocol, err)
	case !slices.Contains(d.Protocols, Protocol):
		return ports.Description{}, broken("PluginProtocolUnknown", "the plugin %q speaks %s, and this agent speaks %s: install versions of the two that fit",
			r.config.Name, clip(strings.Join(append(d.Protocols, "no protocol")[:max(1, len(d.Protocols))], ", "), maxName), Protocol)
	}
	r.known, r.described, r.schema = id, d, nil
	if len(d.Schema) > 0 {
		// A schema is a help: a plugin whose schema can't be used checks its requests itself.
		if r.schema, err = schema.Compile(d.Schema); err != nil {
			r.log.Warn("the plugin publishes a schema that can't be used; requests are checked by the plugin alone", slog.Any("error", err))
		}
	}
	return d, nil
}

// accepts returns the schema of the plugin that described itself last.
func (r *Runner) accepts() *schema.Schema {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.schema
}

// request writes what the plugin reads.
func (r *Runner) request(verb core.Verb, in ports.Request) ([]byte, error) {
	if _, known := r.deadlines[verb]; !known {
		return nil, broken("VerbNotSupported", "the protocol %s has no verb %q", Protocol, verb)
	}
	out := request{Protocol: Protocol, Verb: verb, Host: in.Host, Boot: in.Boot, WorkDir: r.workDir(), Input: wireInput(in)}
	text, err := json.Marshal(out)
	if err != nil {
		return nil, core.Failure{Class: core.FailureInvalid, Reason: "MalformedRequest", Message: fmt.Sprintf("writing the request for the plugin %q: %v", r.config.Name, err)}
	}
	if err := os.MkdirAll(r.workDir(), 0o700); err != nil {
		return nil, fmt.Errorf("making the work dir of the plugin %q: %w", r.config.Name, err)
	}
	return append(text, '\n'), nil
}

func (r *Runner) workDir() string {
	return filepath.Join(r.config.WorkDir, "plugins", filepath.Base(r.config.Name))
}

// environment is all that a plugin inherits: secrets may stand in the agent's own, and also in a proxy's address.
func environment() []string {
	kept := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"}
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"} {
		if value, set := os.LookupEnv(name); set && !strings.Contains(value, "@") {
			kept = append(kept, name+"="+value)
		}
	}
	return kept
}

func has(d ports.Description, verb core.Verb) bool {
	return verb == core.VerbDescribe || slices.Contains(d.Verbs, verb)
}

func unsupported(name string, verb core.Verb, of ports.Description) core.Failure {
	verbs := make([]string, len(of.Verbs))
	for i, v := range of.Verbs {
		verbs[i] = string(v)
	}
	return broken("VerbNotSupported", "the plugin %q has no verb %s; it has %s", name, verb, clip(strings.Join(verbs, ", "), maxName))
}
