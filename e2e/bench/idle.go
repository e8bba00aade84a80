package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"elemental/e2e/hosts"
)

const idleHost = "idle"

// idler is an agent that has nothing to do.
type idler struct {
	process *hosts.Process
	ready   time.Time
	began   chan work // what it had used when it had settled
}

// settled is how long after an agent is ready its first words are over.
const settled = time.Minute

// idle starts the agent that has nothing to do, once.
func (b *bench) idle(ctx context.Context) (*idler, error) {
	if b.idler != nil {
		return b.idler, nil
	}
	b.now("starts an agent that has nothing to do")
	process, err := b.startAgent(ctx, idleNamespace, idleHost, "")
	if err != nil {
		return nil, err
	}
	i := &idler{process: process, ready: time.Now(), began: make(chan work, 1)}
	pid, err := pidOfAgent(process)
	if err != nil {
		return nil, err
	}
	go func() { // Other parts are taken meanwhile.
		defer close(i.began)
		if until(ctx, i.ready.Add(settled)) != nil {
			return
		}
		if w, err := workOf(pid); err == nil {
			i.began <- w
		}
	}()
	b.idler = i
	return i, nil
}

// beginIdle lets the agent run while other things are measured.
func (b *bench) beginIdle(ctx context.Context) error {
	_, err := b.idle(ctx)
	return err
}

// takeMemory reads the memory of the idle agent.
func (b *bench) takeMemory(ctx context.Context) error {
	i, err := b.idle(ctx)
	if err != nil {
		return err
	}
	b.now("waits until the idle agent is idle for a minute")
	if err := until(ctx, i.ready.Add(settled)); err != nil {
		return err
	}
	m, err := memoryOfAgent(i.process)
	if err != nil {
		return err
	}
	b.figure("agent_rss_mib", mebibytes(m.resident), "VmRSS of an agent with the plugin dummy, a minute after it was ready; its peak was %s MiB", number(mebibytes(m.peak)))
	b.figure("agent_anon_mib", mebibytes(m.anonymous), "RssAnon of the same process at the same time: what is not a part of the program's file")
	return nil
}

func memoryOfAgent(process *hosts.Process) (memory, error) {
	pid, err := pidOfAgent(process)
	if err != nil {
		return memory{}, err
	}
	return memoryOf(pid)
}

func pidOfAgent(process *hosts.Process) (int, error) {
	return child("agent", filepath.Join(filepath.Dir(process.WorkDir()), "agent.yaml"))
}

// endIdle tells what the agent did, and asked of the API server, since it had settled.
func (b *bench) endIdle(ctx context.Context) error {
	i := b.idler
	if i == nil {
		return fmt.Errorf("the idle agent was not started")
	}
	from := i.ready.Add(settled)
	to := from.Add(b.idleFor)
	b.now("waits until the idle agent was idle for %s", b.idleFor)
	if err := until(ctx, to); err != nil {
		return err
	}
	if err := i.process.Trouble(); err != nil {
		return err
	}
	if err := b.tellWork(i); err != nil {
		return err
	}
	to = time.Now()
	kinds, err := b.requests("system:serviceaccount:"+idleNamespace+":elemental-host-"+idleHost, from, to)
	if err != nil {
		return err
	}
	total, words := 0, []string{}
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		total += kinds[kind]
		words = append(words, fmt.Sprintf("%d %s", kinds[kind], kind))
	}
	b.figure("idle_requests_per_minute", float64(total)/to.Sub(from).Minutes(),
		"by the API server's audit log of the agent's user, %s from a minute after it was ready: %s", to.Sub(from).Round(time.Second),
		strings.Join(append(words, fmt.Sprintf("%d in all", total)), ", "))
	return nil
}

// tellWork prints what the idle agent has used since it had settled.
func (b *bench) tellWork(i *idler) error {
	began, settled := <-i.began
	if !settled {
		return fmt.Errorf("the idle agent ended before it was a minute old")
	}
	pid, err := pidOfAgent(i.process)
	if err != nil {
		return err
	}
	now, err := workOf(pid)
	if err != nil {
		return err
	}
	w := now.since(began)
	plugins := "no plugin process was started"
	if w.childFaults > 0 {
		plugins = fmt.Sprintf("%s ms went to plugin processes", number(milliseconds(w.children)))
	}
	b.figure("agent_cpu_s_per_hour", (w.own+w.children).Seconds()/w.at.Hours(),
		"an agent with the plugin dummy, by its CPU clock and the times of its ended children in /proc/PID/stat, %s from a minute after it was ready: %s ms of its own, in which its threads woke %d times; %s",
		w.at.Round(time.Second), number(milliseconds(w.own)), w.wakes, plugins)
	return nil
}

// asked is a request that the API server logged.
type asked struct {
	at   time.Time // it came
	kind string    // verb and resource
}

// requests counts a user's requests that began in this time, by verb and resource.
func (b *bench) requests(user string, from, to time.Time) (map[string]int, error) {
	all, err := b.logged(user, from, to)
	kinds := map[string]int{}
	for _, request := range all {
		kinds[request.kind]++
	}
	return kinds, err
}

// logged returns a user's requests that began in this time.
func (b *bench) logged(user string, from, to time.Time) ([]asked, error) {
	file, err := os.Open(b.audit)
	if err != nil {
		return nil, fmt.Errorf("reading the audit log: %w", err)
	}
	defer file.Close()
	var all []asked
	counted, ever := map[string]bool{}, false
	lines := bufio.NewScanner(file)
	for lines.Buffer(nil, 1<<20); lines.Scan(); {
		var event struct {
			AuditID, Verb            string
			User                     struct{ Username string }
			ObjectRef                struct{ Resource, Subresource string }
			RequestReceivedTimestamp time.Time
		}
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			return nil, fmt.Errorf("reading the audit log: %w", err)
		}
		if event.User.Username != user {
			continue
		}
		ever = true
		// A watch is logged when it begins and when it ends.
		at := event.RequestReceivedTimestamp
		if counted[event.AuditID] || at.Before(from) || at.After(to) {
			continue
		}
		counted[event.AuditID] = true
		all = append(all, asked{at, strings.TrimSuffix(event.Verb+" "+event.ObjectRef.Resource+"/"+event.ObjectRef.Subresource, "/")})
	}
	if !ever && lines.Err() == nil {
		return nil, fmt.Errorf("reading the audit log: it has no request of %s, not even its first", user)
	}
	return all, lines.Err()
}

// until waits for a moment.
func until(ctx context.Context, moment time.Time) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Until(moment)):
		return nil
	}
}
