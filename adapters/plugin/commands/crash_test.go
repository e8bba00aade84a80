package commands

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"elemental/core"
	"elemental/ports"
)

// TestCrash kills a staging in each of its commands, and stages again.
func TestCrash(t *testing.T) {
	for crash := range 3 {
		t.Run(fmt.Sprint(crash), func(t *testing.T) {
			b := newBench(t)
			request := b.request(`[
				{"run":"echo >> DIR/0; sh DIR/hook 0"},
				{"run":"echo >> DIR/1; sh DIR/hook 1","check":"test -e DIR/1","restart":"ifChanged"},
				{"run":"echo >> DIR/2; sh DIR/hook 2"}]`)
			hook := fmt.Sprintf("[ $1 != %d ] || { touch %s/hung; sleep 600; }", crash, b.folder)
			b.is.NoErr(os.WriteFile(filepath.Join(b.folder, "hook"), []byte(hook), 0o600))

			ctx, kill := context.WithCancel(t.Context())
			ended := make(chan error)
			go func() { ended <- b.plugin().Do(ctx, core.VerbStage, request, func(ports.Progress) {}) }()
			for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
				if _, err := os.Stat(filepath.Join(b.folder, "hung")); err == nil {
					break
				}
				b.is.True(time.Now().Before(end)) // The command hangs.
			}
			kill()
			b.is.True(errors.Is(<-ended, context.Canceled))
			b.is.Equal(b.observe(request).Verdict, core.VerdictOutdated) // Even where its check holds by now.

			b.is.NoErr(os.WriteFile(filepath.Join(b.folder, "hook"), nil, 0o600))
			b.is.NoErr(b.stage(request))
			for i := range 3 {
				times := 1
				if i == crash && i != 1 { // The check of 1 says that it need not be repeated.
					times = 2
				}
				b.is.Equal(b.marks(fmt.Sprint(i)), times)
			}
			b.is.Equal(b.observe(request).Verdict, core.VerdictStaged) // The change of 1 is not forgotten.
			b.boot = "boot-2"
			b.is.Equal(b.observe(request).Verdict, core.VerdictSatisfied)
		})
	}
}

func TestCrashThatRestartedTheHost(t *testing.T) {
	b := newBench(t)
	request := b.request(`[{"run":"true","check":"true","restart":"ifChanged"}]`)
	b.is.NoErr(b.plugin().remember(memory{Request: request.Hash}.beginning(0, "boot-0")))
	b.is.Equal(b.observe(request).Verdict, core.VerdictOutdated)
	b.is.NoErr(b.stage(request))
	b.is.Equal(b.observe(request).Verdict, core.VerdictSatisfied) // It was changed before this boot.

	// Another request, while the end of a command of this one is unknown, has its restart.
	b.is.NoErr(b.plugin().remember(memory{Request: request.Hash}.beginning(0, b.boot)))
	next := b.request(`[{"run":"true","check":"true"}]`)
	b.is.Equal(b.observe(next).Verdict, core.VerdictStaged)

	// Nor is one forgotten that another command needs by now.
	b.is.NoErr(b.plugin().remember(memory{Request: request.Hash, Restart: b.boot}.beginning(0, "boot-0")))
	b.is.Equal(b.observe(b.request(`[{"run":"false","check":"true"}]`)).Verdict, core.VerdictStaged)

	m := memory{}.beginning(0, "boot-0").beginning(1, "boot-1")
	b.is.Equal(m.Restart, "boot-0")
	b.is.Equal(m.passed(2, command{}, true, "boot-1").Begun, m.Begun) // What another command left open stays so.
}

func TestDamagedMemory(t *testing.T) {
	b := newBench(t)
	file := filepath.Join(b.work, remembered)
	b.is.NoErr(os.WriteFile(file, []byte("\x00\x00"), 0o600))
	request := b.request(`[{"run":"echo >> DIR/a"}]`)
	_, err := b.plugin().Observe(t.Context(), request)
	b.is.True(err != nil && strings.Contains(err.Error(), file))
	b.is.True(b.stage(request) != nil)
	b.is.Equal(b.marks("a"), 0)
}

// TestNothingIsRunThatCanNotBeNoted is about a full disk: a command whose end can't be written down would be run again.
func TestNothingIsRunThatCanNotBeNoted(t *testing.T) {
	b := newBench(t)
	blocked := filepath.Join(b.work, remembered+".tmp", "blocked")
	b.is.NoErr(os.MkdirAll(blocked, 0o700))
	request := b.request(`[{"run":"echo >> DIR/a"}]`)
	for range 3 {
		b.is.True(b.stage(request) != nil)
	}
	b.is.Equal(b.marks("a"), 0)
	b.is.NoErr(os.Remove(blocked))
	b.is.NoErr(b.stage(request))
	b.is.Equal(b.marks("a"), 1)
}
