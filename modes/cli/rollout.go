package cli

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"elemental/core"
	"elemental/ports"
)

// mostRequests is how many requests to ask are under way at once, however many hosts may be.
const mostRequests = 16

// rollout asks hosts or machines for something, all at once or some at a time, and waits for them.
type rollout struct {
	world
	operator  ports.Operator
	kind      core.Kind
	ask       func(context.Context, ports.Target) (ports.Target, error)
	says      func(before, after ports.Target) string // what was asked, such as "is asked for oci://registry/os:1"
	wait      bool
	parallel  int // how many may be asked and not done; 0: any number
	keepGoing bool
	timeout   time.Duration // the time that the context leaves, for the words
}

// stage is how far one member of a rollout has come.
type stage int

const (
	stageIdle    stage = iota // it was not asked
	stageAsking               // the request to ask is under way
	stageUnsure               // that request was cut off: it may have been asked
	stageWorking              // it was asked, and works on it
	stageDone                 // it runs what was asked for; without waiting: it was asked
	stageFailed
)

// tally counts the members at each stage.
type tally [stageFailed + 1]int

// member is one host or machine of a rollout.
type member struct {
	before ports.Target // as it was when the set was fixed
	asked  ports.Target // as it was when it had been asked
	seen   ports.Target // as it was seen last
	stage  stage
	says   core.Waiting
	err    error // why it could not be asked
}

// running is a rollout under way. All but the requests and the watch happens in one goroutine.
type running struct {
	rollout
	members  []*member // by name
	byName   map[string]*member
	shown    *progress
	count    tally
	answers  chan answer
	sights   chan ports.Target
	lost     chan error // how the watch ended
	watching bool
	tasks    sync.WaitGroup
}

// answer is what came of asking one member.
type answer struct {
	*member
	asked ports.Target
	err   error
}

// run asks the targets, in their order, and waits for them until the context ends. The set is fixed: who comes
// later is not asked, and who goes meanwhile has failed. The error carries the exit status.
func (r rollout) run(ctx context.Context, targets []ports.Target) error {
	run := &running{
		rollout: r, byName: map[string]*member{}, count: tally{stageIdle: len(targets)},
		answers: make(chan answer, mostRequests), sights: make(chan ports.Target), lost: make(chan error, 1),
	}
	for _, t := range targets {
		m := &member{before: t, seen: t}
		run.members = append(run.members, m)
		run.byName[t.Name] = m
	}
	run.shown = newProgress(run)
	within, end := context.WithCancel(ctx)
	err := run.work(within)
	end()
	run.tasks.Wait()
	close(run.answers)
	for a := range run.answers {
		run.settle(within, a)
	}
	run.shown.end()
	return run.sum(ctx, err)
}

