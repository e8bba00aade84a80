package ports

import (
	"context"

	"elemental/core"
)

// Journal keeps an agent's memory on the host's disk.
type Journal interface {
	// Load returns what was last saved. A journal that is missing or damaged is empty, and damaged is said by an
	// error that the caller may log: it must not stop the agent.
	Load(ctx context.Context) (core.Journal, error)
	// Save keeps the journal so that it survives a power cut at any moment: the old one or the new one, whole.
	Save(ctx context.Context, journal core.Journal) error
}
