package commands

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"elemental/adapters/plugin/durable"
)

// remembered is the file in the work dir that says what was done.
const remembered = "commands.json"

// memory is what must be known of earlier calls, and can't be seen on the host. It is written down after each
// command, so that a crash repeats at most the one that ran.
type memory struct {
	Request string `json:"request"`           // the hash of the request that Done and Begun speak of
	Done    []int  `json:"done,omitempty"`    // its commands that were found so or made so
	Begun   *begun `json:"begun,omitempty"`   // one that was run, and whose end was not seen
	Restart string `json:"restart,omitempty"` // the boot that a command wants to end; of no meaning in a later one
}

// begun is a command whose running makes a restart necessary.
type begun struct {
	Index int    `json:"index"`
	Boot  string `json:"boot"`
}

// recall reads what is remembered of a request, in a boot. A restart that an earlier one still waits for is not
// forgotten: what wants it has been done.
func (p *Plugin) recall(request, boot string) (memory, error) {
	path := filepath.Join(p.config.WorkDir, remembered)
	var m memory
	_, err := durable.ReadJSON(path, &m)
	if errors.Is(err, durable.ErrDamaged) {
		return memory{}, fmt.Errorf("reading which commands were done: %w; remove the file to have them all done again", err)
	}
	if err != nil {
		return memory{}, fmt.Errorf("reading which commands were done: %w", err)
	}
	if m.Request == request {
		return m, nil
	}
	other := memory{Request: request, Restart: m.Restart}
	if m.Begun != nil && m.Restart != boot {
		other.Restart = m.Begun.Boot
	}
	return other, nil
}

func (p *Plugin) remember(m memory) error {
	if err := durable.WriteJSON(filepath.Join(p.config.WorkDir, remembered), m); err != nil {
		return fmt.Errorf("noting which commands were done: %w", err)
	}
	return nil
}

func (m memory) done(index int) bool { return slices.Contains(m.Done, index) }

func (m memory) begun(index int) bool { return m.Begun != nil && m.Begun.Index == index }

// beginning is the memory before a command is run that makes a restart necessary: if this is all that is known
// later, it may have changed something.
func (m memory) beginning(index int, boot string) memory {
	if m.Begun != nil && m.Begun.Index != index && m.Restart != boot {
		m.Restart = m.Begun.Boot
	}
	m.Begun = &begun{Index: index, Boot: boot}
	return m
}

// passed is the memory after a command was found so, or was run and made it so.
func (m memory) passed(index int, c command, ran bool, boot string) memory {
	next := memory{Request: m.Request, Done: slices.Clone(m.Done), Begun: m.Begun, Restart: m.Restart}
	if m.begun(index) {
		next.Begun = nil
	}
	// That a command was run in a boot that has ended is of no meaning any more: the host has restarted since.
	ran = ran || m.begun(index) && m.Begun.Boot == boot
	if c.Restart == always && !m.done(index) || c.Restart == ifChanged && ran {
		next.Restart = boot
	}
	if !m.done(index) {
		next.Done = append(next.Done, index)
	}
	return next
}
