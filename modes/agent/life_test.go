package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"elemental/core"
	"elemental/modes/agentfile"
	"elemental/ports"
	"elemental/ports/portstest"
)

// world is a host among fakes, from its install medium on, and its cluster. A process of it may be killed before or
// after any effect: from then on nothing that it does happens.
type world struct {
	*is.I
	folder    string
	cluster   portstest.Cluster
	registrar portstest.Registrar
	plugin    portstest.Plugin
	machine   portstest.Machine
	medium    portstest.Journal // what the agent of the medium remembers
	disk      portstest.Journal // what the agent of the installed system remembers
	config    agentfile.Config

	mutex  sync.Mutex
	points int         // moments at which a process may be killed
	killAt int         // at which it is; 0: at none
	dead   bool        // the process that runs was killed
	end    func()      // ends the process that runs
	ending core.Ending // of this boot, that was asked for
	laid   []ports.File
	boots  string // which system each boot ran, one letter each
	onDisk bool   // the installed system runs
	joined int
	told   []string
}

var errKilled = errors.New("the process was killed")

// point says whether the process still lives.
func (w *world) point() bool {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if w.dead {
		return false
	}
	if w.points++; w.points == w.killAt {
		w.dead = true
		w.end()
	}
	return !w.dead
}

// effect does something, unless the process is killed before. Where it is killed after, it hears of nothing.
func (w *world) effect(do func() error) error {
	if !w.point() {
		return errKilled
	}
	err := do()
	if !w.point() {
		return errKilled
	}
	return err
}

type mortalCluster struct {
	*portstest.Cluster
	w *world
}

func (m mortalCluster) Report(ctx context.Context, r ports.Report) error {
	return m.w.effect(func() error { return m.Cluster.Report(ctx, r) })
}

type mortalRegistrar struct {
	*portstest.Registrar
	w *world
}

// Join makes the host's object, too, as a controller does.
func (m mortalRegistrar) Join(ctx context.Context, a ports.Applicant, told func(string, string)) (as ports.Identity, err error) {
	err = m.w.effect(func() error {
		if as, err = m.Registrar.Join(ctx, a, told); err != nil {
			return err
		}
		m.w.joined++
		m.w.cluster.Wish(func(wish *ports.Wish) {
			if !wish.Registered {
				*wish = ports.Wish{Registered: true, Identity: fmt.Sprintf("host %d", m.w.joined)}
			}
		})
		return nil
	})
	if errors.Is(err, errKilled) {
		<-ctx.Done()
	}
	return as, err
}

type mortalJournal struct {
	*portstest.Journal
	w *world
}

func (m mortalJournal) Save(ctx context.Context, j core.Journal) error {
	return m.w.effect(func() error { return m.Journal.Save(ctx, j) })
}

type mortalMachine struct {
	*portstest.Machine
	w *world
}

func (m mortalMachine) Restart(context.Context, string) error {
	return m.w.effect(func() error { return m.w.endBoot(core.EndingReboot) })
}

func (m mortalMachine) PowerOff(context.Context, string) error {
	return m.w.effect(func() error { return m.w.endBoot(core.EndingPowerOff) })
}

func (w *world) endBoot(how core.Ending) error {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.ending = how
	return nil
}

// mediumPlugin is a plugin that installs: as long as the medium runs, what it installed comes true by a restart.
type mediumPlugin struct {
	*portstest.Plugin
	w *world
}

func (m mediumPlugin) Observe(ctx context.Context, r ports.Request) (ports.Observation, error) {
	seen, err := m.Plugin.Observe(ctx, r)
	seen.Primed = seen.Primed && seen.Reset == core.ResetNone // What was applied before a reset is gone.
	if err == nil && !m.w.onDisk {
		if r.Options == nil {
			return seen, core.Failure{Class: core.FailureFailed, Reason: "NotBooted", Message: "it runs from a medium"}
		}
		seen.NeedsRestart, seen.Installed = seen.Installed, false
	}
	return seen, err
}

func (m mediumPlugin) Do(ctx context.Context, verb core.Verb, r ports.Request, progress func(ports.Progress)) error {
	return m.w.effect(func() error {
		if verb == core.VerbInstall {
			m.w.laid = r.Files
		}
		return m.Plugin.Do(ctx, verb, r, progress)
	})
}

func newWorld(t *testing.T, killAt int) *world {
	w := &world{I: is.New(t), folder: t.TempDir(), killAt: killAt}
	w.plugin.Verbs = []core.Verb{core.VerbInstall}
	w.config = agentfile.Config{File: filepath.Join(w.folder, "agent.yaml")}
	w.config.Registration.Name = "field"
	w.NoErr(os.WriteFile(w.config.File, []byte("agent: {}\n"), 0o600))
	return w
}

// life is the agent of the system that runs.
func (w *world) life() life {
	log := slog.New(slog.DiscardHandler)
	journal := mortalJournal{&w.medium, w}
	if w.onDisk {
		journal.Journal = &w.disk
	}
	return life{
		errand:  errand{config: w.config, log: log, installs: !w.onDisk, tell: func(line string) { w.told = append(w.told, line) }},
		reached: filepath.Join(w.folder, "connected"),
		member: &member{
			registrar: mortalRegistrar{&w.registrar, w}, machine: &w.machine, supervisor: &portstest.Supervisor{}, log: log,
			naming:  core.NamingRule{UseExisting: true},
			connect: func(ports.Identity) (ports.Cluster, error) { return mortalCluster{&w.cluster, w}, nil },
		},
		agent: func() *Agent {
			return &Agent{
				PluginName: "fake", Limits: core.DefaultLimits(), Log: log, Supervisor: &portstest.Supervisor{}, Journal: journal,
				Plugin: mediumPlugin{&w.plugin, w}, Machine: mortalMachine{&w.machine, w},
				PostInstall: core.EndingPowerOff, PostReset: core.EndingReboot,
			}
		},
	}
}

