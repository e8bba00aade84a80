package portstest

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/matryer/is"

	"elemental/ports"
)

// Starter plays the firmware: it starts the host once.
type Starter interface {
	// Boot chooses an entry as the boot loader does, counts its try, and returns the deployment that runs now.
	Boot(t *testing.T) string
}

// BootLoader is an in-memory ports.BootLoader, and its own Starter. The zero value has no entries.
type BootLoader struct {
	// OnAdd, when set, sees every entry before it is added; an error that it returns is the answer.
	OnAdd func(ports.BootEntry) error

	mu      sync.Mutex
	entries []ports.BootEntry
	booted  string
}

var (
	_ ports.BootLoader = (*BootLoader)(nil)
	_ Starter          = (*BootLoader)(nil)
)

// Entries lists the entries, the one to be chosen next first.
func (b *BootLoader) Entries(ctx context.Context) ([]ports.BootEntry, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.entries), ctx.Err()
}

// Add puts an entry in, in place of another of the same deployment.
func (b *BootLoader) Add(ctx context.Context, entry ports.BootEntry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if b.OnAdd != nil {
		if err := b.OnAdd(entry); err != nil {
			return err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.remove(entry.Deployment)
	b.entries = append(b.entries, entry)
	b.sort()
	return nil
}

// Confirm ends a trial.
func (b *BootLoader) Confirm(ctx context.Context, deployment string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, e := range b.entries {
		if e.Deployment == deployment {
			b.entries[i].Trial, b.entries[i].Tries, b.entries[i].Tried = false, 0, 0
			b.sort()
			return nil
		}
	}
	return ports.ErrNotFound
}

// Remove takes an entry out.
func (b *BootLoader) Remove(ctx context.Context, deployment string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.remove(deployment)
	return ctx.Err()
}

// Booted names the deployment that runs.
func (b *BootLoader) Booted(ctx context.Context) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.booted, ctx.Err()
}

// Boot starts the host once.
func (b *BootLoader) Boot(*testing.T) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.entries) == 0 {
		b.booted = ""
		return ""
	}
	first := &b.entries[0]
	b.booted = first.Deployment
	if first.Trial && first.Tries > 0 {
		first.Tries--
		first.Tried++
		b.sort()
	}
	return b.booted
}

func (b *BootLoader) remove(deployment string) {
	b.entries = slices.DeleteFunc(b.entries, func(e ports.BootEntry) bool { return e.Deployment == deployment })
}

