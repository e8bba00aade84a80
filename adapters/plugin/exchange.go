package plugin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"elemental/core"
	"elemental/ports"
)

// Exchange is one run of a plugin as it was seen from outside, whether or not it kept to the protocol. It is
// for those who test plugins; Runner's other methods are for those who use them.
type Exchange struct {
	Lines  []string      // of standard output
	Log    string        // the end of standard error
	Ended  string        // how it ended; empty when it exited with status 0
	Killed bool          // it was killed, because it was to be or because its time was over
	Left   bool          // children of it still ran when it had exited, and were ended
	Took   time.Duration // from its start to its end
}

// maxLines bounds what an Exchange keeps.
const maxLines = 10_000

// Request writes what a plugin would be given for a verb, so that it can be changed.
func (r *Runner) Request(verb core.Verb, in ports.Request) ([]byte, error) {
	return r.request(verb, in)
}

// WorkDir is the folder of the plugin's own.
func (r *Runner) WorkDir() string { return r.workDir() }

// Exchange starts the plugin with any argument and any request, and waits for its end. It is killed with all its
// children when the context ends, and when kill, which is called for each line, says so.
func (r *Runner) Exchange(ctx context.Context, verb string, request []byte, kill func(line string) bool) (Exchange, error) {
	e, err := r.open()
	if err != nil {
		return Exchange{}, err
	}
	defer e.file.Close()
	if err := os.MkdirAll(r.workDir(), 0o700); err != nil {
		return Exchange{}, fmt.Errorf("making the work dir of the plugin %q: %w", r.config.Name, err)
	}
	begin := time.Now()
	process, err := r.start(ctx, e, verb)
	if err != nil {
		return Exchange{}, err
	}
	defer process.close()
	go func() {
		// A plugin need not read its request, so that neither error means anything.
		_, _ = process.stdin.Write(request)
		_ = process.stdin.Close()
	}()
	done := make(chan struct{})
	defer close(done)
	lines, alive := make(chan line), make(chan struct{}, 1)
	log := &logTail{log: r.log, done: make(chan struct{})}
	go readLines(process.stdout, lines, done, alive)
	go log.read(process.stderr, alive)
	x := Exchange{}
	x.listen(ctx, process, lines, kill)
	x.Took = time.Since(begin)
	<-log.done
	x.Log, x.Left = log.end(), process.Exit().Left
	_, x.Ended = process.exit()
	return x, nil
}

// listen takes the plugin's lines until it has ended and its pipe is read.
func (x *Exchange) listen(ctx context.Context, p *process, lines <-chan line, kill func(string) bool) {
	exited, ended := p.Exited(), ctx.Done()
	for lines != nil || exited != nil {
		select {
		case l, open := <-lines:
			if !open {
				lines = nil
				continue
			}
			if len(x.Lines) < maxLines {
				x.Lines = append(x.Lines, string(l.text))
			}
			if kill != nil && kill(string(l.text)) {
				x.Killed = true
				p.Kill()
			}
		case <-exited:
			exited = nil
			// Something that left the group may hold the pipes open for ever.
			end := time.Now().Add(leftover)
			_, _ = p.stdout.SetReadDeadline(end), p.stderr.SetReadDeadline(end)
		case <-ended:
			ended, x.Killed = nil, true
			p.Kill()
		}
	}
}

// Result is the result or the error that an exchange ends with, if that is how it ends and the plugin did nothing
// besides. The error, unless it is a core.Failure of the plugin's own, says what is wrong.
func (x Exchange) Result() (json.RawMessage, error) {
	if len(x.Lines) == 0 {
		return nil, fmt.Errorf("it wrote nothing on standard output%s", x.ending())
	}
	for i, text := range x.Lines {
		a, err := parseAnswer(bytes.TrimSpace([]byte(text)))
		switch last := i == len(x.Lines)-1; {
		case err != nil:
			return nil, err
		case a.final() && !last:
			return nil, fmt.Errorf("it went on after the line that ends its answer: %s", quote([]byte(x.Lines[i+1])))
		case !a.final() && last:
			return nil, fmt.Errorf("its answer has no end%s", x.ending())
		case a.Error != nil:
			return nil, a.Error.core()
		case a.final() && x.Ended != "":
			return nil, fmt.Errorf("it answered with a result and then %s", x.Ended)
		case a.final():
			return a.Result, nil
		}
	}
	return nil, nil
}

func (x Exchange) ending() string {
	if x.Ended == "" {
		return ""
	}
	return ", and " + x.Ended
}

// ReadDescription reads the result of describe.
func ReadDescription(result json.RawMessage) (ports.Description, error) {
	return parseDescription(result)
}

// ReadObservation reads the result of observe, of a plugin that describes itself so.
func ReadObservation(result json.RawMessage, of ports.Description) (ports.Observation, error) {
	return parseObservation(result, of)
}
