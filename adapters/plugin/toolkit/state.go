package toolkit

import (
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"go.yaml.in/yaml/v3"

	"elemental/adapters/plugin/program"
	"elemental/core"
)

// correlation is the label by which a snapshot names the request that it was made for.
const correlation = "correlationID"

// stateTimeout bounds `elemental state`, which reads one file.
const stateTimeout = 20 * time.Second

const maxTail = 1 << 10 // bytes of the toolkit's output that reach the cluster

// The toolkit's exit statuses that mean something of their own.
const (
	exitDump    = 18 // copying the image failed; the toolkit's upgrade says so of one that it could not pull
	exitBadSpec = 33
	exitUnpack  = 66 // the same as exitDump, of other versions
	exitNoState = 89
)

// installation is what `elemental state` prints.
type installation struct {
	State struct {
		Snapshots map[int]*snapshot `yaml:"snapshots"`
	} `yaml:"state"`
}

// snapshot is one system of the toolkit.
type snapshot struct {
	Source string            `yaml:"source"`
	Digest string            `yaml:"digest"`
	Active bool              `yaml:"active"`
	Labels map[string]string `yaml:"labels"`
	Date   string            `yaml:"date"`

	number int
}

// version names a snapshot; nil is none.
func (s *snapshot) version() core.Version {
	if s == nil {
		return core.Version{}
	}
	return core.Version{Reference: s.Source, Digest: s.Digest, Version: fmt.Sprintf("snapshot %d", s.number)}
}

// snapshots asks the toolkit for its snapshots.
func (p *Plugin) snapshots(ctx context.Context) (map[int]*snapshot, error) {
	if err := p.checkCommand(); err != nil {
		return nil, err
	}
	result, err := program.Run(ctx, program.Command{Args: []string{p.config.Command, "state"}, Dir: "/", Timeout: stateTimeout})
	if err != nil {
		return nil, p.explainState(ctx, err)
	}
	var read installation
	if err := yaml.Unmarshal(result.Stdout, &read); err != nil {
		return nil, core.Failure{
			Class: core.FailureFailed, Reason: ReasonBadState,
			Message: fmt.Sprintf("%s state printed what is not the toolkit's state (%s): %s; see whether command in %s names the elemental-toolkit's own command",
				p.config.Command, program.Words(err.Error(), maxTail/4), program.Words(result.Tail, maxTail/4), p.config.File),
		}
	}
	for number, s := range read.State.Snapshots {
		if s == nil {
			s = &snapshot{}
			read.State.Snapshots[number] = s
		}
		s.number = number
	}
	return read.State.Snapshots, nil
}

// checkCommand refuses a command that is not there, or is this program: both are called elemental, and this one
// would upgrade hosts of a cluster.
func (p *Plugin) checkCommand() error {
	if _, err := os.Stat(p.config.Command); errors.Is(err, os.ErrNotExist) {
		return core.Failure{
			Class: core.FailureFailed, Reason: ReasonCommandMissing,
			Message: fmt.Sprintf("there is no %s on this host; write the path of the elemental-toolkit's command as command into %s, or choose another plugin in agent.osPlugin",
				p.config.Command, p.config.File),
		}
	}
	own, known := debug.ReadBuildInfo()
	// A script, or a program of another language, has no such information and is none of ours.
	if found, err := buildinfo.ReadFile(p.config.Command); err == nil && known && found.Main.Path == own.Main.Path {
		return core.Failure{
			Class: core.FailureFailed, Reason: ReasonOwnProgram,
			Message: fmt.Sprintf("%s is this program itself and not the elemental-toolkit's command of the same name; install this one elsewhere, and write the path of the toolkit's as command into %s",
				p.config.Command, p.config.File),
		}
	}
	return nil
}

func (p *Plugin) explainState(ctx context.Context, err error) error {
	failure := core.Failure{Class: core.FailureFailed, Reason: ReasonBadState}
	var exited *program.ExitError
	switch {
	case ctx.Err() != nil:
		return err
	case errors.Is(err, program.ErrTimedOut):
		failure.Class, failure.Reason = core.FailureRetryable, ReasonTimedOut
		failure.Message = fmt.Sprintf("%s state had not ended after %s", p.config.Command, stateTimeout)
	case errors.As(err, &exited) && exited.Status == exitNoState:
		failure.Reason = ReasonNoState
		failure.Message = fmt.Sprintf("the elemental-toolkit can't read its state (%s): this host was not installed with it, and needs another plugin in agent.osPlugin, or %s is damaged, and can be replaced by its copy on the recovery partition",
			program.Words(exited.Tail, maxTail/4), filepath.Join(p.config.StatePath, "state.yaml"))
	case errors.As(err, &exited):
		failure.Message = fmt.Sprintf("%s state exited with status %d; its output ends with: %s", p.config.Command, exited.Status, program.Words(exited.Tail, maxTail))
	default:
		failure.Message = fmt.Sprintf("%s state can't be run: %v", p.config.Command, err)
	}
	return failure
}