func (b *BootLoader) sort() {
	spent := func(e ports.BootEntry) int {
		if e.Trial && e.Tries == 0 {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(b.entries, func(x, y ports.BootEntry) int {
		return cmp.Or(cmp.Compare(spent(x), spent(y)), cmp.Compare(y.Order, x.Order))
	})
}

// The deployments of the contract.
const (
	oldDeployment = "0123456789abcdef0123456789abcdef"
	newDeployment = "fedcba9876543210fedcba9876543210"
)

// TestBootLoader is the contract of ports.BootLoader.
func TestBootLoader(t *testing.T, create func(t *testing.T) (ports.BootLoader, Starter)) {
	confirmed := ports.BootEntry{Deployment: oldDeployment, Title: "Old", Order: 9, Options: "quiet"}
	trial := ports.BootEntry{
		Deployment: newDeployment, Title: "New", Order: 10, Trial: true, Tries: 3,
		Kernel: "/elemental/k/linux", Initrd: "/elemental/k/initrd", Options: "quiet panic=10",
	}

	t.Run("is empty at first", func(t *testing.T) {
		is := is.New(t)
		loader, _ := create(t)
		entries, err := loader.Entries(t.Context())
		is.NoErr(err)
		is.Equal(len(entries), 0)
		booted, err := loader.Booted(t.Context())
		is.NoErr(err)
		is.Equal(booted, "")
	})
	t.Run("keeps what an entry says, the highest order first", func(t *testing.T) {
		is := is.New(t)
		loader, _ := create(t)
		is.NoErr(loader.Add(t.Context(), trial))
		is.NoErr(loader.Add(t.Context(), confirmed))
		entries, err := loader.Entries(t.Context())
		is.NoErr(err)
		is.Equal(entries, []ports.BootEntry{trial, confirmed})
	})
	t.Run("an entry replaces the one of its deployment", func(t *testing.T) {
		is := is.New(t)
		loader, starter := create(t)
		is.NoErr(loader.Add(t.Context(), confirmed))
		is.NoErr(loader.Add(t.Context(), trial))
		is.Equal(starter.Boot(t), newDeployment)
		again := trial
		again.Order = 11
		is.NoErr(loader.Add(t.Context(), again))
		entries, err := loader.Entries(t.Context())
		is.NoErr(err)
		is.Equal(entries, []ports.BootEntry{again, confirmed})
		spent := trial
		spent.Tries, spent.Tried = 0, 3
		is.NoErr(loader.Add(t.Context(), spent))
		entries, err = loader.Entries(t.Context())
		is.NoErr(err)
		is.Equal(entries, []ports.BootEntry{confirmed, spent})
	})
	t.Run("counts the boots of a trial and falls back", func(t *testing.T) {
		is := is.New(t)
		loader, starter := create(t)
		is.NoErr(loader.Add(t.Context(), confirmed))
		is.NoErr(loader.Add(t.Context(), trial))
		for n := range 3 {
			is.Equal(starter.Boot(t), newDeployment)
			entries, err := loader.Entries(t.Context())
			is.NoErr(err)
			at := slices.IndexFunc(entries, func(e ports.BootEntry) bool { return e.Deployment == newDeployment })
			is.Equal(entries[at].Tries, 2-n)
			is.Equal(entries[at].Tried, n+1)
		}
		is.Equal(starter.Boot(t), oldDeployment)
		booted, err := loader.Booted(t.Context())
		is.NoErr(err)
		is.Equal(booted, oldDeployment)
		entries, err := loader.Entries(t.Context())
		is.NoErr(err)
		is.Equal(entries[1].Deployment, newDeployment) // Spent, it is the last choice.
	})
	t.Run("a confirmed trial is counted no more", func(t *testing.T) {
		is := is.New(t)
		loader, starter := create(t)
		is.NoErr(loader.Add(t.Context(), confirmed))
		is.NoErr(loader.Add(t.Context(), trial))
		is.Equal(starter.Boot(t), newDeployment)
		is.NoErr(loader.Confirm(t.Context(), newDeployment))
		is.NoErr(loader.Confirm(t.Context(), newDeployment)) // Twice is no error.
		for range 4 {
			is.Equal(starter.Boot(t), newDeployment)
		}
		entries, err := loader.Entries(t.Context())
		is.NoErr(err)
		is.True(!entries[0].Trial)
	})
	t.Run("a trial on its last try can be confirmed", func(t *testing.T) {
		is := is.New(t)
		loader, starter := create(t)
		is.NoErr(loader.Add(t.Context(), confirmed))
		last := trial
		last.Tries = 1
		is.NoErr(loader.Add(t.Context(), last))
		is.Equal(starter.Boot(t), newDeployment)
		is.NoErr(loader.Confirm(t.Context(), newDeployment))
		is.Equal(starter.Boot(t), newDeployment)
	})
	t.Run("what is removed is not chosen", func(t *testing.T) {
		is := is.New(t)
		loader, starter := create(t)
		is.NoErr(loader.Add(t.Context(), confirmed))
		is.NoErr(loader.Add(t.Context(), trial))
		is.NoErr(loader.Remove(t.Context(), newDeployment))
		is.NoErr(loader.Remove(t.Context(), newDeployment))
		is.Equal(starter.Boot(t), oldDeployment)
	})
	t.Run("confirming what is not there is an error", func(t *testing.T) {
		loader, _ := create(t)
		is.New(t).True(loader.Confirm(t.Context(), newDeployment) != nil)
	})
}
