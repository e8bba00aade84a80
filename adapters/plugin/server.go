package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"elemental/core"
	"elemental/ports"
)

// Opening is what a plugin is opened with.
type Opening struct {
	WorkDir string // the plugin's own
	Boot    string // the boot ID of the running system; empty where who asks does not know it
}

// Serve answers the one request on stdin, as a plugin executable does, with a plugin that is Checked. The error says
// that no answer could be given; a verb that failed is an answer.
func Serve(ctx context.Context, stdin io.Reader, stdout io.Writer, open func(Opening) (ports.Plugin, error)) error {
	s := &server{out: json.NewEncoder(stdout)}
	result, err := s.serve(ctx, stdin, open)
	if err != nil {
		return s.write(answer{Error: wireFailure(err)})
	}
	text, err := json.Marshal(result)
	if err != nil {
		return fmt.Errorf("writing the result: %w", err)
	}
	return s.write(answer{Result: text})
}

// server writes the lines of one answer.
type server struct {
	mutex sync.Mutex // a plugin may report progress from several goroutines
	out   *json.Encoder
}

func (s *server) write(a answer) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if err := s.out.Encode(a); err != nil {
		return fmt.Errorf("writing the answer: %w", err)
	}
	return nil
}

func (s *server) serve(ctx context.Context, stdin io.Reader, open func(Opening) (ports.Plugin, error)) (any, error) {
	in, err := readRequest(stdin)
	if err != nil {
		return nil, err
	}
	plugin, err := open(Opening{WorkDir: in.WorkDir, Boot: in.Boot})
	if err != nil {
		return nil, err
	}
	plugin = Checked(plugin)
	out := in.Input.port()
	out.Host, out.Boot, out.OSVersion = in.Host, in.Boot, in.Input.OSVersionManagement
	// The hash is made anew from the document, so that the two can't differ.
	if out.Hash, err = core.HashRequest(out.OSVersion); err != nil {
		return nil, core.Failure{Class: core.FailureInvalid, Reason: "MalformedRequest", Message: err.Error()}
	}
	if string(out.OSVersion) == "null" {
		out.OSVersion = nil
	}
	return s.answer(ctx, plugin, in.Verb, out)
}

func (s *server) answer(ctx context.Context, plugin ports.Plugin, verb core.Verb, in ports.Request) (any, error) {
	d, err := plugin.Describe(ctx)
	if err != nil {
		return nil, err
	}
	switch {
	case verb == core.VerbDescribe:
		if !slices.Contains(d.Protocols, Protocol) {
			d.Protocols = append([]string{Protocol}, d.Protocols...)
		}
		return description{Name: d.Name, Protocols: d.Protocols, Verbs: d.Verbs, Restarts: d.Restarts, Schema: d.Schema}, nil
	case !has(d, verb):
		return nil, unsupported(d.Name, verb, d)
	case verb == core.VerbObserve:
		o, err := plugin.Observe(ctx, in)
		return wireObservation(o), err
	default:
		return struct{}{}, plugin.Do(ctx, verb, in, func(p ports.Progress) {
			line := progress{Step: p.Step, Message: p.Message}
			if p.Percent >= 0 {
				percent := float64(p.Percent)
				line.Percent = &percent
			}
			// A reader that is gone is noticed when the result can't be written.
			_ = s.write(answer{Progress: &line})
		})
	}
}

func readRequest(stdin io.Reader) (request, error) {
	text, err := io.ReadAll(io.LimitReader(stdin, maxRequest+1))
	if err != nil {
		return request{}, fmt.Errorf("reading the request: %w", err)
	}
	if len(text) > maxRequest {
		return request{}, broken("MalformedRequest", "reading the request: it is larger than %d bytes", maxRequest)
	}
	var in request
	if err := json.Unmarshal(text, &in); err != nil {
		return request{}, broken("MalformedRequest", "reading the request: standard input must hold one JSON object: %v", err)
	}
	// What a plugin speaks is asked by describe, so that this is understood in all versions.
	if in.Protocol != Protocol && in.Verb != core.VerbDescribe {
		return request{}, broken("PluginProtocolUnknown", "the request speaks the protocol %q, and this plugin speaks %s", clip(in.Protocol, maxName), Protocol)
	}
	return in, nil
}

// wireFailure words an error for the other side. One that says nothing of its class counts as failed.
func wireFailure(err error) *failure {
	f := failure{Message: err.Error()}
	if own := (core.Failure{}); errors.As(err, &own) {
		f = failure{Class: own.Class, Reason: own.Reason, Message: own.Message, Path: own.Path}
	}
	told := f.core()
	return &failure{Class: told.Class, Reason: told.Reason, Message: told.Message, Path: told.Path}
}
