package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
	"github.com/urfave/cli/v2"

	"elemental/core"
	"elemental/modes/agentfile"
	"elemental/ports"
	"elemental/ports/portstest"
)

func TestRegisteringSaysWhatItWaitsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		registrar := &portstest.Registrar{}
		registrar.Hold("WaitingForApproval")
		m, _ := newMember(registrar, &bytes.Buffer{})
		var told []string
		m.told = func(line string) { told = append(told, line) }
		err := m.register(t.Context(), 10*time.Minute)
		var late cli.ExitCoder
		is.True(errors.As(err, &late) && late.ExitCode() == exitLate)
		is.Equal(told, []string{"this host asks to join its cluster", "the host has not joined its cluster: WaitingForApproval: it is to wait"})

		registrar.Hold("")
		is.NoErr(m.register(t.Context(), time.Minute))
		is.Equal(told[len(told)-1], "this host has joined its cluster, as fleet/host-1")
		is.NoErr(m.register(t.Context(), 0)) // It is asked for nothing.
		is.Equal(told[len(told)-1], "this host has joined its cluster already, as fleet/host-1")
		identity, err := registrar.Identity(t.Context())
		is.NoErr(err)
		is.Equal(identity.Request, "request-1")
	})
}

func TestRegisteringMayBeEnded(t *testing.T) {
	is := is.New(t)
	registrar := &portstest.Registrar{}
	registrar.Hold("WaitingForApproval")
	m, _ := newMember(registrar, &bytes.Buffer{})
	ctx, cancel := context.WithCancel(t.Context())
	m.told = func(line string) {
		if strings.Contains(line, "WaitingForApproval") {
			cancel()
		}
	}
	is.True(errors.Is(m.register(ctx, time.Hour), context.Canceled))
}

// byHand is an agent that nobody runs, for what is done by hand.
func byHand(plugin ports.Plugin, machine ports.Machine) (*Agent, *[]string) {
	var told []string
	return &Agent{
		Host: "host-1", PluginName: "fake", Plugin: plugin, Machine: machine, Keep: []string{"/etc/elemental"},
		Orders: ports.Orders{Reset: `{"deep":true}`}, Tell: func(line string) { told = append(told, line) },
	}, &told
}

func yes() bool { return true }

func TestResettingByHand(t *testing.T) {
	is := is.New(t)
	plugin, machine := &portstest.Plugin{}, &portstest.Machine{}
	a, told := byHand(plugin, machine)
	is.Equal(a.resetByHand(t.Context(), func() bool { return false }), errNotAgreed)
	is.Equal(len(plugin.Done()), 0)
	said := strings.Join(*told, "\n")
	is.True(strings.Contains(said, "resets host host-1. What is on it is lost") && strings.Contains(said, `{"deep":true}`) && strings.Contains(said, "/etc/elemental"))
	is.NoErr(a.resetByHand(t.Context(), yes))
	is.Equal(plugin.Done(), []core.Verb{core.VerbTriggerReset, core.VerbReset})
	is.True(slices.Contains(*told, "the host was reset"))
}

// restartingReset is a plugin whose resets go on after a restart.
type restartingReset struct {
	*portstest.Plugin
	asked ports.Request
}

func (r *restartingReset) Observe(ctx context.Context, request ports.Request) (ports.Observation, error) {
	seen, err := r.Plugin.Observe(ctx, request)
	seen.NeedsRestart = seen.Reset == core.ResetUnderWay
	return seen, err
}

func (r *restartingReset) Do(ctx context.Context, verb core.Verb, request ports.Request, progress func(ports.Progress)) error {
	r.asked = request
	return r.Plugin.Do(ctx, verb, request, progress)
}

func TestAResetByHandThatNeedsARestartIsLeftToTheAgent(t *testing.T) {
	is := is.New(t)
	plugin, restarts := &restartingReset{Plugin: &portstest.Plugin{}}, 0
	machine := &portstest.Machine{OnRestart: func(string) error { restarts++; return nil }}
	a, _ := byHand(plugin, machine)
	is.NoErr(a.resetByHand(t.Context(), yes))
	is.Equal(plugin.Done(), []core.Verb{core.VerbTriggerReset})
	is.Equal(restarts, 1)
	is.Equal(string(plugin.asked.Options), `{"deep":true}`) // As the agent would.
	is.Equal(plugin.asked.Keep, []string{"/etc/elemental"})
	is.NoErr(a.resetByHand(t.Context(), yes)) // It is under way, and not begun again.
	is.Equal(plugin.Done(), []core.Verb{core.VerbTriggerReset})
}

func TestAPolicyForbidsTheReset(t *testing.T) {
	story(t, func(b *bench) {
		b.allowReset = func() error {
			return core.Failure{Class: core.FailureInvalid, Reason: core.ReasonPolicyDenied, Message: "the rule reset.allow of this host does not let a cluster reset it"}
		}
		b.cluster.Ask(`{}`)
		b.cluster.Wish(func(w *ports.Wish) { w.Reset = true })
		b.start()
		b.after(time.Hour)
		b.Equal(len(b.plugin.Done()), 0)
		c, _ := core.Find(b.last().Conditions, core.ResetReady)
		b.Equal(c.Reason, core.ReasonPolicyDenied)
	})
}

