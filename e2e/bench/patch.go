package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemental/adapters/kubernetes/api/v1beta1"
)

// patches is how many changes of one host are timed.
const patches = 200

func mergePatch(text string) client.Patch { return client.RawPatch(types.MergePatchType, []byte(text)) }

// call is one that the plugin noted.
type call struct {
	verb string
	n    int
	at   time.Time
}

// takePatches changes one host's version again and again, and reads when its plugin heard of it.
func (b *bench) takePatches(ctx context.Context) error {
	b.now("builds a plugin that stamps the time")
	plugin := filepath.Join(b.folder, "stamp")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", plugin, "./e2e/bench/stamp")
	build.Dir, build.Env = b.Checkout, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building the plugin: %w\n%s", err, out)
	}
	const name = "patched"
	process, err := b.startAgent(ctx, patchNamespace, name, plugin)
	if err != nil {
		return err
	}
	watcher, err := b.beginWatch(ctx, patchNamespace, name)
	if err != nil {
		return err
	}
	defer watcher.stop()
	sent, answered, done := make([]time.Time, patches), make([]time.Duration, patches), make([]time.Duration, patches)
	for n := range patches {
		if n%50 == 0 {
			b.now("patches a host, %d of %d times so far", n, patches)
		}
		sent[n] = time.Now()
		generation, err := b.ask(ctx, patchNamespace, name, fmt.Sprintf(`{"n":%d}`, n))
		if err != nil {
			return err
		}
		answered[n] = time.Since(sent[n])
		err = watcher.follow(ctx, func(h *v1beta1.ElementalHost) bool { return h.Generation >= generation && ready(h) })
		if err != nil {
			return fmt.Errorf("waiting for patch %d: %w; the agent said last:\n%s", n, err, process.Log())
		}
		done[n] = time.Since(sent[n])
	}
	noted, err := calls(filepath.Join(process.WorkDir(), "plugins", filepath.Base(plugin), "calls"))
	if err != nil {
		return err
	}
	if err := b.tellPatches(sent, done, noted); err != nil {
		return err
	}
	b.figure("patch_answer_p50_ms", milliseconds(percentile(answered, 50)), "the API server's own answer to the same patches; p99 %s ms", number(milliseconds(percentile(answered, 99))))
	m, err := memoryOfAgent(process)
	if err != nil {
		return err
	}
	b.figure("agent_after_patches_rss_mib", mebibytes(m.resident), "VmRSS of that host's agent right after them, of which RssAnon is %s MiB", number(mebibytes(m.anonymous)))
	return nil
}

// tellPatches prints the times from a patch to the plugin's first call for it, to its call to stage, and to the
// host's being ready.
func (b *bench) tellPatches(sent []time.Time, done []time.Duration, noted []call) error {
	first := map[string]map[int]time.Time{"observe": {}, "stage": {}}
	for _, c := range noted {
		if moments := first[c.verb]; moments != nil && moments[c.n].IsZero() {
			moments[c.n] = c.at
		}
	}
	took := map[string][]time.Duration{}
	for verb, moments := range first {
		for n, began := range sent {
			at, found := moments[n]
			if !found {
				return fmt.Errorf("the plugin was never asked to %s for patch %d", verb, n)
			}
			took[verb] = append(took[verb], at.Sub(began))
		}
	}
	how := fmt.Sprintf("%d patches of one host, one after the other, on kept connections over loopback, from just before the request", patches)
	b.figure("patch_to_plugin_p50_ms", milliseconds(percentile(took["stage"], 50)), "%s to the beginning of a plugin executable that is called to stage", how)
	b.figure("patch_to_plugin_p99_ms", milliseconds(percentile(took["stage"], 99)), "as before; the slowest took %s ms", number(milliseconds(percentile(took["stage"], 100))))
	b.figure("patch_to_observe_p50_ms", milliseconds(percentile(took["observe"], 50)), "the part of it to the plugin's first call, which observes; p99 %s ms", number(milliseconds(percentile(took["observe"], 99))))
	b.figure("patch_to_ready_no_restart_p50_ms", milliseconds(percentile(done, 50)), "of the same patches, to the condition Ready of that generation, by a watch; p99 %s ms", number(milliseconds(percentile(done, 99))))
	return nil
}

// calls reads what the plugin noted.
func calls(file string) ([]call, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading when the plugin was called: %w", err)
	}
	var all []call
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			return nil, fmt.Errorf("reading when the plugin was called: %s holds %q", file, line)
		}
		n, err := strconv.Atoi(fields[1])
		if err != nil {
			return nil, fmt.Errorf("reading when the plugin was called: %w", err)
		}
		nanoseconds, err := strconv.ParseInt(fields[2], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("reading when the plugin was called: %w", err)
		}
		all = append(all, call{fields[0], n, time.Unix(0, nanoseconds)})
	}
	return all, nil
}
