package plugin

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"elemental/core"
	"elemental/ports"
)

// pluginLost is the reason of a failure for which the plugin is not to blame.
const pluginLost = "PluginLost"

// process is one running plugin, and our ends of its pipes.
type process struct {
	ports.Process
	stdin, stdout, stderr *os.File
}

// start starts the plugin with one argument. Its failure is a core.Failure, or the context's end.
func (r *Runner) start(ctx context.Context, e *executable, verb string) (*process, error) {
	p := &process{}
	theirs, err := p.connect()
	if err == nil {
		p.Process, err = r.launcher.Start(ctx, ports.Program{
			Name: filepath.Base(r.config.Name) + "/" + verb,
			File: e.file, Args: append(append([]string{e.path}, e.args...), verb), Dir: r.workDir(), Environment: environment(),
			Stdin: theirs[0], Stdout: theirs[1], Stderr: theirs[2], Patience: r.config.Patience,
		})
	}
	for _, file := range theirs {
		_ = file.Close()
	}
	if err == nil {
		return p, nil
	}
	p.close()
	switch failure := broken("PluginNotStarted", "starting %s: %v", e.path, err); {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("starting the plugin %q for %s: %w", r.config.Name, verb, context.Cause(ctx))
	case errors.Is(err, ports.ErrNotReady):
		// The host is to blame, and not the plugin.
		failure.Class = core.FailureRetryable
		return nil, failure
	default:
		return nil, failure
	}
}

// connect makes the three pipes, and returns the plugin's ends of them.
func (p *process) connect() ([]*os.File, error) {
	in, toPlugin, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p.stdin = toPlugin
	fromPlugin, out, err := os.Pipe()
	if err != nil {
		return []*os.File{in}, err
	}
	p.stdout = fromPlugin
	logOfPlugin, log, err := os.Pipe()
	if err != nil {
		return []*os.File{in, out}, err
	}
	p.stderr = logOfPlugin
	return []*os.File{in, out, log}, nil
}

func (p *process) close() {
	for _, file := range []*os.File{p.stdin, p.stdout, p.stderr} {
		if file != nil {
			_ = file.Close() // Nothing is written that anyone relies on.
		}
	}
}

// exit words how the plugin ended; empty when it ended well.
func (p *process) exit() (reason, words string) {
	switch exit := p.Exit(); {
	case exit.Lost != "":
		return pluginLost, "was lost sight of: " + exit.Lost
	case exit.Signal != 0:
		return "PluginKilled", "was ended by signal " + strconv.Itoa(exit.Signal) + " (" + syscall.Signal(exit.Signal).String() + ")"
	case exit.Status != 0:
		return "PluginExited", "exited with status " + strconv.Itoa(exit.Status)
	default:
		return "", ""
	}
}