func TestWhatFollowsAReset(t *testing.T) {
	for ending, want := range map[core.Ending]string{core.EndingNone: "", core.EndingReboot: "restart ", core.EndingPowerOff: "off "} {
		story(t, func(b *bench) {
			did := ""
			b.postReset = ending
			b.machine.OnRestart = func(string) error { did += "restart "; return nil }
			b.machine.OnPowerOff = func(string) error { did += "off "; return nil }
			b.cluster.Ask(`{}`)
			b.cluster.Wish(func(w *ports.Wish) { w.Reset = true })
			b.start()
			b.after(time.Hour)
			b.boot() // A boot after that one is not ended again.
			b.after(time.Hour)
			b.Equal(did, want)
			b.Equal(b.plugin.Done(), []core.Verb{core.VerbTriggerReset, core.VerbReset})
		})
	}
}

// A host that is a plain process turns off by ending well, and restarts by an exit code of its own.
func TestAProcessEndsAsItsHost(t *testing.T) {
	for ending, code := range map[core.Ending]int{core.EndingPowerOff: 0, core.EndingReboot: ExitRestart} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, 0)
			w.onDisk = true
			w.NoErr(w.plugin.Do(t.Context(), core.VerbInstall, ports.Request{}, nil))
			ctx, end := context.WithCancelCause(t.Context())
			defer end(nil)
			l := w.life()
			agent := l.agent
			l.agent = func() *Agent {
				a := agent()
				a.Machine, a.PostReset = processMachine{Machine: &w.machine, boot: "process", end: end}, ending
				return a
			}
			ended := make(chan error, 1)
			go func() { ended <- l.run(ctx) }()
			w.until("it has joined", func() bool { return w.says(core.RegistrationReady, core.True)() })
			w.cluster.Wish(func(wish *ports.Wish) { wish.Reset = true })
			err := <-ended
			var named cli.ExitCoder
			switch {
			case code == 0:
				w.NoErr(err)
			default:
				w.True(errors.As(err, &named) && named.ExitCode() == code)
			}
		})
	}
}

func TestOneProcessAtATime(t *testing.T) {
	is := is.New(t)
	folder := t.TempDir()
	release, err := occupy(folder, nil)
	is.NoErr(err)
	_, err = occupy(folder, nil)
	is.True(err != nil && strings.Contains(err.Error(), "systemctl stop elemental-agent"))
	release()
	release, err = occupy(folder, nil)
	is.NoErr(err)
	release()

	file := filepath.Join(folder, turnLock)
	plugin := &portstest.Plugin{}
	end, err := lock(file)
	is.NoErr(err)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	err = turns{plugin, file}.Do(ctx, core.VerbConfirm, ports.Request{}, nil)
	is.True(errors.Is(err, context.DeadlineExceeded))
	is.Equal(len(plugin.Done()), 0)
	end()
	is.NoErr(turns{plugin, file}.Do(t.Context(), core.VerbConfirm, ports.Request{}, nil))
	is.Equal(plugin.Done(), []core.Verb{core.VerbConfirm})
}

func TestWhatAnInstalledSystemGets(t *testing.T) {
	is := is.New(t)
	folder := t.TempDir()
	config := agentfile.Config{File: filepath.Join(folder, "medium.yaml")}
	config.Cluster.Kubeconfig = filepath.Join(folder, "kubeconfig")
	for _, name := range []string{config.File, config.Cluster.Kubeconfig} {
		is.NoErr(os.WriteFile(name, []byte(filepath.Base(name)), 0o644))
	}
	files, err := life{errand: errand{config: config}}.files(t.Context())
	is.NoErr(err)
	got := map[string]string{}
	for _, f := range files {
		got[f.Path] = string(f.Data)
		is.Equal(f.Mode, uint32(0o600))
	}
	is.Equal(got[agentfile.Path], "medium.yaml") // Where the installed agent looks for it.
	is.Equal(got[config.Cluster.Kubeconfig], "kubeconfig")
}

func TestOnlyRootChangesAMachine(t *testing.T) {
	machine, process := agentfile.Config{}, agentfile.Config{}
	machine.Agent.Restart, process.Agent.Restart = agentfile.RestartLogind, agentfile.RestartExit
	for name, c := range map[string]struct {
		user   int
		config agentfile.Config
		err    error
		lacks  bool
	}{
		"root":                             {0, machine, nil, false},
		"root, without a file":             {0, agentfile.Config{}, fs.ErrNotExist, false},
		"another user":                     {1000, machine, nil, true},
		"another user, who may not read":   {1000, agentfile.Config{}, fmt.Errorf("reading: %w", fs.ErrPermission), true},
		"another user, of a wrong file":    {1000, agentfile.Config{}, errors.New("line 1"), false},
		"another user, of a plain process": {1000, process, nil, false},
	} {
		t.Run(name, func(t *testing.T) { is.New(t).Equal(lacksRoot(c.user, c.config, c.err), c.lacks) })
	}
}