// work goes on until nothing is under way any more.
func (r *running) work(ctx context.Context) error {
	tick, stop := r.shown.ticks()
	defer stop()
	for {
		r.askMore(ctx)
		if r.count[stageAsking]+r.count[stageWorking] == 0 {
			return nil
		}
		// What was asked before the watch begins need not be watched coming.
		if !r.watching && r.count[stageAsking] == 0 {
			r.watching = true
			r.tasks.Go(func() { r.lost <- r.watch(ctx) })
		}
		select {
		case a := <-r.answers:
			r.settle(ctx, a)
		case t := <-r.sights:
			r.see(t)
		case err := <-r.lost:
			return err
		case <-tick:
			r.shown.draw()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// askMore asks the next ones, as many as may be under way.
func (r *running) askMore(ctx context.Context) {
	for _, m := range r.members {
		under := r.count[stageAsking] + r.count[stageWorking]
		full := r.parallel > 0 && under >= r.parallel || r.count[stageAsking] >= mostRequests
		if full || r.count[stageIdle] == 0 || r.count[stageFailed] > 0 && !r.keepGoing || ctx.Err() != nil {
			return
		}
		if m.stage != stageIdle {
			continue
		}
		if m.before.Gone {
			r.fail(m, core.Wait(0, "", m.before.Standing))
			continue
		}
		r.move(m, stageAsking)
		r.tasks.Go(func() {
			asked, err := r.ask(ctx, m.before)
			r.answers <- answer{m, asked, err}
		})
	}
}

// settle takes what came of asking.
func (r *running) settle(ctx context.Context, a answer) {
	m := a.member
	switch {
	case errors.Is(a.err, ports.ErrNotFound):
		r.fail(m, core.Waiting{End: core.WaitFailed, Reason: core.ReasonDeleted, Message: a.err.Error()})
	case a.err != nil && ctx.Err() != nil:
		r.move(m, stageUnsure)
	case a.err != nil:
		m.err = a.err
		r.move(m, stageFailed)
		r.shown.show(m)
	default:
		seen := m.seen // which came while the answer was on its way
		m.asked = a.asked
		r.shown.asked(m, r.says(m.before, m.asked))
		if !r.wait {
			r.move(m, stageDone)
			return
		}
		r.move(m, stageWorking)
		if r.judge(m, m.asked); m.stage == stageWorking {
			r.judge(m, seen)
		}
	}
}

// see takes what the watch saw.
func (r *running) see(t ports.Target) {
	m := r.byName[t.Name]
	if m == nil {
		return
	}
	if !t.Gone && !t.Created.Equal(m.before.Created) {
		t.Gone = true // Another of the same name has taken its place.
	}
	if m.stage == stageIdle && t.Gone {
		r.fail(m, core.Wait(0, "", t.Standing))
		return
	}
	if m.seen = t; m.stage == stageWorking {
		r.judge(m, t)
	}
}

// judge says what a standing of a member that was asked means.
func (r *running) judge(m *member, t ports.Target) {
	if !t.Gone && m.precedes(t) {
		return
	}
	says := core.Wait(m.asked.Generation, m.asked.Requested, t.Standing)
	switch m.seen = t; says.End {
	case core.WaitFailed:
		r.fail(m, says)
	case core.WaitApplied:
		m.says = says
		r.move(m, stageDone)
		r.shown.show(m)
	case core.WaitGoesOn:
		m.says = says
		r.shown.show(m)
	}
}

// precedes says that a sight is of before the member was asked: it took longer to come than the answer.
func (m *member) precedes(t ports.Target) bool {
	return t.Generation < m.asked.Generation || m.asked.Retry != m.before.Retry && t.Retry == m.before.Retry
}

func (r *running) fail(m *member, says core.Waiting) {
	m.says = says
	r.move(m, stageFailed)
	r.shown.show(m)
}

func (r *running) move(m *member, to stage) {
	r.count[m.stage]--
	r.count[to]++
	m.stage = to
}

// watch sees all members by one watch until the context ends. It goes by their names: a label may change, even
// by what is waited for, and who lost it is still there.
func (r *running) watch(ctx context.Context) error {
	show := func(t ports.Target) bool {
		select {
		case r.sights <- t:
			return true
		case <-ctx.Done():
			return false
		}
	}
	names := make([]string, 0, len(r.members))
	for _, m := range r.members {
		names = append(names, m.before.Name)
	}
	for len(names) > 0 {
		err := r.operator.Follow(ctx, ports.Selection{Kind: r.kind, Names: names}, show)
		if !errors.Is(err, ports.ErrNotFound) {
			return err
		}
		// Some were deleted before the watch began.
		there, err := r.operator.List(ctx, ports.Selection{Kind: r.kind})
		if err != nil {
			return err
		}
		names = slices.DeleteFunc(names, func(name string) bool {
			gone := !slices.ContainsFunc(there, func(t ports.Target) bool { return t.Name == name })
			return gone && show(ports.Target{Name: name, Standing: core.Standing{Kind: r.kind, Gone: true}})
		})
	}
	<-ctx.Done()
	return ctx.Err()
}