// process is what runs after a boot, until it ends by itself or is killed.
func (w *world) process() error {
	ctx, end := context.WithCancel(context.Background())
	defer end()
	w.mutex.Lock()
	w.dead, w.end = false, end
	w.mutex.Unlock()
	ended := make(chan error, 1)
	go func() { ended <- w.life().run(ctx) }()
	for {
		select {
		case err := <-ended:
			return err
		case <-time.After(time.Second):
			w.mutex.Lock()
			ending := w.ending
			w.mutex.Unlock()
			if ending != core.EndingNone {
				end() // The service manager ends all processes.
				return <-ended
			}
		}
	}
}

// live is the host's power: it boots, runs its process again as often as that is killed, and boots again, until it is off.
func (w *world) live(off chan<- struct{}) {
	defer close(off)
	for {
		w.mutex.Lock()
		w.ending = core.EndingNone
		w.boots += map[bool]string{false: "m", true: "d"}[w.onDisk]
		w.mutex.Unlock()
		for {
			err := w.process()
			w.mutex.Lock()
			ending, dead := w.ending, w.dead
			w.mutex.Unlock()
			if ending == core.EndingNone && dead {
				continue
			}
			if ending == core.EndingNone {
				w.NoErr(err)
				return // Someone turned it off.
			}
			break
		}
		w.machine.Boot()
		w.plugin.Restart()
		w.mutex.Lock()
		turnedOff := w.ending == core.EndingPowerOff
		w.mutex.Unlock()
		if turnedOff {
			return
		}
	}
}

// booted is what the host was started from, an m for the medium and a d for the disk.
func (w *world) booted() string {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return w.boots
}

// joinedTimes is how often it joined its cluster.
func (w *world) joinedTimes() int {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return w.joined
}

// on turns the host's power on; its end is the channel's.
func (w *world) on() <-chan struct{} {
	off := make(chan struct{})
	go w.live(off)
	return off
}

// until waits for something within a day.
func (w *world) until(what string, is func() bool) {
	w.Helper()
	for range 24 * 60 {
		if synctest.Wait(); is() {
			return
		}
		time.Sleep(time.Minute)
	}
	w.Fail() // It never came to be.
	panic(what + ": " + strings.Join(w.told, "; "))
}

func (w *world) says(kind string, status core.ConditionStatus) func() bool {
	return func() bool {
		all := w.cluster.Reports()
		if len(all) == 0 || all[len(all)-1].Identity != fmt.Sprintf("host %d", w.joinedTimes()) {
			return false
		}
		c, found := core.Find(all[len(all)-1].Conditions, kind)
		return found && c.Status == status
	}
}

// tellLife tells a host's whole life, and returns how often it could have been killed.
func tellLife(t *testing.T, killAt int) (points int) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, killAt)
		<-w.on()
		w.Equal(w.boots, "m") // It is installed, and off.
		paths := []string{}
		for _, f := range w.laid {
			paths = append(paths, f.Path)
		}
		w.Equal(paths, []string{"/var/lib/elemental/agent/identity/host", agentfile.Path})
		w.onDisk = true
		off := w.on()
		w.until("it is installed", w.says(core.InstallationReady, core.True))
		w.cluster.Bootstrap(ports.BootstrapData{Format: "cloud-config", Data: []byte("#cloud-config")})
		w.until("it restarted to join", func() bool { return w.booted() == "mdd" })
		w.machine.Join()
		w.until("it has joined", w.says(core.BootstrapReady, core.True))
		w.cluster.Wish(func(wish *ports.Wish) { wish.Reset = true })
		w.until("it is reset", w.says(core.ResetReady, core.True))
		w.until("it restarted after that", func() bool { return w.booted() == "mddd" })
		w.cluster.Wish(func(wish *ports.Wish) { *wish = ports.Wish{} }) // The object goes.
		w.until("it is registered again", func() bool { return w.joinedTimes() > 1 && w.says(core.RegistrationReady, core.True)() })
		w.mutex.Lock()
		w.end()
		w.mutex.Unlock()
		<-off
		w.Equal(w.boots, "mddd")
		done := w.plugin.Done()
		for _, verb := range []core.Verb{core.VerbBootstrap, core.VerbTriggerReset, core.VerbReset} {
			w.True(slices.Contains(done, verb))
		}
		var before core.Phase
		for _, r := range w.cluster.Reports() {
			if !core.MayFollow(before, r.Phase) {
				t.Errorf("%s follows %s", r.Phase, before)
			}
			before = r.Phase
		}
		if killAt == 0 {
			w.Equal(done, []core.Verb{core.VerbInstall, core.VerbBootstrap, core.VerbTriggerReset, core.VerbReset})
			w.Equal(w.joined, 2)
		}
		points = w.points
	})
	return points
}

// A host lives from its medium to its reset and on, wherever its agent is killed.
func TestAWholeLifeKilledBetweenAllEffects(t *testing.T) {
	points := tellLife(t, 0)
	t.Logf("an agent can be killed at %d moments", points)
	if points < 30 {
		t.Fatalf("a life of %d moments is none", points)
	}
	for at := 1; at <= points; at++ {
		t.Run(fmt.Sprint(at), func(t *testing.T) { tellLife(t, at) })
	}
}
