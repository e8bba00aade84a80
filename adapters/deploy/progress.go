package deploy

import (
	"sync"
	"time"

	"elemental/ports"
)

// The steps of a staging, in their order. Fetching and unpacking overlap; while something is still fetched, that is
// what is shown.
const (
	StepResolve = "resolve"
	StepPlan    = "plan"
	StepFetch   = "fetch"
	StepUnpack  = "unpack"
	StepBuild   = "build"
	StepPublish = "publish"
)

// progress tells how far a staging is, a few times a second at most.
type progress struct {
	tell func(ports.Progress)
	now  func() time.Time

	mu             sync.Mutex
	last           time.Time
	step           string
	total          int64 // bytes to fetch, and to unpack
	fetch, unpack  int64
	lastPercentage int
}

// progressEvery is the time between two reports of one step.
const progressEvery = 300 * time.Millisecond

// begin starts a step.
func (p *progress) begin(step, message string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.step = step
	p.send(-1, message)
}

// say tells something beside how far it is.
func (p *progress) say(message string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.send(-1, message)
}

func (p *progress) send(percent int, message string) {
	p.last = p.now()
	p.lastPercentage = percent
	if p.tell != nil {
		p.tell(ports.Progress{Step: p.step, Percent: percent, Message: message})
	}
}

// fetched counts bytes that came.
func (p *progress) fetched(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fetch += n
	if p.fetch >= p.total {
		p.enter(StepUnpack)
		return
	}
	p.enter(StepFetch)
	p.pace(p.fetch)
}

// unpacked counts compressed bytes that were unpacked.
func (p *progress) unpacked(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unpack += n
	if p.fetch >= p.total {
		p.enter(StepUnpack)
		p.pace(p.unpack)
	}
}

// enter shows a step as soon as it begins, so that none is missed however short it is.
func (p *progress) enter(step string) {
	if p.step != step {
		p.step = step
		p.send(0, "")
	}
}

// pace shows how much of the total is done, if the last time is long enough ago.
func (p *progress) pace(done int64) {
	percent := int(min(100, 100*done/max(1, p.total)))
	if percent != p.lastPercentage && p.now().Sub(p.last) >= progressEvery {
		p.send(percent, "")
	}
}
